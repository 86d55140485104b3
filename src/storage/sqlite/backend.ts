import type { KeyStore } from '../../locks/key-store.js'
import { KEEP_HISTORY_MS, type SqlBackend, type StoreOptions } from '../backend.js'
import type { LockReads } from '../reads.js'
import { toLockError } from './errors.js'
import { migrate, openSqlite } from './open-sqlite.js'
import { RemoteSqlite } from './remote.js'

/** Batches that may be on their way to the thread at once; it commits together what has reached it. */
const LANES = 8

/** Sending a message costs as much as that of a few commands: so many share one, however many come in a turn. */
const ENOUGH = 32

export async function sqliteBackend(file: string, options: StoreOptions): Promise<SqlBackend> {
  const { clock = Date.now, keepHistoryMs = KEEP_HISTORY_MS, onFatal = () => undefined } = options
  const turns = { listener: (_ticket: number) => {} }
  const remote = await RemoteSqlite.open({
    file,
    keepHistoryMs,
    clock,
    onTurn: (ticket) => turns.listener(ticket),
    onLost: onFatal
  })
  return {
    turns,
    warnings: remote.warnings,
    pools: () => [],
    keepsHistory: keepHistoryMs > 0,
    executor: { lanes: LANES, sequential: true, enough: ENOUGH, execute: (commands) => remote.execute(commands) },
    reads: readsBy(remote),
    keys: keysBy(remote),
    toLockError,
    ping: () => remote.ping(),
    [Symbol.asyncDispose]: () => remote[Symbol.asyncDispose]()
  }
}

/** Brings a file to the newest version and closes it again; resolves to the names of the migrations that were run. */
export async function migrateSqlite(file: string): Promise<readonly string[]> {
  using opened = openSqlite(file)
  return await migrate(opened)
}

function readsBy(remote: RemoteSqlite): LockReads {
  const read =
    <What extends keyof LockReads>(what: What) =>
    (...args: Parameters<LockReads[What]>): ReturnType<LockReads[What]> =>
      remote.read(what, args)
  return {
    list: read('list'),
    count: read('count'),
    queue: read('queue'),
    countWaiters: read('countWaiters'),
    history: read('history'),
    releasedAt: read('releasedAt'),
    newestEvent: read('newestEvent'),
    feedStart: read('feedStart'),
    isForgotten: read('isForgotten'),
    eventsAfter: read('eventsAfter')
  }
}

function keysBy(remote: RemoteSqlite): KeyStore {
  return {
    create: (key) => remote.keys('create', [key]),
    list: () => remote.keys('list', []),
    revoke: (id) => remote.keys('revoke', [id]),
    inUse: () => remote.keys('inUse', [])
  }
}
