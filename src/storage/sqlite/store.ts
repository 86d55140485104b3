import { Worker } from 'node:worker_threads'
import type { Command } from '../../locks/commands.js'
import { LockError } from '../../locks/errors.js'
import type { KeyStore } from '../../locks/api-keys.js'
import type { EpochMs } from '../../locks/lock.js'
import { forwardAll, STORE_READS, type StoreReads } from '../../locks/store.js'
import { KEEP_HISTORY_MS, type SqlBackend, type StoreOptions } from '../sql-store.js'
import { missing, type CommandResult } from '../batcher.js'
import { decodeError, decodeResult, encodeCommand, type EncodedResult, type WorkerCall, type WorkerOptions, type WorkerRequest, type WorkerResponse } from './protocol.js'

/** Batches that may be in the worker at once; it commits together what has arrived. */
const CONCURRENCY = 8

/** Sending a message costs as much as encoding a few commands: at least so many share one, even if a turn brings many. */
const MIN_EARLY_BATCH = 32

export async function sqliteBackend(file: string, options: StoreOptions): Promise<SqlBackend> {
  const { clock = Date.now, keepHistoryMs = KEEP_HISTORY_MS, onFatal = () => undefined } = options
  const wakeups = { listener: (_ticket: number) => {} }
  const worker = await SqliteWorker.open({
    file,
    keepHistoryMs,
    clock,
    onWakeup: (ticket) => wakeups.listener(ticket),
    onLost: onFatal
  })
  return {
    wakeups,
    warnings: worker.warnings,
    pools: () => [],
    keepsHistory: keepHistoryMs > 0,
    executor: { concurrency: CONCURRENCY, sequential: true, minEarlyBatch: MIN_EARLY_BATCH, execute: (commands) => worker.execute(commands) },
    reads: forwardAll<StoreReads>(STORE_READS, (method, args) => worker.read(method, args)),
    keys: keysBy(worker),
    toLockError: asError,
    ping: () => worker.ping(),
    [Symbol.asyncDispose]: () => worker[Symbol.asyncDispose]()
  }
}

function keysBy(worker: SqliteWorker): KeyStore {
  return {
    create: (key) => worker.keys('create', [key]),
    list: () => worker.keys('list', []),
    revoke: (id) => worker.keys('revoke', [id]),
    inUse: () => worker.keys('inUse', [])
  }
}

/** What the worker tells of faults are lock errors already. */
function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error))
}

interface Pending {
  readonly resolve: (value: unknown) => void
  readonly reject: (error: Error) => void
}

export interface SqliteWorkerOptions extends WorkerOptions {
  readonly clock: () => EpochMs
  readonly onWakeup: (ticket: number) => void
  /** Called once if the worker ends unexpectedly; from then on every call is rejected. */
  readonly onLost: (error: Error) => void
}

/** Of all requests: what a thread still answers for an earlier file belongs to none of the next one. */
let lastId = 0

/** The service's side of a SQLite file: a worker thread answers the calls in their order. */
export class SqliteWorker implements AsyncDisposable {
  readonly #options: SqliteWorkerOptions
  readonly #worker: Worker
  readonly #pending = new Map<number, Pending>()
  #warnings: readonly string[] = []
  #lost: Error | undefined
  #serving = false
  #closed: Promise<void> | undefined

  private constructor(options: SqliteWorkerOptions) {
    this.#options = options
    this.#worker = takeThread()
    this.#worker.on('exit', (code) => this.#lose(new Error(`it exited with code ${code}`)))
    this.#worker.on('error', (error) => this.#lose(error))
    this.#worker.on('message', (text: string) => {
      for (const response of JSON.parse(text) as readonly WorkerResponse[]) this.#receive(response)
    })
  }

  /** @throws StartupError when the file cannot be used. */
  static async open(options: SqliteWorkerOptions): Promise<SqliteWorker> {
    const worker = new SqliteWorker(options)
    const { file, keepHistoryMs, clock } = options
    try {
      worker.#warnings = (await worker.#send({ kind: 'open', file, keepHistoryMs }, clock())) as readonly string[]
      worker.#serving = true
      return worker
    } catch (error) {
      await worker.#worker.terminate()
      // The worker may have ended before it sent anything.
      throw error instanceof LockError ? error.cause : error
    }
  }

  /** What an operator should know about the files, in sentences. */
  get warnings(): readonly string[] {
    return this.#warnings
  }

  /** Executes a batch; never rejects. */
  async execute(commands: readonly Command[]): Promise<CommandResult[]> {
    const now = this.#options.clock()
    try {
      const results = (await this.#send({ kind: 'execute', commands: commands.map(encodeCommand) }, now)) as readonly EncodedResult[]
      return commands.map((command, index) => {
        const result = results[index]
        return result === undefined ? missing(command) : decodeResult(command, result, now)
      })
    } catch (error) {
      const failed = asError(error)
      return commands.map(() => ({ kind: 'failed', error: failed }))
    }
  }

  read(method: keyof StoreReads, args: readonly unknown[]): Promise<unknown> {
    return this.#send({ kind: 'read', method, args }, this.#options.clock())
  }

  keys<Method extends keyof KeyStore>(method: Method, args: Parameters<KeyStore[Method]>): ReturnType<KeyStore[Method]> {
    return this.#send({ kind: 'keys', method, args }, this.#options.clock()) as ReturnType<KeyStore[Method]>
  }

  /** Rejects with a LockError when the file cannot be read or the disk is full. */
  async ping(): Promise<void> {
    await this.#send({ kind: 'ping' }, this.#options.clock())
  }

  #send(call: WorkerCall, now: EpochMs): Promise<unknown> {
    if (this.#lost !== undefined) return Promise.reject(new LockError('STORAGE_UNAVAILABLE', { cause: this.#lost }))
    const id = (lastId += 1)
    this.#worker.postMessage(JSON.stringify({ ...call, id, now } satisfies WorkerRequest))
    return this.#responseTo(id)
  }

  #responseTo(id: number): Promise<unknown> {
    // An open file alone does not keep the process alive; a pending request does.
    if (this.#pending.size === 0) this.#worker.ref()
    return new Promise((resolve, reject) => {
      this.#pending.set(id, { resolve, reject })
    })
  }

  #receive(response: WorkerResponse): void {
    const pending = this.#pending.get(response.id)
    this.#pending.delete(response.id)
    if (this.#pending.size === 0) this.#worker.unref()
    switch (response.kind) {
      case 'value':
        pending?.resolve(response.value)
        break
      case 'error':
        pending?.reject(decodeError(response.error))
        break
      case 'results':
        pending?.resolve(response.results)
        for (const ticket of response.wakeups) this.#options.onWakeup(ticket)
    }
  }

  /** How much of the pending requests the worker executed is unknown. */
  #lose(cause: Error): void {
    if (this.#lost !== undefined) return
    this.#lost = cause
    for (const { reject } of this.#pending.values()) reject(new LockError('OUTCOME_UNKNOWN', { cause }))
    this.#pending.clear()
    if (this.#serving) this.#options.onLost(new Error(`The thread of the SQLite file was lost (${cause.message}); the process has to be started again.`, { cause }))
  }

  /** The worker finishes earlier requests first. */
  [Symbol.asyncDispose](): Promise<void> {
    this.#closed ??= this.#close()
    return this.#closed
  }

  async #close(): Promise<void> {
    this.#serving = false
    if (this.#lost !== undefined) return
    try {
      await this.#send({ kind: 'close' }, this.#options.clock())
      // Nobody is told any more what it still reads.
      this.#lose(new Error('it was closed'))
      keepThread(this.#worker)
    } catch {
      await this.#worker.terminate()
    }
  }
}

/** How long a thread without a file is kept, in milliseconds. */
const IDLE_MS = 10_000

/**
 * Threads without a file, for the next one that is opened. To start one takes a third of a second of processor time, which who opens
 * locks for each of their tests would pay each time.
 */
const idleThreads = new Map<Worker, NodeJS.Timeout>()

function keepThread(thread: Worker): void {
  removeListeners(thread)
  thread.on('error', () => idleThreads.delete(thread))
  thread.on('exit', () => idleThreads.delete(thread))
  const end = (): void => {
    idleThreads.delete(thread)
    void thread.terminate()
  }
  idleThreads.set(thread, setTimeout(end, IDLE_MS).unref())
}

function takeThread(): Worker {
  for (const [thread, timer] of idleThreads) {
    clearTimeout(timer)
    idleThreads.delete(thread)
    removeListeners(thread)
    return thread
  }
  // Loaders and other options of the process do not apply to it.
  return new Worker(new URL('worker.js', import.meta.url), { workerData: null, execArgv: [] })
}

function removeListeners(thread: Worker): void {
  for (const event of ['message', 'error', 'exit']) thread.removeAllListeners(event)
}
