import { Worker } from 'node:worker_threads'
import type { Command } from '../../locks/commands.js'
import { LockError } from '../../locks/errors.js'
import type { KeyStore } from '../../locks/api-keys.js'
import type { EpochMs } from '../../locks/lock.js'
import type { StoreReads } from '../../locks/store.js'
import type { CommandResult } from '../batcher.js'
import { commandToBrief, fromBrief, type Brief } from './encoding.js'
import { toLockError } from './errors.js'
import { fromSent, OPENED, type Answer, type Call, type NotDone, type Question, type ThreadOptions } from './protocol.js'

interface Pending {
  readonly resolve: (value: unknown) => void
  readonly reject: (error: Error) => void
}

export interface RemoteOptions extends ThreadOptions {
  readonly clock: () => EpochMs
  readonly onWakeup: (ticket: number) => void
  /** Called once if the thread ends unexpectedly; from then on every call is rejected. */
  readonly onLost: (error: Error) => void
}

/** The SQLite file as the service sees it: calls that another thread answers, in their order. */
export class SqliteWorker implements AsyncDisposable {
  readonly #options: RemoteOptions
  readonly #worker: Worker
  readonly #pending = new Map<number, Pending>()
  readonly #ended: Promise<void>
  #lastId = OPENED
  #warnings: readonly string[] = []
  #lost: Error | undefined
  #serving = false

  private constructor(options: RemoteOptions) {
    this.#options = options
    const { file, keepHistoryMs } = options
    this.#worker = new Worker(new URL('worker.js', import.meta.url), {
      workerData: { file, keepHistoryMs } satisfies ThreadOptions,
      // Loaders and the like that the process was started with are not for the thread.
      execArgv: []
    })
    this.#ended = new Promise((resolve) => {
      this.#worker.once('exit', (code) => {
        this.#lose(new Error(`it exited with code ${code}`))
        resolve()
      })
    })
    this.#worker.on('message', (text: string) => {
      for (const answer of JSON.parse(text) as readonly Answer[]) this.#hear(answer)
    })
    this.#worker.on('error', (error) => this.#lose(error))
  }

  /** @throws StartupError when the file cannot be used. */
  static async open(options: RemoteOptions): Promise<SqliteWorker> {
    const remote = new SqliteWorker(options)
    try {
      remote.#warnings = (await remote.#answerTo(OPENED)) as readonly string[]
      remote.#serving = true
      return remote
    } catch (error) {
      await remote.#worker.terminate()
      // The thread may have ended before it could say anything.
      throw error instanceof LockError ? error.cause : error
    }
  }

  /** What an operator should know about the files, in sentences. */
  get warnings(): readonly string[] {
    return this.#warnings
  }

  /** Carries out a batch; never rejects. */
  async execute(commands: readonly Command[]): Promise<CommandResult[]> {
    const now = this.#options.clock()
    try {
      const settled = (await this.#ask({ kind: 'execute', commands: commands.map(commandToBrief) }, now)) as readonly (Brief | NotDone)[]
      return commands.map((command, index) => settlementOf(command, settled[index], now))
    } catch (error) {
      const failed = toLockError(error)
      return commands.map(() => ({ kind: 'failed', error: failed }))
    }
  }

  /** Resolves to what was read. */
  read(what: keyof StoreReads, args: readonly unknown[]): Promise<unknown> {
    return this.#ask({ kind: 'read', what, args }, this.#options.clock())
  }

  keys<What extends keyof KeyStore>(what: What, args: Parameters<KeyStore[What]>): ReturnType<KeyStore[What]> {
    return this.#ask({ kind: 'keys', what, args }, this.#options.clock()) as ReturnType<KeyStore[What]>
  }

  /** Rejects with a LockError when the file cannot be read or has no room. */
  async ping(): Promise<void> {
    await this.#ask({ kind: 'ping' }, this.#options.clock())
  }

  #ask(call: Call, now: EpochMs): Promise<unknown> {
    if (this.#lost !== undefined) return Promise.reject(new LockError('STORAGE_UNAVAILABLE', { cause: this.#lost }))
    const id = (this.#lastId += 1)
    this.#worker.postMessage(JSON.stringify({ ...call, id, now } satisfies Question))
    return this.#answerTo(id)
  }

  #answerTo(id: number): Promise<unknown> {
    // An open file alone does not keep the process alive; a question does.
    if (this.#pending.size === 0) this.#worker.ref()
    return new Promise((resolve, reject) => {
      this.#pending.set(id, { resolve, reject })
    })
  }

  #hear(answer: Answer): void {
    const pending = this.#pending.get(answer.id)
    this.#pending.delete(answer.id)
    if (this.#pending.size === 0) this.#worker.unref()
    if ('failed' in answer) pending?.reject(fromSent(answer.failed))
    else if ('value' in answer) pending?.resolve(answer.value)
    else {
      pending?.resolve(answer.settled)
      for (const ticket of answer.wakeups) this.#options.onWakeup(ticket)
    }
  }

  /** Nobody knows how far the thread came with what it was asked. */
  #lose(cause: Error): void {
    if (this.#lost !== undefined) return
    this.#lost = cause
    for (const { reject } of this.#pending.values()) reject(new LockError('OUTCOME_UNKNOWN', { cause }))
    this.#pending.clear()
    if (this.#serving) this.#options.onLost(new Error(`The thread of the SQLite file was lost (${cause.message}); the process has to be started again.`, { cause }))
  }

  /** Lets the thread finish what it was asked before. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#serving = false
    if (this.#lost === undefined) await this.#ask({ kind: 'close' }, this.#options.clock()).catch(() => undefined)
    await this.#ended
  }
}

function settlementOf(command: Command, told: Brief | NotDone | undefined, now: EpochMs): CommandResult {
  if (told === undefined) return { kind: 'failed', error: new Error(`a batch lost its ${command.kind} command`) }
  if (typeof told === 'object' && 'kind' in told && told.kind === 'failed') return { kind: 'failed', error: fromSent(told.error) }
  return { kind: 'done', outcome: fromBrief(command, told, now) }
}
