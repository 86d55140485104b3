import { setImmediate } from 'node:timers/promises'
import { VERSION } from '../version.js'
import { helpOf, urlOf, type Command, type Session } from './args.js'
import { completionOf } from './completion.js'
import { doctor } from './doctor.js'
import { elect, leader } from './elect.js'
import { EXIT, failureOf, UsageError, type Failure } from './errors.js'
import { lock } from './lock.js'
import { forceRelease, history, queue, release, revoke, status } from './locks.js'
import { ls } from './ls.js'
import { Screen, type Output } from './output.js'
import { once } from './once.js'
import { run } from './run.js'
import { keys, migrate, raiseNumbers, serve } from './server-commands.js'

const COMMANDS: Readonly<Record<string, Command>> = {
  run,
  once,
  lock,
  elect,
  leader,
  ls,
  status,
  queue,
  release,
  revoke,
  'force-release': forceRelease,
  history,
  doctor,
  serve,
  migrate,
  keys,
  'raise-numbers': raiseNumbers,
  completion: completionOf(() => COMMANDS)
}

/** An exit code, or that this process is to go on as the service: it gets the signals, and there is no second process to lose. */
type Outcome = { readonly kind: 'done'; readonly code: number } | { readonly kind: 'serve' }

/** What a process has; {@link process} itself will do. */
interface ProcessContext {
  readonly env: Session['env']
  readonly stdout: Output
  readonly stderr: Output
}

/** Runs one command line, without the program's name. Never rejects. */
export async function main(args: readonly string[], { env, stdout, stderr }: ProcessContext, ignored: Session['ignored'] = []): Promise<Outcome> {
  const session: Session = { env, out: new Screen(stdout, env), err: new Screen(stderr, env), ignored }
  const [name = '', ...rest] = args
  try {
    const code = await runCommand(name, rest, session)
    return name === 'serve' && !asksForHelp(rest) ? { kind: 'serve' } : { kind: 'done', code }
  } catch (error) {
    const { code, sentence } = failure(error, env)
    if (sentence !== undefined) session.err.line(`rlm: ${sentence}`)
    if (error instanceof UsageError) session.err.line(`Try: rlm ${Object.hasOwn(COMMANDS, name) ? `${name} ` : ''}--help`)
    return { kind: 'done', code }
  }
}

/** Where the URL itself is what makes no sense, the sentence needs none. */
function failure(error: unknown, env: Session['env']): Failure {
  return failureOf(error, error instanceof UsageError ? '' : urlOf(env))
}

async function runCommand(name: string, args: readonly string[], session: Session): Promise<number> {
  if (name === '--version' || name === '-V') session.out.line(VERSION)
  else if (asksForHelp([name])) session.out.line(overview())
  else if (name === 'help') return await runCommand(args[0] ?? '--help', args.length > 0 ? ['--help'] : [], session)
  else if (name === '') throw new UsageError('A command is missing')
  else {
    const command = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined
    if (command === undefined) throw new UsageError(`There is no command '${name}'`)
    if (!asksForHelp(args)) {
      const code = await command.run(args, session)
      // A fault of the last line shows a moment later.
      await setImmediate()
      const { fault } = session.out
      if (fault === undefined) return code
      session.err.line(`rlm: the standard output cannot be written: ${fault}`)
      return EXIT.output
    }
    session.out.line(helpOf(command))
  }
  return EXIT.ok
}

/** What follows `--` belongs to another program. */
function asksForHelp(args: readonly string[]): boolean {
  const end = args.indexOf('--')
  return (end < 0 ? args : args.slice(0, end)).some((arg) => arg === '--help' || arg === '-h')
}

function overview(): string {
  const summaries = Object.entries(COMMANDS).map(([name, { summary }]) => [name, summary])
  return `Usage: rlm COMMAND …

${summaries.map(([name = '', summary]) => `  ${name.padEnd(14)} ${summary}`).join('\n')}

  rlm COMMAND --help tells more.

RLM_URL says where the service is (http://127.0.0.1:8000), RLM_API_KEY holds a key if it asks for one.`
}
