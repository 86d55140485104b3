import { InterruptedError } from './errors.js'
import type { ProcessGroup } from './process-group.js'

/** They tell a command to end, in one way or another. */
const ENDING = ['SIGHUP', 'SIGINT', 'SIGQUIT', 'SIGTERM'] as const
/** They tell it something else. */
const OTHER = ['SIGUSR1', 'SIGUSR2', 'SIGWINCH'] as const

/**
 * The signals that this process gets. Until there is a command they end what is under way; then they are the command's, with
 * all that it has started; after it they end what is left to do.
 */
export class Signals implements Disposable {
  readonly #interrupting = new AbortController()
  readonly #handlers: [NodeJS.Signals, () => void][] = []
  #group: ProcessGroup | undefined
  #onContinue: () => void = () => {}
  #passedOn = false

  constructor() {
    // All from the start: one that comes while the command is being started is handled when it has been.
    for (const name of ENDING) this.#on(name, () => this.#end(name))
    for (const name of OTHER) this.#on(name, () => this.#group?.signal(name))
    this.#on('SIGTSTP', () => {
      // A command that went on while nobody renews would outlast its lease.
      this.#group?.signal('SIGSTOP')
      process.kill(process.pid, 'SIGSTOP')
    })
    this.#on('SIGCONT', () => {
      this.#onContinue()
      this.#group?.signal('SIGCONT')
    })
  }

  /** Fires when one came while there was no command, with an InterruptedError as its reason. */
  get interrupted(): AbortSignal {
    return this.#interrupting.signal
  }

  /** Whether the command was told to end. */
  get passedOn(): boolean {
    return this.#passedOn
  }

  /**
   * From now on they are the command's.
   *
   * @param onContinue called before a command goes on that was stopped together with this process.
   */
  relayTo(group: ProcessGroup, onContinue: () => void): void {
    this.#group = group
    this.#onContinue = onContinue
  }

  /** The command has ended. */
  relayNoMore(): void {
    this.#group = undefined
    this.#onContinue = () => {}
  }

  [Symbol.dispose](): void {
    for (const [name, handler] of this.#handlers) process.removeListener(name, handler)
  }

  #end(name: NodeJS.Signals): void {
    if (this.#group === undefined) return this.#interrupting.abort(new InterruptedError(name))
    this.#passedOn = true
    this.#group.signal(name)
  }

  #on(name: NodeJS.Signals, handler: () => void): void {
    this.#handlers.push([name, handler])
    process.on(name, handler)
  }
}
