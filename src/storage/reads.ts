import { setImmediate as turn } from 'node:timers/promises'
import { sql, type Expression, type Kysely, type RawBuilder, type SqlBool } from 'kysely'
import type { EpochMs, ProcessId, ResourceName } from '../locks/lock.js'
import type { CountQuery, FeedStart, GrantNumber, HistoryPage, HistoryQuery, ListPage, ListQuery, QueuePage, QueueQuery, StoreReads } from '../locks/store.js'
import { EventReader, isForgotten, readHistory, releasedAt, type EventIndex } from './history.js'
import { grantFromShare, type ShareRow } from './share-rows.js'
import { GRANT_COLUMNS, grantFromRow, NOBODY, type GrantRow, type Tables, beginsWith } from './tables.js'

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
    const { now, live, db } = this.#context
    const clock = now()
    const wanted = query.limit + 1
    // Each part is read in the order of an index, and no further than the page goes.
    const { rows } = await sql<ListRow>`
      select found.*, ${clock} as at, (select count(*) from lock_waiters w where w.resource_name = found.resource_name and ${live()}) as waiters
      from (
        select * from (
          select ${columns(LISTED.filter((column) => column !== 'expires_at'))}, expires_at, cast(null as bigint) as permits, cast(null as bigint) as allows, cast(null as text) as slots
          from resource_locks where ${matching(query, 'resource_locks')} and ${isValid(clock)} order by resource_name limit ${wanted}
        ) as exclusive
        union all
        select * from (
          select ${columns(LISTED.filter((column) => column !== 'expires_at').map((column) => `s.${column}`))}, coalesce(s.held_until, s.expires_at) as expires_at,
            case when s.is_exclusive then null else s.permits end as permits, s.allows, s.slots
          from lock_shares s join resource_locks l on l.resource_name = s.resource_name
          where ${matching(query, 's')} and ${isHeldShare(clock)} order by s.resource_name, s.id limit ${wanted}
        ) as shares
      ) as found
      order by found.resource_name, found.id
      limit ${wanted}`.execute(db)
    return {
      at: rows[0]?.at ?? (await this.#clock()),
      grants: rows.slice(0, query.limit).map(({ ttl_ms: ttlMs, renewals, waiters, ...row }) =>
        Object.assign(row.permits === null ? grantFromRow(row) : grantFromShare({ ...row, permits: row.permits, is_exclusive: false, held_until: null }), { ttlMs, renewals, waiters })
      ),
      more: rows.length > query.limit
    }
  }

  async count(query: CountQuery): Promise<number> {
    const exclusive = query.mode === 'shared' ? 0 : await this.#countExclusive(query)
    return exclusive + (await this.#countShares(query))
  }

  /** Counts in slices of the name order, and lets requests pass between two slices. */
  async #countExclusive(query: CountQuery): Promise<number> {
    const { db, now, countAtOnce } = this.#context
    let total = 0
    for (let after = ''; ; await turn()) {
      const { rows } = await sql<{ last: string | null; seen: number; valid: number }>`
        select max(resource_name) as last, count(*) as seen, count(*) filter (where ${isValid(now())}) as valid
        from (
          select resource_name, is_active, expires_at from resource_locks
          where ${matching({ ...query, after: null }, 'resource_locks')} and resource_name > ${after} order by resource_name limit ${countAtOnce}
        ) as resource_locks`.execute(db)
      const { last = null, seen = 0, valid = 0 } = rows[0] ?? {}
      total += valid
      if (seen < countAtOnce || last === null) return total
      after = last
    }
  }

  async #countShares(query: CountQuery): Promise<number> {
    const { db, now, countAtOnce } = this.#context
    let total = 0
    for (let [name, process] = ['', '']; ; await turn()) {
      const { rows } = await sql<{ name: string | null; process: string | null; seen: number; valid: number }>`
        with s as materialized (
          select * from lock_shares s
          where ${matching({ ...query, after: null }, 's')} and s.is_active and ${ofMode(query)} and (s.resource_name, s.process_id) > (${name}, ${process})
          order by s.resource_name, s.process_id limit ${countAtOnce}
        )
        select max(s.resource_name) as name, (select process_id from s order by resource_name desc, process_id desc limit 1) as process,
          count(*) as seen, count(*) filter (where ${isHeldShare(now())}) as valid
        from s left join resource_locks l on l.resource_name = s.resource_name`.execute(db)
      const { seen = 0, valid = 0, name: lastName, process: lastProcess } = rows[0] ?? {}
      total += valid
      if (seen < countAtOnce) return total
      name = lastName ?? ''
      process = lastProcess ?? ''
    }
  }

  async queue({ resourceName, prefix = '', limit }: QueueQuery): Promise<QueuePage> {
    const { db, live } = this.#context
    const rows = await db
      .selectFrom('lock_waiters as w')
      .select(({ fn }) => ['w.resource_name', sql<number>`row_number() over (partition by w.resource_name order by w.ticket)`.as('position'), 'w.process_id', 'w.queued_at', 'w.lease_until', 'w.allows', 'w.permits', fn.countAll<number>().over().as('total')])
      .$if(resourceName !== null, (query) => query.where('w.resource_name', '=', resourceName ?? ''))
      .$if(prefix !== '', (query) => query.where(beginsWith('w.resource_name', prefix)))
      .where(live())
      .orderBy('w.resource_name')
      .orderBy('w.ticket')
      .limit(limit)
      .execute()
    return {
      at: await this.#clock(),
      // The parsers have checked every name that is stored.
      waiters: rows.map((row) => ({ resourceName: row.resource_name as ResourceName, position: row.position, processId: row.process_id as ProcessId, sharing: row.permits === null ? null : { limit: row.allows, permits: row.permits }, queuedAt: row.queued_at, keptUntil: row.lease_until })),
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

  /** For a page without a row that has the time. */
  async #clock(): Promise<EpochMs> {
    const { rows } = await sql<{ at: EpochMs }>`select ${this.#context.now()} as at`.execute(this.#context.db)
    return rows[0]?.at ?? 0
  }
}

const LISTED = [...GRANT_COLUMNS, 'ttl_ms', 'renewals']

type ListRow = GrantRow & Pick<ShareRow, 'ttl_ms' | 'renewals' | 'allows' | 'slots'> & { readonly permits: number | null; readonly at: EpochMs; readonly waiters: number }

function columns(names: readonly string[]): RawBuilder<unknown> {
  return sql.join(names.map((name) => sql.ref(name)))
}

/** The conditions of a query on the rows of a table that has shares or exclusive grants. */
function matching({ prefix, processId, resourceName = null, key, after }: CountQuery & Partial<Pick<ListQuery, 'after'>>, table: string): RawBuilder<SqlBool> {
  const column = (name: string) => sql.ref(`${table}.${name}`)
  const name = column('resource_name')
  const conditions = [table === 's' ? sql`true` : sql`${column('process_id')} <> ${NOBODY}`]
  if (prefix !== '') conditions.push(beginsWith(`${table}.resource_name`, prefix))
  if (resourceName !== null) conditions.push(sql`${name} = ${resourceName}`)
  // SQLite uses its index of processes, which has active locks only, when the condition repeats that.
  if (processId !== null) conditions.push(sql`${column('process_id')} = ${processId} and ${column('is_active')}`)
  if (key !== undefined) conditions.push(sql`${column('api_key')} = ${key}`)
  if (after !== undefined && after !== null) conditions.push(sql`${name} >= ${after.name} and (${name} > ${after.name} or ${column('id')} > ${after.lockId})`)
  return sql<SqlBool>`(${sql.join(conditions, sql` and `)})`
}

function isValid(now: Expression<number>): Expression<SqlBool> {
  return sql<SqlBool>`(resource_locks.is_active and (resource_locks.expires_at is null or resource_locks.expires_at > ${now}))`
}

/** Among the shares, those of that mode: an exclusive grant with terms about its end is one of them. */
function ofMode({ mode }: CountQuery): RawBuilder<SqlBool> {
  if (mode === undefined) return sql<SqlBool>`true`
  return mode === 'exclusive' ? sql<SqlBool>`s.is_exclusive` : sql<SqlBool>`not s.is_exclusive`
}

/** Whether its process holds the share `s` of the resource in the row `l`; not where it is only kept. */
function isHeldShare(now: Expression<number>): Expression<SqlBool> {
  return sql<SqlBool>`(
    s.is_active and s.end_reason is null and (s.expires_at is null or coalesce(s.held_until, s.expires_at) > ${now}) and s.id >= l.shared_from
    and l.is_active and l.process_id = ${NOBODY} and (l.expires_at is null or l.expires_at > ${now})
  )`
}
