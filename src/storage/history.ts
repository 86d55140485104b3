import { setImmediate as turn } from 'node:timers/promises'
import { sql, type Kysely, type RawBuilder, type SqlBool } from 'kysely'
import { EVENT_BUCKET_BITS } from '../../migrations/0005-lock-event-buckets.js'
import type { EpochMs } from '../locks/lock.js'
import type { FeedStart, GrantNumber, HistoryPage, HistoryQuery, LockEvent } from '../locks/store.js'
import { beginsWith, type LockEventsTable, type Tables } from './tables.js'

type StoredEventRow = Omit<LockEventsTable, 'id'> & { id: number }
type EventAge = Pick<StoredEventRow, 'id' | 'at'>

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
  const rows: StoredEventRow[] = []
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

/** A repetition comes seconds after the release: an older one is not looked for, so that a wrong number costs two small queries. */
export async function releasedAt(db: Kysely<Tables>, index: EventIndex, { resourceName, processId, lockId }: GrantNumber): Promise<EpochMs | null> {
  const query = { prefix: '', resourceName, processId, before: null, limit: 1 }
  const newest = bucketOf(await newestEvent(db))
  const newestIndexed = await index.newestBucket()
  const indexed = Array.from({ length: MOST_BUCKETS }, (_, back) => newest - back).filter((bucket) => bucket >= 0 && bucket <= newestIndexed)
  const places: RawBuilder<SqlBool>[] = []
  if (newestIndexed < newest) places.push(sql<SqlBool>`id >= ${firstOf(newestIndexed + 1)}`)
  if (indexed.length > 0) places.push(index.among(query, indexed))
  for (const place of places) {
    const release = await matching(db, query).where('kind', '=', 'released').where('lock_id', '=', lockId).where(place).executeTakeFirst()
    if (release !== undefined) return release.at
  }
  return null
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
function bucketOf(eventId: number): number {
  return Math.floor(eventId / 2 ** EVENT_BUCKET_BITS)
}

/** The id of the first event in a bucket. */
function firstOf(bucket: number): number {
  return bucket * 2 ** EVENT_BUCKET_BITS
}

async function newestEvent(db: Kysely<Tables>): Promise<number> {
  const row = await db.selectFrom('lock_events').select('id').orderBy('id', 'desc').limit(1).executeTakeFirst()
  return row?.id ?? 0
}

async function oldestEvent(db: Kysely<Tables>): Promise<number> {
  const row = await db.selectFrom('lock_events').select('id').orderBy('id').limit(1).executeTakeFirst()
  return row?.id ?? 0
}

/**
 * The sweeper removes the oldest events and always leaves one, so that the oldest one shows what is gone. An event
 * after the newest is gone too: it was in a database to which this one is an earlier backup.
 */
export async function isForgotten(db: Kysely<Tables>, eventId: number): Promise<boolean> {
  return (await oldestEvent(db)) > eventId + 1 || (await newestEvent(db)) < eventId
}

/**
 * Finds the part of the history that is too old: from the event with the smallest id up to the last one that is too old
 * before the first recent one. What stays has no holes, so that a watcher notices what it has missed.
 *
 * An event that is dated in the future was written before the clock was set back. It is removed with a too old event that
 * follows it or, where there is none, once it is too old itself. However many there are, each is looked at once.
 */
export class HistoryPruner {
  readonly #keepMs: number
  #after = 0
  /** The earliest date among the events up to `after`. */
  #passedFrom = Number.POSITIVE_INFINITY
  /** The events dated in the future that were seen last. */
  #future: readonly EventAge[] = []
  /** The earliest of those that were passed is too old by now: they are looked at once more. */
  #restarts = false

  constructor(keepMs: number) {
    this.#keepMs = keepMs
  }

  /** The events to look at next have larger ids. */
  get after(): number {
    return this.#after
  }

  /**
   * @param events the first ones after `after`, ordered by id.
   * @returns the id up to which events are to be removed, undefined where none are.
   */
  look(events: readonly EventAge[], now: EpochMs): number | undefined {
    const before = now - this.#keepMs
    this.#future = []
    this.#restarts = this.#passedFrom < before
    if (this.#restarts) return undefined
    const recent = events.findIndex(({ at }) => at >= before && at <= now)
    const looked = recent < 0 ? events : events.slice(0, recent)
    this.#future = looked.filter(({ at }) => at > now)
    return looked.findLast(({ at }) => at < before)?.id
  }

  /**
   * To be called after each look.
   *
   * @param removed how many events were removed; fewer than `limit` means all.
   * @returns whether there may be more to remove.
   */
  advance(removed: number, limit: number): boolean {
    if (removed >= limit) return true
    const [from, after] = this.#restarts ? [Number.POSITIVE_INFINITY, 0] : [this.#passedFrom, this.#after]
    this.#passedFrom = Math.min(from, ...this.#future.map(({ at }) => at))
    this.#after = this.#future.at(-1)?.id ?? after
    return this.#restarts || this.#future.length > 0
  }
}

/** So many ids before the newest are looked through for one that an open transaction may still commit. */
const LOOK_BACK = 10_000

/**
 * Reads the history in the order of its ids, without gaps.
 *
 * In PostgreSQL a transaction draws the id of an event before it commits, so that a smaller id may become visible after a
 * larger one, or never. A transaction that has drawn an id holds a lock on the table until it ends. An id that is missing on
 * a page was drawn before the page was read; so once every transaction that held such a lock after the page was read has
 * ended, a second reading shows the event, or its id is lost. Transactions that do not write events delay nothing.
 */
export class EventReader {
  readonly #db: Kysely<Tables>
  readonly #mayHaveGaps: boolean
  /** Nothing up to that id is missing any longer once those transactions have ended. */
  #horizon: { readonly upTo: number; readonly writers: ReadonlySet<string> } | undefined

  constructor(db: Kysely<Tables>, mayHaveGaps: boolean) {
    this.#db = db
    this.#mayHaveGaps = mayHaveGaps
  }

  async start(): Promise<FeedStart> {
    const newest = await newestEvent(this.#db)
    // After the newest: who could still commit a smaller id is among them.
    if (!this.#mayHaveGaps || (await this.#openWriters()).size === 0) return { after: newest, earlier: [] }
    const first = Math.max(1, newest - LOOK_BACK)
    const rows = await this.#db.selectFrom('lock_events').select('id').where('id', '>=', first).where('id', '<=', newest).orderBy('id').execute()
    const missing = rows.findIndex(({ id }, index) => id !== first + index)
    if (missing < 0) return { after: newest, earlier: [] }
    return { after: first + missing - 1, earlier: rows.slice(missing).map(({ id }) => id) }
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
    const page = await this.after(eventId, limit)
    const complete = page.events.findIndex((event, index) => event.eventId !== eventId + 1 + index)
    if (!this.#mayHaveGaps || complete < 0) return page
    const open = await this.#openWriters()
    if (this.#horizon === undefined || this.#horizon.upTo <= eventId + complete + 1) {
      this.#horizon = { upTo: page.events.at(-1)?.eventId ?? eventId, writers: open }
    }
    const { upTo, writers } = this.#horizon
    if ([...writers].some((writer) => open.has(writer))) return { events: page.events.slice(0, complete), more: false }
    const settled = (await this.after(eventId, limit)).events.filter((event) => event.eventId <= upTo)
    if (settled.length === 0) this.#horizon = undefined
    return { events: settled, more: settled.length > 0 }
  }

  /** The transactions that may have drawn the id of an event and not committed it yet. */
  async #openWriters(): Promise<ReadonlySet<string>> {
    const { rows } = await sql<{ writer: string }>`
      select virtualtransaction as writer from pg_locks
      where locktype = 'relation' and relation = 'lock_events'::regclass and mode = 'RowExclusiveLock'
        and database = (select oid from pg_database where datname = current_database())`.execute(this.#db)
    return new Set(rows.map(({ writer }) => writer))
  }
}

function pageOf(rows: readonly StoredEventRow[], limit: number): HistoryPage {
  return { events: rows.slice(0, limit).map(eventFromRow), more: rows.length > limit }
}

function eventFromRow({ id, at, kind, resource_name, lock_id, process_id, reason }: StoredEventRow): LockEvent {
  return { eventId: id, kind, at, resourceName: resource_name, lockId: lock_id, processId: process_id, reason }
}
