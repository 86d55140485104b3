import { readArguments, type Command } from './args.js'
import { EXIT, UsageError } from './errors.js'

const SHELLS = ['bash', 'zsh'] as const
const OPTIONS = {} as const

/** What follows these options is one of a few words. */
const CHOICES: Readonly<Record<string, string>> = { '--on-lost': 'kill warn', '--on-revoke': 'TERM USR1', '--scopes': 'read write read,write admin' }

/** @param commands every command, also this one. */
export function completionOf(commands: () => Readonly<Record<string, Command>>): Command {
  return {
    usage: 'completion bash|zsh',
    summary: 'Prints what a shell needs to complete rlm: source <(rlm completion bash)',
    help: `In ~/.bashrc:  source <(rlm completion bash)
In ~/.zshrc:   source <(rlm completion zsh), after compinit`,
    options: OPTIONS,
    words: SHELLS,
    run: async (args, session) => {
      const [shell] = readArguments(args, OPTIONS, [1, 1]).positionals
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
