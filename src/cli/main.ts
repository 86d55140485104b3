import { setImmediate } from 'node:timers/promises'
import { VERSION } from '../version.js'
import { helpOf, urlOf, type Command, type Session, readArguments, EXIT, failureOf, UsageError, type Failure } from './command.js'
import { doctor } from './doctor.js'
import { elect, leader } from './elect.js'
import { lock } from './hold.js'
import { forceRelease, history, queue, release, revoke, status, ls } from './locks.js'
import { Screen, type Output } from './output.js'
import { once, run } from './run.js'
import { keys, migrate, raiseNumbers, serve } from './server-commands.js'

const SHELLS = ['bash', 'zsh'] as const
const NO_OPTIONS = {} as const

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

/** What follows these options is one of a few words. */
const CHOICES: Readonly<Record<string, string>> = { '--on-lost': 'kill warn', '--on-revoke': 'TERM USR1', '--scopes': 'read write read,write admin' }

/** @param commands every command, also this one. */
function completionOf(commands: () => Readonly<Record<string, Command>>): Command {
  return {
    usage: 'completion bash|zsh',
    summary: 'Prints what a shell needs to complete rlm: source <(rlm completion bash)',
    help: `In ~/.bashrc:  source <(rlm completion bash)
In ~/.zshrc:   source <(rlm completion zsh), after compinit`,
    options: NO_OPTIONS,
    words: SHELLS,
    run: async (args, session) => {
      const [shell] = readArguments(args, NO_OPTIONS, [1, 1]).positionals
      if (shell !== 'bash' && shell !== 'zsh') throw new UsageError(`There is no completion for '${shell}'; expected bash or zsh`)
      session.out.line(shell === 'bash' ? bashScript(commands()) : zshScript(commands()))
      return EXIT.ok
    }
  }
}

/** The branches of a `case` in either shell: the words that may follow a command or an option. */
function branches(commands: Readonly<Record<string, Command>>): { readonly ofCommands: string; readonly ofOptions: string; readonly names: string } {
  const names = Object.keys(commands).join(' ')
  return {
    names,
    ofCommands: Object.entries(commands)
      .map(([name, { options, words = [] }]) => branch(name, [...words, ...optionWords(options)]))
      .join('\n'),
    ofOptions: Object.entries(CHOICES)
      .map(([option, words]) => branch(option, [words]))
      .join('\n')
  }
}

function branch(pattern: string, words: readonly string[]): string {
  return `    ${pattern}) candidates='${words.join(' ')}' ;;`
}

function optionWords(options: Command['options']): string[] {
  return [...Object.keys(options).map((name) => `--${name}`), '--help']
}

function bashScript(commands: Readonly<Record<string, Command>>): string {
  const { names, ofCommands, ofOptions } = branches(commands)
  return `_rlm() {
  local word=\${COMP_WORDS[COMP_CWORD]} before=\${COMP_WORDS[COMP_CWORD - 1]} candidates='' i
  for ((i = 2; i < COMP_CWORD; i++)); do
    if [[ \${COMP_WORDS[i]} == -- ]]; then
      if declare -F _command_offset >/dev/null; then _command_offset $((i + 1))
      elif ((COMP_CWORD == i + 1)); then COMPREPLY=($(compgen -c -- "$word"))
      fi
      return
    fi
  done
  if ((COMP_CWORD == 1)); then candidates='${names} --help --version'
  else case \${COMP_WORDS[1]} in
    help) candidates='${names}' ;;
${ofCommands}
  esac
  fi
  case $before in
${ofOptions}
  esac
  COMPREPLY=($(compgen -W "$candidates" -- "$word"))
}
complete -o default -F _rlm rlm`
}

function zshScript(commands: Readonly<Record<string, Command>>): string {
  const { names, ofCommands, ofOptions } = branches(commands)
  return `#compdef rlm
_rlm() {
  local candidates='' command=\${words[2]} before=\${words[CURRENT - 1]} dashes=\${words[(ie)--]}
  if ((dashes < CURRENT)); then
    shift $dashes words
    ((CURRENT -= dashes))
    _normal
    return
  fi
  if ((CURRENT == 2)); then candidates='${names} --help --version'
  else case $command in
    help) candidates='${names}' ;;
${ofCommands}
  esac
  fi
  case $before in
${ofOptions}
  esac
  if [[ -n $candidates ]]; then compadd -- \${=candidates}; else _default; fi
}
compdef _rlm rlm`
}
