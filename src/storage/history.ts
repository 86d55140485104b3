import { sql, type Kysely } from 'kysely'
import type { HistoryPage, HistoryQuery, LockEvent } from '../locks/lock-store.js'
import type { LockEventsTable, Tables } from './tables.js'

type EventRow = Omit<LockEventsTable, 'id'> & { id: number }

/** One page of the history, newest first. */
export async function readHistory(db: Kysely<Tables>, { resourceName, processId, before, limit }: HistoryQuery): Promise<HistoryPage> {
  const rows = await db
    .selectFrom('lock_events')
    .selectAll()
    .$if(resourceName !== null, (query) => query.where('resource_name', '=', resourceName ?? ''))
    .$if(processId !== null, (query) => query.where('process_id', '=', processId ?? ''))
    .$if(before !== null, (query) => query.where('id', '<', before ?? 0))
    .orderBy('id', 'desc')
    .limit(limit + 1)
    .execute()
  return pageOf(rows, limit)
}

export async function newestEvent(db: Kysely<Tables>): Promise<number> {
  const row = await db.selectFrom('lock_events').select('id').orderBy('id', 'desc').limit(1).executeTakeFirst()
  return row?.id ?? 0
}

/** The sweeper removes the oldest events and always leaves one, so that the oldest that is left tells what is gone. */
export async function isForgotten(db: Kysely<Tables>, eventId: number): Promise<boolean> {
  const oldest = await db.selectFrom('lock_events').select('id').orderBy('id').limit(1).executeTakeFirst()
  return oldest !== undefined && oldest.id > eventId + 1
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
