import { setImmediate as turn } from 'node:timers/promises'
import { sql, type Kysely, type RawBuilder, type SqlBool } from 'kysely'
import { EVENT_BUCKET_BITS } from '../../migrations/0005-lock-event-buckets.js'
import type { HistoryPage, HistoryQuery, LockEvent } from '../locks/lock-store.js'
import { beginsWith } from './list.js'
import type { LockEventsTable, Tables } from './tables.js'

type EventRow = Omit<LockEventsTable, 'id'> & { id: number }

/** Buckets that are looked into at once, at most: some milliseconds in which batches wait on SQLite. */
const MOST_BUCKETS = 64

/** How a database finds the events of one name or process: in buckets of events that were written one after another. */
export interface EventIndex {
  /** The events in later buckets are not in it, and few enough to be looked through. */
  newestBucket(): Promise<number>
  /** The condition that an event is in one of these buckets; may leave out what the query does not ask for. */
  among(query: HistoryQuery, buckets: readonly number[]): RawBuilder<SqlBool>
}

/** One page of the history, newest first. */
export async function readHistory(db: Kysely<Tables>, index: EventIndex, query: HistoryQuery): Promise<HistoryPage> {
  const { prefix, resourceName, processId, before, limit } = query
  const wanted = limit + 1
  if (prefix === '' && resourceName === null && processId === null) return pageOf(await matching(db, query).orderBy('id', 'desc').limit(wanted).execute(), limit)

  const newestIndexed = await index.newestBucket()
  const oldest = bucketOf(await oldestEvent(db))
  const rows: EventRow[] = []
  let bucket = bucketOf(before === null ? await newestEvent(db) : before - 1)
  for (let buckets = 1; bucket >= oldest && rows.length < wanted; buckets = Math.min(buckets * 2, MOST_BUCKETS)) {
    const isIndexed = bucket <= newestIndexed
    const last = Math.max(bucket - buckets + 1, isIndexed ? oldest : Math.max(oldest, newestIndexed + 1))
    const some = Array.from({ length: bucket - last + 1 }, (_, back) => bucket - back)
    rows.push(
      ...(await matching(db, query)
        .where(isIndexed ? index.among(query, some) : sql<SqlBool>`id between ${firstOf(last)} and ${firstOf(bucket + 1) - 1}`)
        // Not plainly by `id`, which could lead a database to read all events in that order instead.
        .orderBy(sql`id + 0`, 'desc')
        .limit(wanted - rows.length)
        .execute())
    )
    bucket = last - 1
    await turn()
  }
  return pageOf(rows, limit)
}

function matching(db: Kysely<Tables>, { prefix, resourceName, processId, before }: HistoryQuery) {
  return db
    .selectFrom('lock_events')
    .selectAll()
    .$if(prefix !== '', (query) => query.where(beginsWith('resource_name', prefix)))
    .$if(resourceName !== null, (query) => query.where('resource_name', '=', resourceName ?? ''))
    .$if(processId !== null, (query) => query.where('process_id', '=', processId ?? ''))
    .$if(before !== null, (query) => query.where('id', '<', before ?? 0))
}

/** Not by `>>`, which knows 32 bits here. */
export function bucketOf(eventId: number): number {
  return Math.floor(eventId / 2 ** EVENT_BUCKET_BITS)
}

/** The id of the first event in a bucket. */
export function firstOf(bucket: number): number {
  return bucket * 2 ** EVENT_BUCKET_BITS
}

export async function newestEvent(db: Kysely<Tables>): Promise<number> {
  const row = await db.selectFrom('lock_events').select('id').orderBy('id', 'desc').limit(1).executeTakeFirst()
  return row?.id ?? 0
}

async function oldestEvent(db: Kysely<Tables>): Promise<number> {
  const row = await db.selectFrom('lock_events').select('id').orderBy('id').limit(1).executeTakeFirst()
  return row?.id ?? 0
}

/**
 * The sweeper removes the oldest events and always leaves one, so that the oldest that is left tells what is gone. An event
 * after the newest is gone too: it was in a database to which this one is an earlier backup.
 */
export async function isForgotten(db: Kysely<Tables>, eventId: number): Promise<boolean> {
  return (await oldestEvent(db)) > eventId + 1 || (await newestEvent(db)) < eventId
}

/**
 * Ids are drawn before a transaction commits, so that in PostgreSQL a smaller one may become visible after a larger one. A
 * gap is therefore waited for until every transaction that ran when it was first seen has ended; then its id is a lost one.
 */
export class EventReader {
  readonly #db: Kysely<Tables>
  readonly #mayHaveGaps: boolean
  #gap: { readonly at: number; readonly closedFrom: number } | undefined

  constructor(db: Kysely<Tables>, mayHaveGaps: boolean) {
    this.#db = db
    this.#mayHaveGaps = mayHaveGaps
  }

  async after(eventId: number, limit: number): Promise<HistoryPage> {
    const rows = await this.#db
      .selectFrom('lock_events')
      .selectAll()
      .where('id', '>', eventId)
      .orderBy('id')
      .limit(limit + 1)
      .execute()
    return pageOf(rows, limit)
  }

  async settledAfter(eventId: number, limit: number): Promise<HistoryPage> {
    // Before the events: what had ended by then is among them.
    const running = this.#mayHaveGaps ? await this.#running() : undefined
    const page = await this.after(eventId, limit)
    if (running === undefined) return page
    let expected = eventId + 1
    for (const [index, { eventId: found }] of page.events.entries()) {
      if (found !== expected) {
        const gap = this.#gap?.at === expected ? this.#gap : undefined
        if (gap === undefined) this.#gap = { at: expected, closedFrom: running.next }
        if (gap === undefined || running.oldest < gap.closedFrom) return { events: page.events.slice(0, index), more: false }
      }
      expected = found + 1
    }
    return page
  }

  /** The oldest transaction that may still write, and the number that the next one will get. */
  async #running(): Promise<{ oldest: number; next: number }> {
    const { rows } = await sql<{ oldest: number; next: number }>`
      select pg_snapshot_xmin(now)::text::bigint as oldest, pg_snapshot_xmax(now)::text::bigint as next
      from pg_current_snapshot() as now`.execute(this.#db)
    return rows[0] ?? { oldest: 0, next: 0 }
  }
}

function pageOf(rows: readonly EventRow[], limit: number): HistoryPage {
  return { events: rows.slice(0, limit).map(eventFromRow), more: rows.length > limit }
}

function eventFromRow({ id, at, kind, resource_name, lock_id, process_id, reason }: EventRow): LockEvent {
  return { eventId: id, kind, at, resourceName: resource_name, lockId: lock_id, processId: process_id, reason }
}
