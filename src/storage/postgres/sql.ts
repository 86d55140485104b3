import { sql, type Kysely, type RawBuilder, type SqlBool } from 'kysely'
import { KEEP_PLACE_MS } from '../../locks/commands.js'
import { KEEP_ENDED_MS, type Tables } from '../tables.js'
import { statement, type Statement } from '../statement.js'

/**
 * `clock_timestamp()`, not `now()`: the latter stands still while a statement waits for a row. Not by `extract`, whose exact
 * numbers cost three times as much; a microsecond makes up for what the others lack.
 */
export const CLOCK = sql<number>`floor(date_part('epoch', clock_timestamp()) * 1000 + 0.001)::bigint`

/** The clock read once for a whole statement, so that an index can be searched with it. */
export const CLOCK_ONCE = sql<number>`(select ${CLOCK})`

/** The grant in the row `l` is valid now. */
export const VALID = sql`(l.is_active and (l.expires_at is null or l.expires_at > ${CLOCK}))`

/** The grant in the row `l` belongs to that key or to nobody; null may touch all. */
export function openTo(key: RawBuilder<unknown>): RawBuilder<unknown> {
  return sql`(${key} is null or l.api_key is null or l.api_key = ${key})`
}

export const KEEP = sql.lit(KEEP_ENDED_MS)

/** How long an instance's waiters keep their places without a sign of life from it, in milliseconds. */
export const INSTANCE_LEASE_MS = 3000

/** It lasts until then, and for at most so long: what would last longer comes from before the clock was set back. */
function lasts(until: RawBuilder<unknown>, longestMs: number): RawBuilder<SqlBool> {
  return sql`(${until} > ${CLOCK} and ${until} <= ${CLOCK} + ${sql.lit(longestMs)})`
}

/** The waiter in the row `w` still waits: its instance lives, or its place is kept. The living are looked up once per statement. */
export const LIVE = sql<SqlBool>`
  (case
    when w.lease_until is null then w.instance in (select i.instance from lock_instances i where ${lasts(sql`i.lease_until`, INSTANCE_LEASE_MS)})
    else ${lasts(sql`w.lease_until`, KEEP_PLACE_MS)}
  end)`

/** Anybody waits for anything: mostly nobody does, which is looked up once per statement. */
export const SOMEBODY_WAITS = sql<SqlBool>`(select exists (select from lock_waiters))`

/** How many wait for the resource of that name. */
export function waitersFor(name: RawBuilder<unknown>): RawBuilder<number> {
  return sql<number>`(select count(*) from lock_waiters w where w.resource_name = ${name} and ${LIVE})`
}

/** Orders names as the table does, which those that come as arguments do not by themselves: rows are taken in one order everywhere. */
export function bytewise(name: RawBuilder<unknown>): RawBuilder<unknown> {
  return sql`${name} collate "C"`
}

/** Columns of the row `l`. */
export function columns(names: readonly string[]): RawBuilder<unknown> {
  return sql.join(names.map((name) => sql.ref(`l.${name}`)))
}

/** The values of a column, none where all are null: `unnest` fills up what is missing beside longer ones. */
export function sparse<T>(values: (T | null)[]): (T | null)[] {
  return values.some((value) => value !== null) ? values : []
}

export type Arg<Args> = <Name extends keyof Args & string>(name: Name) => RawBuilder<Args[Name]>

/** A statement in parts, so that two can be made one: what follows its `with`, and the query that yields its rows. */
export interface Parts {
  readonly parts: RawBuilder<unknown>
  readonly rows: RawBuilder<unknown>
}

export function whole({ parts, rows }: Parts): RawBuilder<unknown> {
  return sql`with ${parts} ${rows}`
}

/** A statement that is written in SQL, compiled once. */
export function compiled<Args extends object, Row = never>(
  db: Kysely<Tables>,
  build: (arg: Arg<Args>) => RawBuilder<unknown>
): PostgresStatement<Args, Row> {
  statements += 1
  return { name: `rlm_${statements}`, ...statement<Args>((arg) => build(arg).compile(db)) }
}

let statements = 0

/** PostgreSQL parses and plans a named statement once per connection. */
export interface PostgresStatement<Args, Row> extends Statement<Args> {
  readonly name: string
  /** Only for the type: what its rows look like. */
  readonly row?: Row
}
