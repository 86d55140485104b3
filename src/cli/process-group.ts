import { spawn, type ChildProcess } from 'node:child_process'
import { constants } from 'node:os'
import { setTimeout as sleep } from 'node:timers/promises'
import { EXIT, exitOfSignal, InterruptedError } from './command.js'

const LOOK_EVERY_MS = 20
/** A killed process is gone within this time, unless the system keeps it. */
const DIES_WITHIN_MS = 1000
/** Ctrl-C reaches npx and what it runs, and npx passes its own signal on: within this time a repetition is the same signal. */
const SAME_SIGNAL_MS = 100

/** They tell a command to end, in one way or another. */
const ENDING = ['SIGHUP', 'SIGINT', 'SIGQUIT', 'SIGTERM'] as const
/** They tell it something else. */
const OTHER = ['SIGUSR1', 'SIGUSR2', 'SIGWINCH'] as const

/** What became of a process group: nobody is left, somebody is left whom this user may not kill, somebody is left. */
export type Remains = 'gone' | 'refused' | 'alive'

/**
 * A command with everything that it starts: the leader of a session and process group of its own, so that a signal reaches all
 * of them and nobody else. Its standard streams are this process's. It does not outlive this process, unless that is killed.
 */
export class ProcessGroup {
  /** What the command ended with, as a shell counts. What it left running does not matter. */
  readonly ended: Promise<number>
  readonly #id: number
  #leaderEnded = false
  #gone = false

  private constructor(child: ChildProcess, id: number) {
    this.#id = id
    const kill = (): void => void this.signal('SIGKILL')
    process.once('exit', kill)
    this.ended = new Promise((resolve) => {
      child.once('exit', (code, signal) => {
        this.#leaderEnded = true
        process.removeListener('exit', kill)
        resolve(signal === null ? (code ?? EXIT.internal) : exitOfSignal(signal))
      })
    })
  }

  /**
   * Rejects with what the system said when the command cannot be run.
   *
   * @param ignored signals that the command ignores from the start. A shell runs it then, which says itself what cannot be run.
   */
  static async start(command: readonly string[], env: NodeJS.ProcessEnv, ignored: readonly NodeJS.Signals[] = []): Promise<ProcessGroup> {
    const trap = `trap '' ${ignored.map((name) => name.slice('SIG'.length)).join(' ')}; exec "$@"`
    const [file = '', ...args] = ignored.length === 0 ? command : ['/bin/sh', '-c', trap, 'rlm', ...command]
    const child = spawn(file, args, { env, stdio: 'inherit', detached: true })
    return await new Promise((resolve, reject) => {
      child.once('error', reject)
      child.once('spawn', () => {
        // Later errors are about signals, which are sent to the group instead.
        child.removeAllListeners('error').on('error', () => undefined)
        if (child.pid !== undefined) resolve(new ProcessGroup(child, child.pid))
      })
    })
  }

  signal(name: NodeJS.Signals | 0): Remains {
    // Once nobody is left, the number may be given to somebody else.
    if (this.#gone) return 'gone'
    try {
      process.kill(-this.#id, name)
      return 'alive'
    } catch (error) {
      this.#gone = error instanceof Error && 'code' in error && error.code === 'ESRCH'
      return this.#gone ? 'gone' : 'refused'
    }
  }

  /** Asks all to end, and kills those that are left after so many milliseconds. */
  async stop(graceMs: number): Promise<Remains> {
    if (graceMs > 0) {
      this.signal('SIGTERM')
      // One that is stopped hears of it when it goes on.
      this.signal('SIGCONT')
    }
    return await this.clear(graceMs)
  }

  /** Waits until nobody is left, and kills those that are after so many milliseconds. */
  async clear(graceMs: number): Promise<Remains> {
    await this.#untilGone(graceMs)
    if (this.signal('SIGKILL') === 'gone') return 'gone'
    await this.#untilGone(DIES_WITHIN_MS)
    const remains = this.signal(0)
    // Where nobody reaps the orphans, they are no danger to anybody.
    return remains === 'alive' && this.#leaderEnded ? 'gone' : remains
  }

  async #untilGone(withinMs: number): Promise<void> {
    for (const deadline = performance.now() + withinMs; performance.now() < deadline && this.signal(0) !== 'gone'; ) {
      await sleep(Math.max(1, Math.min(LOOK_EVERY_MS, deadline - performance.now())))
    }
  }
}

interface SignalsOptions {
  /** These are left to be ignored. */
  readonly ignored?: readonly NodeJS.Signals[]
  /** Told of a signal that the system would not let pass to the command. */
  readonly onRefused?: (name: NodeJS.Signals) => void
  /** Milliseconds. */
  readonly now?: () => number
}

/**
 * The signals that this process gets. Until there is a command they end what is under way; then they are the command's, with
 * all that it has started; after it they end what is left to do.
 */
export class Signals implements Disposable {
  readonly #interrupting = new AbortController()
  readonly #handlers: [NodeJS.Signals, () => void][] = []
  readonly #options: SignalsOptions
  readonly #now: () => number
  readonly #passedAt = new Map<NodeJS.Signals, number>()
  #group: ProcessGroup | undefined
  #onContinue: () => void = () => {}

  constructor(options: SignalsOptions = {}) {
    this.#options = options
    this.#now = options.now ?? (() => performance.now())
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
    return this.#passedAt.size > 0
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
    const before = this.#passedAt.get(name)
    if (before !== undefined && this.#now() - before < SAME_SIGNAL_MS) return
    this.#passedAt.set(name, this.#now())
    if (this.#group.signal(name) === 'refused') this.#options.onRefused?.(name)
  }

  #on(name: NodeJS.Signals, handler: () => void): void {
    if (this.#options.ignored?.includes(name) === true) return
    this.#handlers.push([name, handler])
    process.on(name, handler)
  }
}

/**
 * The signals of a mask as Linux writes it, in hexadecimal digits, of those that this process would handle.
 *
 * @param mask undefined where nothing is known.
 */
export function signalsIn(mask: string | undefined): readonly NodeJS.Signals[] {
  if (mask === undefined || !/^[0-9a-f]{1,32}$/i.test(mask)) return []
  const bits = BigInt(`0x${mask}`)
  return [...ENDING, ...OTHER, 'SIGTSTP' as const].filter((name) => ((bits >> BigInt(constants.signals[name] - 1)) & 1n) === 1n)
}
