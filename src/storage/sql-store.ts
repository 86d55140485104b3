import type { Command, OutcomeOf } from '../locks/commands.js'
import type { KeyStore } from '../locks/api-keys.js'
import { forwardAll, STORE_READS, type PoolUse, type StoreReads, type LockStore, type StoreFigures } from '../locks/store.js'
import { Batcher, type BatchExecutor, type BatcherLimits } from './batcher.js'

export interface StoreOptions {
  /** See {@link parseDatabaseUrl}. */
  readonly databaseUrl: string
  /** PostgreSQL only: where to listen for wake-ups if not there; needs a direct session. */
  readonly listenUrl?: string | undefined
  /** SQLite's clock, in milliseconds since 1970; PostgreSQL has its own. */
  readonly clock?: () => number
  /** How long the history is kept, in milliseconds; 0 keeps none. Seven days if left out. */
  readonly keepHistoryMs?: number
  /** 0 to 1, for jitter. */
  readonly random?: () => number
  /** PostgreSQL batches in flight at once. More is not faster: batches become smaller. */
  readonly concurrency?: number
  /** Commands that may wait for the database before more are rejected. */
  readonly maxWaiting?: number
  /** Called when an idle database connection breaks. */
  readonly onConnectionError?: (error: Error) => void
  /** Called once with a permanent fault: every further call is rejected, and the process should be restarted. */
  readonly onFatal?: (error: Error) => void
}

/** Seven days. */
export const KEEP_HISTORY_MS = 7 * 86_400_000

/** A database; everything that differs between databases is behind it. */
export interface SqlBackend extends AsyncDisposable {
  readonly executor: BatchExecutor
  readonly reads: StoreReads
  readonly keys: KeyStore
  readonly keepsHistory: boolean
  /** What an operator should know about this database, in sentences. */
  readonly warnings: readonly string[]
  /** Its listener is called with the ticket of a waiter of this instance that may be granted now. */
  readonly wakeups: { listener: (ticket: number) => void }
  /** The connections at this moment, where there are several. */
  readonly pools: () => readonly PoolUse[]
  /** Rejects with a LockError when the database is away or takes no writes. */
  readonly ping: () => Promise<void>
  /** Turns what a query threw into a LockError, where it is one. */
  readonly toLockError: (error: unknown) => Error
}

/** Locks in the `resource_locks` table of a database. */
export class SqlLockStore implements LockStore {
  readonly #backend: SqlBackend
  readonly #batcher: Batcher
  readonly reads: StoreReads
  readonly keepsHistory: boolean
  /** The keys in the same database. */
  readonly keys: KeyStore

  constructor(backend: SqlBackend, limits: BatcherLimits) {
    this.#backend = backend
    this.reads = withLockErrors(backend)
    this.keepsHistory = backend.keepsHistory
    this.keys = backend.keys
    this.#batcher = new Batcher(backend.executor, limits)
  }

  /** What an operator should know about this database, in sentences. */
  get warnings(): readonly string[] {
    return this.#backend.warnings
  }

  get figures(): StoreFigures {
    return { ...this.#batcher.figures, pools: this.#backend.pools }
  }

  onWakeup(listener: (ticket: number) => void): void {
    this.#backend.wakeups.listener = listener
  }

  submit<C extends Command>(command: C): Promise<OutcomeOf<C>> {
    return this.#batcher.submit(command)
  }

  ping(): Promise<void> {
    return this.#backend.ping()
  }

  /** Waits for the submitted commands first. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#batcher.idle()
    await this.#backend[Symbol.asyncDispose]()
  }
}

function withLockErrors({ reads, toLockError }: SqlBackend): StoreReads {
  return forwardAll<StoreReads>(STORE_READS, async (name, args) => {
    try {
      return await (reads[name] as (...args: readonly unknown[]) => Promise<unknown>)(...args)
    } catch (error) {
      throw toLockError(error)
    }
  })
}
