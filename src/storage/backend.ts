import type { PoolUse, StoreReads } from '../locks/store.js'
import type { BatchExecutor } from './batcher.js'
import type { KeyStore } from '../locks/key-store.js'

export interface StoreOptions {
  /** See {@link parseDatabaseUrl}. */
  readonly databaseUrl: string
  /** PostgreSQL only: where to listen for the news of a turn, if not there; needs a session of its own. */
  readonly listenUrl?: string | undefined
  /** SQLite's clock, in milliseconds since 1970; PostgreSQL has its own. */
  readonly clock?: () => number
  /** How long the history is kept, in milliseconds; 0 keeps none. Seven days if left out. */
  readonly keepHistoryMs?: number
  /** 0 to 1, for jitter. */
  readonly random?: () => number
  /** PostgreSQL batches under way at once. More is not faster: batches become smaller. */
  readonly concurrency?: number
  /** Commands that may wait for the database before more are refused. */
  readonly maxWaiting?: number
  /** Told of database connections that break while nobody uses them. */
  readonly onConnectionError?: (error: Error) => void
  /** Called once with a fault that cannot heal: from then on nothing is answered, and the process should be started again. */
  readonly onFatal?: (error: Error) => void
}

/** Seven days. */
export const KEEP_HISTORY_MS = 7 * 86_400_000

/** What a database brings along; everything that differs between databases lies behind it. */
export interface SqlBackend extends AsyncDisposable {
  readonly executor: BatchExecutor
  readonly reads: StoreReads
  readonly keys: KeyStore
  readonly keepsHistory: boolean
  /** What an operator should know about this database, in sentences. */
  readonly warnings: readonly string[]
  /** Who is told that the turn of a waiter of this instance may have come. */
  readonly wakeups: { listener: (ticket: number) => void }
  /** The connections at this moment, where there are several. */
  readonly pools: () => readonly PoolUse[]
  /** Rejects with a LockError when the database is away or takes no writes. */
  readonly ping: () => Promise<void>
  /** Turns what a query threw into a LockError, where it is one. */
  readonly toLockError: (error: unknown) => Error
}
