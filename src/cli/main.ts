import { VERSION } from '../version.js'
import { doctor } from './commands/doctor.js'
import { forceRelease } from './commands/force-release.js'
import { history } from './commands/history.js'
import { ls } from './commands/ls.js'
import { release } from './commands/release.js'
import { run } from './commands/run.js'
import { status } from './commands/status.js'
import { failureOf, UsageError } from './errors.js'
import { EXIT } from './exit-codes.js'
import { PROGRAMS, type ProgramName } from './programs.js'
import { Screen, type Output } from './screen.js'
import type { Command, Session } from './session.js'

const COMMANDS: Readonly<Record<string, Command>> = { run, ls, status, release, 'force-release': forceRelease, history, doctor }

/** An exit code, or a program of the server that is to go on in this process. */
export type Outcome = { readonly kind: 'done'; readonly code: number } | { readonly kind: 'program'; readonly name: ProgramName }

/** What a process has; {@link process} itself will do. */
export interface Surroundings {
  readonly env: Session['env']
  readonly stdout: Output
  readonly stderr: Output
}

/** Runs one command line, without the program's name. Never rejects. */
export async function main(args: readonly string[], { env, stdout, stderr }: Surroundings): Promise<Outcome> {
  const session: Session = { env, out: new Screen(stdout, env), err: new Screen(stderr, env) }
  const [name = '', ...rest] = args
  try {
    if (isProgram(name) && (name === 'keys' || !asksForHelp(rest))) {
      if (name !== 'keys' && rest.length > 0) throw new UsageError(`${name} takes nothing; its settings come from the environment`)
      return { kind: 'program', name }
    }
    return { kind: 'done', code: await runCommand(name, rest, session) }
  } catch (error) {
    const { code, sentence } = failureOf(error)
    if (sentence !== undefined) session.err.line(`rlm: ${sentence}`)
    if (error instanceof UsageError) session.err.line(`Try: rlm ${Object.hasOwn(COMMANDS, name) || isProgram(name) ? `${name} ` : ''}--help`)
    return { kind: 'done', code }
  }
}

async function runCommand(name: string, args: readonly string[], session: Session): Promise<number> {
  if (name === '--version' || name === '-V') session.out.line(VERSION)
  else if (name === 'help' || asksForHelp([name])) session.out.line(overview())
  else if (name === '') throw new UsageError('A command is missing')
  else if (isProgram(name)) session.out.line(`Usage: rlm ${name}\n\n${PROGRAMS[name]}`)
  else {
    const command = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined
    if (command === undefined) throw new UsageError(`There is no command '${name}'`)
    if (!asksForHelp(args)) return await command.run(args, session)
    session.out.line(`Usage: rlm ${command.usage}\n\n${command.summary}\n\n${command.help}`)
  }
  return EXIT.ok
}

/** What follows `--` belongs to another program. */
function asksForHelp(args: readonly string[]): boolean {
  const end = args.indexOf('--')
  return (end < 0 ? args : args.slice(0, end)).some((arg) => arg === '--help' || arg === '-h')
}

function isProgram(name: string): name is ProgramName {
  return Object.hasOwn(PROGRAMS, name)
}

function overview(): string {
  const summaries = [...Object.entries(COMMANDS).map(([name, { summary }]) => [name, summary]), ...Object.entries(PROGRAMS)]
  return `Usage: rlm COMMAND …

${summaries.map(([name = '', summary]) => `  ${name.padEnd(14)} ${summary}`).join('\n')}

  rlm COMMAND --help tells more.

RLM_URL says where the service is (http://127.0.0.1:8000), RLM_API_KEY holds a key if it asks for one.`
}
