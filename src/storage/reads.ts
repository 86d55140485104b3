import { setImmediate as turn } from 'node:timers/promises'
import { sql, type Expression, type Kysely, type SqlBool } from 'kysely'
import type { EpochMs, ProcessId } from '../locks/lock.js'
import type { CountQuery, FeedStart, GrantNumber, HistoryPage, HistoryQuery, ListPage, ListQuery, QueuePage, QueueQuery, StoreReads } from '../locks/store.js'
import { EventReader, isForgotten, readHistory, releasedAt, type EventIndex } from './history.js'
import { GRANT_COLUMNS, grantFromRow, type Tables } from './tables.js'
import { beginsWith } from './statement.js'

export interface ReadContext {
  readonly db: Kysely<Tables>
  /** The database's clock as an expression that is read once per statement. */
  readonly now: () => Expression<number>
  /** Whether the row `w` of `lock_waiters` still waits. */
  readonly live: () => Expression<SqlBool>
  /** How many rows one statement may count: bounded where batches wait meanwhile. */
  readonly countAtOnce: number
  readonly events: EventIndex
  /** Whether an event may become visible after one with a larger id. */
  readonly mayHaveGaps: boolean
}

/** What is read without a batch, through Kysely, by the connection of the context. */
export class SqlReads implements StoreReads {
  readonly #context: ReadContext
  readonly #events: EventReader

  constructor(context: ReadContext) {
    this.#context = context
    this.#events = new EventReader(context.db, context.mayHaveGaps)
  }

  async list(query: ListQuery): Promise<ListPage> {
    const { now, live } = this.#context
    const clock = now()
    const rows = await this.#matching(query, query.after)
      .select([
        ...GRANT_COLUMNS,
        'ttl_ms',
        'renewals',
        sql<number>`(select count(*) from lock_waiters w where w.resource_name = resource_locks.resource_name and ${live()})`.as('waiters'),
        sql<number>`${clock}`.as('at')
      ])
      .where(isValid(clock))
      .orderBy('resource_name')
      .limit(query.limit + 1)
      .execute()
    return {
      at: rows[0]?.at ?? (await this.#clock()),
      grants: rows.slice(0, query.limit).map((row) => Object.assign(grantFromRow(row), { ttlMs: row.ttl_ms, renewals: row.renewals, waiters: row.waiters })),
      more: rows.length > query.limit
    }
  }

  /** Counts in slices of the name order, and lets requests pass between two slices. */
  async count(query: CountQuery): Promise<number> {
    const { db, now, countAtOnce } = this.#context
    let total = 0
    for (let after: string | null = null; ; await turn()) {
      const slice = this.#matching(query, after)
        .select(['resource_name', 'is_active', 'expires_at'])
        .orderBy('resource_name')
        .limit(countAtOnce)
        .as('resource_locks')
      const found: { last: string | null; seen: number; valid: number } = await db
        .selectFrom(slice)
        .select(({ fn }) => [
          fn.max('resource_name').as('last'),
          fn.countAll<number>().as('seen'),
          fn.countAll<number>().filterWhere(isValid(now())).as('valid')
        ])
        .executeTakeFirstOrThrow()
      total += found.valid
      if (found.seen < countAtOnce || found.last === null) return total
      after = found.last
    }
  }

  async queue({ resourceName, limit }: QueueQuery): Promise<QueuePage> {
    const { db, live } = this.#context
    const rows = await db
      .selectFrom('lock_waiters as w')
      .select(({ fn }) => ['w.process_id', 'w.queued_at', 'w.lease_until', fn.countAll<number>().over().as('total')])
      .where('w.resource_name', '=', resourceName)
      .where(live())
      .orderBy('w.ticket')
      .limit(limit)
      .execute()
    return {
      at: await this.#clock(),
      // The parsers have checked every name that is stored.
      waiters: rows.map((row) => ({ processId: row.process_id as ProcessId, queuedAt: row.queued_at, keptUntil: row.lease_until })),
      total: rows[0]?.total ?? 0
    }
  }

  async countWaiters({ prefix }: Pick<ListQuery, 'prefix'>): Promise<number> {
    const { db, live } = this.#context
    const { rows } = await sql<{ waiters: number }>`
    select count(*) as waiters from lock_waiters w where ${live()} and ${beginsWith('w.resource_name', prefix)}`.execute(db)
    return rows[0]?.waiters ?? 0
  }

  async longestWait({ prefix }: Pick<ListQuery, 'prefix'>): Promise<number | null> {
    const { db, live, now } = this.#context
    const { rows } = await sql<{ age: number | null }>`
    select ${now()} - min(w.queued_at) as age from lock_waiters w
    where w.lease_until is null and ${live()} and ${beginsWith('w.resource_name', prefix)}`.execute(db)
    const age = rows[0]?.age ?? null
    return age === null ? null : Math.max(0, age)
  }

  history(query: HistoryQuery): Promise<HistoryPage> {
    return readHistory(this.#context.db, this.#context.events, query)
  }

  releasedAt(grant: GrantNumber): Promise<EpochMs | null> {
    return releasedAt(this.#context.db, this.#context.events, grant)
  }

  feedStart(): Promise<FeedStart> {
    return this.#events.start()
  }

  isForgotten(eventId: number): Promise<boolean> {
    return isForgotten(this.#context.db, eventId)
  }

  eventsAfter(eventId: number, limit: number, until?: 'settled'): Promise<HistoryPage> {
    return until === 'settled' ? this.#events.settledAfter(eventId, limit) : this.#events.after(eventId, limit)
  }

  #matching({ prefix, processId, key }: CountQuery, after: string | null) {
    return this.#context.db
      .selectFrom('resource_locks')
      .$if(prefix !== '', (query) => query.where(beginsWith('resource_name', prefix)))
      // SQLite uses its index of processes, which has active locks only, when the condition repeats that.
      .$if(processId !== null, (query) => query.where('process_id', '=', processId ?? '').where(sql<SqlBool>`is_active`))
      .$if(key !== undefined, (query) => query.where('api_key', '=', key ?? null))
      .$if(after !== null, (query) => query.where('resource_name', '>', after ?? ''))
  }

  /** For a page without a row that has the time. */
  async #clock(): Promise<EpochMs> {
    const { rows } = await sql<{ at: EpochMs }>`select ${this.#context.now()} as at`.execute(this.#context.db)
    return rows[0]?.at ?? 0
  }
}

function isValid(now: Expression<number>): Expression<SqlBool> {
  return sql<SqlBool>`(resource_locks.is_active and (resource_locks.expires_at is null or resource_locks.expires_at > ${now}))`
}
