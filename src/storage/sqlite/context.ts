import type Database from 'better-sqlite3'
import { sql, type Expression, type Kysely, type SqlBool } from 'kysely'
import type { EpochMs } from '../../locks/lock.js'
import { LATEST_COLUMNS, latestFromRow, type EventRow, type LockSnapshot, type LatestRow, type Tables } from '../tables.js'
import { statement } from '../statement.js'
import { eventIndexer } from './event-indexer.js'
import { prepare } from './prepared.js'

/** More events than one instant can have, read back when the file is opened: an instant may go on over a restart. */
const MOST_AT_ONCE = 1000

/** What the families of commands share on SQLite. */
export interface SqliteContext {
  readonly database: Database.Database
  readonly db: Kysely<Tables>
  readonly readLatest: (name: string, now: EpochMs) => LockSnapshot
  /** Writes one line of the history, where one is kept. */
  readonly appendEvent: (event: EventRow) => void
  /** To be called when events were removed. */
  readonly forgetEvents: () => void
  /** Whether the history has told of that resource at this very instant. */
  readonly hasEventAt: (name: string, now: EpochMs) => boolean
  /** To be called after a transaction that was rolled back, with all that it told. */
  readonly rollBack: () => void
}

export function sqliteContext(database: Database.Database, db: Kysely<Tables>, keepsHistory: boolean): SqliteContext {
  const byName = prepare<{ name: string }, LatestRow>(
    database,
    statement((arg) => db.selectFrom('resource_locks').select(LATEST_COLUMNS).where('resource_name', '=', arg('name')))
  )
  const addEvent = prepare<EventRow>(
    database,
    statement((arg) =>
      db.insertInto('lock_events').values({
        at: arg('at'),
        kind: arg('kind'),
        resource_name: arg('resource_name'),
        lock_id: arg('lock_id'),
        process_id: arg('process_id'),
        reason: arg('reason')
      })
    )
  )
  // In memory: the newest events are in no index.
  const lastOnes = prepare<object, Pick<EventRow, 'at' | 'resource_name'>>(
    database,
    statement(() => db.selectFrom('lock_events').select(['at', 'resource_name']).where('kind', '<>', 'expired').orderBy('id', 'desc').limit(sql.lit(MOST_AT_ONCE)))
  ).all({})
  const lastAt = lastOnes[0]?.at ?? 0
  const lastInstant = { at: lastAt, names: new Set(lastOnes.filter(({ at }) => at === lastAt).map(({ resource_name }) => resource_name)) }
  const filed = eventIndexer(database, db)
  function appendEvent(event: EventRow): void {
    filed.added(addEvent.insert(event))
    // Told late, of an earlier instant.
    if (event.kind === 'expired') return
    if (event.at !== lastInstant.at) {
      lastInstant.at = event.at
      lastInstant.names.clear()
    }
    lastInstant.names.add(event.resource_name)
  }
  return {
    database,
    db,
    readLatest: (name, now) => ({ at: now, latest: latestFromRow(byName.get({ name })) }),
    appendEvent: keepsHistory ? appendEvent : () => undefined,
    forgetEvents: () => filed.forget(),
    hasEventAt: (name, now) => lastInstant.at === now && lastInstant.names.has(name),
    rollBack: () => lastInstant.names.clear()
  }
}

/** The row's grant may be touched with that key: it belongs to it or to nobody. Null may touch all; `resource_locks` must be in scope. */
export function isOpenTo(key: Expression<string | null>): Expression<SqlBool> {
  return sql<SqlBool>`(${key} is null or resource_locks.api_key is null or resource_locks.api_key = ${key})`
}

/** The row's grant is valid at that instant; `resource_locks` must be in scope. */
export function isValidAt(now: Expression<number>): Expression<SqlBool> {
  return sql<SqlBool>`(resource_locks.is_active and (resource_locks.expires_at is null or resource_locks.expires_at > ${now}))`
}
