import type { KeyStore } from '../../locks/api-keys.js'
import { forwardAll, STORE_READS, type StoreReads } from '../../locks/store.js'
import { KEEP_HISTORY_MS, type SqlBackend, type StoreOptions } from '../sql-store.js'
import { toLockError } from './errors.js'
import { migrate, openSqlite } from './connection.js'
import { SqliteWorker } from './worker-client.js'

/** Batches that may be on their way to the thread at once; it commits together what has reached it. */
const CONCURRENCY = 8

/** Sending a message costs as much as that of a few commands: so many share one, however many come in a turn. */
const MIN_EARLY_BATCH = 32

export async function sqliteBackend(file: string, options: StoreOptions): Promise<SqlBackend> {
  const { clock = Date.now, keepHistoryMs = KEEP_HISTORY_MS, onFatal = () => undefined } = options
  const turns = { listener: (_ticket: number) => {} }
  const worker = await SqliteWorker.open({
    file,
    keepHistoryMs,
    clock,
    onWakeup: (ticket) => turns.listener(ticket),
    onLost: onFatal
  })
  return {
    wakeups: turns,
    warnings: worker.warnings,
    pools: () => [],
    keepsHistory: keepHistoryMs > 0,
    executor: { concurrency: CONCURRENCY, sequential: true, minEarlyBatch: MIN_EARLY_BATCH, execute: (commands) => worker.execute(commands) },
    reads: forwardAll<StoreReads>(STORE_READS, (name, args) => worker.read(name, args)),
    keys: keysBy(worker),
    toLockError,
    ping: () => worker.ping(),
    [Symbol.asyncDispose]: () => worker[Symbol.asyncDispose]()
  }
}

/** Brings a file to the newest version and closes it again; resolves to the names of the migrations that were run. */
export async function migrateSqlite(file: string): Promise<readonly string[]> {
  using opened = openSqlite(file)
  return await migrate(opened)
}

function keysBy(worker: SqliteWorker): KeyStore {
  return {
    create: (key) => worker.keys('create', [key]),
    list: () => worker.keys('list', []),
    revoke: (id) => worker.keys('revoke', [id]),
    inUse: () => worker.keys('inUse', [])
  }
}
