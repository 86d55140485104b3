import { setImmediate as turn } from 'node:timers/promises'
import { sql, type Expression, type Kysely, type RawBuilder, type SqlBool } from 'kysely'
import type { EpochMs } from '../locks/lock.js'
import type { CountQuery, ListPage, ListQuery } from '../locks/store.js'
import { GRANT_COLUMNS, grantFromRow } from './rows.js'
import type { Tables } from './tables.js'

export interface ListContext {
  readonly db: Kysely<Tables>
  /** The database's clock as an expression that is read once per statement. */
  readonly now: () => Expression<number>
  /** Whether the row `w` of `lock_waiters` still waits. */
  readonly live: () => Expression<SqlBool>
  /** How many rows one statement may count: bounded where batches wait meanwhile. */
  readonly countAtOnce: number
}

export async function listLocks(context: ListContext, query: ListQuery): Promise<ListPage> {
  const now = context.now()
  const rows = await matching(context, query, query.after)
    .select([
      ...GRANT_COLUMNS,
      'ttl_ms',
      'renewals',
      sql<number>`(select count(*) from lock_waiters w where w.resource_name = resource_locks.resource_name and ${context.live()})`.as('waiters'),
      sql<number>`${now}`.as('at')
    ])
    .where(isValid(now))
    .orderBy('resource_name')
    .limit(query.limit + 1)
    .execute()
  return {
    at: rows[0]?.at ?? (await readClock(context)),
    grants: rows.slice(0, query.limit).map((row) => Object.assign(grantFromRow(row), { ttlMs: row.ttl_ms, renewals: row.renewals, waiters: row.waiters })),
    more: rows.length > query.limit
  }
}

/** For an answer without a row that would bear the time. */
export async function readClock({ db, now }: ListContext): Promise<EpochMs> {
  const { rows } = await sql<{ at: EpochMs }>`select ${now()} as at`.execute(db)
  return rows[0]?.at ?? 0
}

/** Counts in slices of the name order, and lets requests pass between two slices. */
export async function countLocks(context: ListContext, query: CountQuery): Promise<number> {
  let total = 0
  for (let after: string | null = null; ; await turn()) {
    const slice = matching(context, query, after)
      .select(['resource_name', 'is_active', 'expires_at'])
      .orderBy('resource_name')
      .limit(context.countAtOnce)
      .as('resource_locks')
    const found: { last: string | null; seen: number; valid: number } = await context.db
      .selectFrom(slice)
      .select(({ fn }) => [
        fn.max('resource_name').as('last'),
        fn.countAll<number>().as('seen'),
        fn.countAll<number>().filterWhere(isValid(context.now())).as('valid')
      ])
      .executeTakeFirstOrThrow()
    total += found.valid
    if (found.seen < context.countAtOnce || found.last === null) return total
    after = found.last
  }
}

function matching({ db }: ListContext, { prefix, processId, key }: CountQuery, after: string | null) {
  return db
    .selectFrom('resource_locks')
    .$if(prefix !== '', (query) => query.where(beginsWith('resource_name', prefix)))
    // SQLite indexes the processes of active locks alone, and sees that only in so many words.
    .$if(processId !== null, (query) => query.where('process_id', '=', processId ?? '').where(sql<SqlBool>`is_active`))
    .$if(key !== undefined, (query) => query.where('api_key', '=', key ?? null))
    .$if(after !== null, (query) => query.where('resource_name', '>', after ?? ''))
}

function isValid(now: Expression<number>): Expression<SqlBool> {
  return sql<SqlBool>`(resource_locks.is_active and (resource_locks.expires_at is null or resource_locks.expires_at > ${now}))`
}

/** The name begins with that prefix, said so that an index can be searched with it. */
export function beginsWith(name: string, prefix: string): RawBuilder<SqlBool> {
  const end = endOfPrefix(prefix)
  const after = sql<SqlBool>`${sql.ref(name)} >= ${prefix}`
  return end === undefined ? after : sql<SqlBool>`(${after} and ${sql.ref(name)} < ${end})`
}

/** The smallest text that sorts after every text with that prefix, bytewise in UTF-8; undefined when there is none. */
export function endOfPrefix(prefix: string): string | undefined {
  const points = Array.from(prefix, (character) => character.codePointAt(0) ?? 0)
  while (points.at(-1) === 0x10ffff) points.pop()
  const last = points.pop()
  if (last === undefined) return undefined
  // Surrogates are no characters of their own.
  const next = last + 1 === 0xd800 ? 0xe000 : last + 1
  return String.fromCodePoint(...points, next)
}

/** @param live whether the row `w` still waits. */
export async function countWaiters(db: Kysely<Tables>, live: RawBuilder<unknown>, prefix: string): Promise<number> {
  const { rows } = await sql<{ waiters: number }>`
    select count(*) as waiters from lock_waiters w where ${live} and ${beginsWith('w.resource_name', prefix)}`.execute(db)
  return rows[0]?.waiters ?? 0
}
