import { sql, type Kysely, type RawBuilder } from 'kysely'
import { NEVER } from '../../../migrations/0013-lock-shares.js'
import type { EpochMs } from '../../locks/lock.js'
import { columnsOf, ROW_COLUMNS, ROW_TYPES, SHARE_COLUMNS, SHARE_TYPES, type ColumnTypes, type ResourceRow, type ShareRow } from '../share-rows.js'
import { DEQUEUED, NOBODY, type EventRow, type LockRequestsTable, type LockWaitersTable, type Tables } from '../tables.js'
import { bytewise, CLOCK, columns, compiled, SHARE_END, LIVE, SOMEBODY_WAITS, sparse, waitersFor, type Arg } from './sql.js'

/** How old what was read may be when it is written, in milliseconds: leases begin when it is read. */
const FRESH_MS = 500

const OF_NAME = sql`s.resource_name = asked.name and s.is_active`
const IS_CLOSED = sql`coalesce(l.is_active and l.process_id = ${sql.lit(NOBODY)} and (l.expires_at is null or l.expires_at > clock.at), false)`
/** More than one share counts: what is left without one of them matters. */
const HAS_OTHERS = sql`(${IS_CLOSED} and l.share_count > 1)`
const MUST_CHECK = sql`(${IS_CLOSED} and l.share_check_at <= clock.at)`

export interface ReadArgs {
  readonly names: string[]
  /** How many numbers to draw for each name. */
  readonly draws: number[]
  /** Whether shares may end: then those at the edges are read. */
  readonly ends: boolean[]
  /** Whether all shares are read. */
  readonly all: boolean[]
  /** Whether the queue is read. */
  readonly waits: boolean[]
  /** How many at an edge, or of a queue, are needed at most. */
  readonly most: number
}

export type QueueRow = Pick<LockWaitersTable, 'ticket' | 'process_id' | 'request_id' | 'fingerprint' | 'lease_until'>

/** A resource as it was at one instant, by a version that every change of the row changes. Lists are null where they are not needed. */
export interface FoundResource extends ResourceRow {
  readonly name: string
  readonly at: EpochMs
  readonly version: number | null
  /** How often rows were removed before the numbers were drawn. */
  readonly removals: number
  readonly numbers: readonly number[] | null
  readonly ending: readonly ShareRow[] | null
  readonly last_to_end: readonly ShareRow[] | null
  readonly lowest_limits: readonly ShareRow[] | null
  readonly first_end: number | null
  readonly queue: readonly QueueRow[] | null
  readonly limited_queue: readonly QueueRow[] | null
}

/** What is written of one resource, if its row still has that version. */
export interface WrittenRow extends ResourceRow {
  readonly version: number | null
}

const EVENT_TYPES = { at: 'bigint', kind: 'text', resource_name: 'text', lock_id: 'bigint', process_id: 'text', reason: 'text' } as const satisfies ColumnTypes<EventRow>
const REQUEST_TYPES = { request_id: 'text', fingerprint: 'text', grants: 'text', remembered_until: 'bigint' } as const satisfies ColumnTypes<Omit<LockRequestsTable, 'claimed'>>

/** The rows that one statement writes, each list with the types of its columns. */
const WRITTEN = {
  rows: { ...ROW_TYPES, version: 'bigint' } satisfies ColumnTypes<WrittenRow>,
  shares: SHARE_TYPES,
  events: EVENT_TYPES,
  requests: { resource_name: 'text', ...REQUEST_TYPES },
  /** Of the waiters that are served. */
  places: { resource_name: 'text', ticket: 'bigint', request_id: 'text', fingerprint: 'text' },
  /** Of the releases that depend on it. */
  unclaimed: { resource_name: 'text', request_id: 'text' }
} as const

type List = keyof typeof WRITTEN
export type RowOf<L extends List> = { readonly [Column in keyof (typeof WRITTEN)[L]]: string | number | boolean | null }

/** The lists, column by column, and when their resources were read. */
export type WriteArgs = { readonly [column: `${List}.${string}`]: unknown[] } & {
  readonly at: EpochMs
  readonly removals: number
}

/** The lists as the statement takes them: an array for each column, which costs PostgreSQL less than records of JSON. */
export function writeArgs(found: Pick<FoundResource, 'at' | 'removals'>, lists: { readonly [L in List]: readonly RowOf<L>[] }): WriteArgs {
  const args: Record<string, unknown> = { at: found.at, removals: found.removals }
  for (const [list, types] of Object.entries(WRITTEN)) {
    const rows: readonly Record<string, unknown>[] = lists[list as List]
    for (const column of Object.keys(types)) args[`${list}.${column}`] = sparse(rows.map((row) => row[column]))
  }
  return args as unknown as WriteArgs
}

/** One of the lists as rows. */
function listed(arg: Arg<WriteArgs>, list: List): RawBuilder<unknown> {
  const columns = Object.entries(WRITTEN[list]).map(([column, type]) => sql`unnest(${arg(`${list}.${column}`)}::${sql.raw(type)}[]) as ${sql.ref(column)}`)
  return sql`(select ${sql.join(columns)})`
}

const listOf = (query: RawBuilder<unknown>) => sql`(select json_agg(found) from (${query}) as found)`
const QUEUE = sql`select w.ticket, w.process_id, w.request_id, w.fingerprint, w.lease_until from lock_waiters w where w.resource_name = asked.name and ${LIVE}`

export function shareStatements(db: Kysely<Tables>, keepsHistory: boolean) {
  return {
    ...readStatements(db),
    ...sweepStatements(db),
    write: compiled<WriteArgs, { resource_name: string; waiters: number }>(db, (arg) => write(arg, keepsHistory, false)),
    /** Writes all of it or nothing. */
    writeAll: compiled<WriteArgs, { resource_name: string; waiters: number }>(db, (arg) => write(arg, keepsHistory, true))
  }
}

function readStatements(db: Kysely<Tables>) {
  return {
    /** Locks nothing: what was read is still true if the row has the same version when it is written. */
    read: compiled<ReadArgs, FoundResource>(
      db,
      (arg) => sql`
        with clock as materialized (select ${CLOCK} as at, (select last_value from lock_removals) as removals),
        asked as materialized (
          select * from unnest(${arg('names')}::text[], ${arg('draws')}::int[], ${arg('ends')}::boolean[], ${arg('all')}::boolean[], ${arg('waits')}::boolean[])
            as asked(name, draws, ends, everything, waits)
        )
        select asked.name, clock.at, clock.removals, l.xmin::text::bigint as version, ${columns(ROW_COLUMNS)},
          case when asked.draws > 0 then (select json_agg(nextval('lock_numbers')) from generate_series(1, asked.draws)) end as numbers,
          case when asked.everything or ${MUST_CHECK} or (not ${IS_CLOSED} and (coalesce(l.id, 0) = 0 or l.share_count > 0)) then
            ${listOf(sql`select s.* from lock_shares s where ${OF_NAME} and ${SHARE_END} <= case when ${IS_CLOSED} and not asked.everything then clock.at else ${sql.lit(NEVER)} end order by ${SHARE_END}`)}
          end as ending,
          case when asked.ends and ${HAS_OTHERS} then
            ${listOf(sql`select s.process_id, s.expires_at from lock_shares s where ${OF_NAME} order by ${SHARE_END} desc limit ${arg('most')}`)}
          end as last_to_end,
          case when ${HAS_OTHERS} and (asked.ends or ${MUST_CHECK}) and l.share_limit is not null then
            ${listOf(sql`select s.process_id, s.allows from lock_shares s where ${OF_NAME} and s.allows is not null and ${SHARE_END} > clock.at order by s.allows limit ${arg('most')}`)}
          end as lowest_limits,
          case when ${MUST_CHECK} then (select s.expires_at from lock_shares s where ${OF_NAME} and ${SHARE_END} > clock.at order by ${SHARE_END} limit 1) end as first_end,
          case when asked.waits and ${SOMEBODY_WAITS} then ${listOf(sql`${QUEUE} order by w.ticket limit ${arg('most')}`)} end as queue,
          case when asked.waits and ${SOMEBODY_WAITS} then ${listOf(sql`${QUEUE} and w.allows is not null order by w.ticket limit ${arg('most')}`)} end as limited_queue
        from asked cross join clock left join resource_locks l on l.resource_name = asked.name`
    ),

    /** The shares of these processes, or of these numbers. */
    shares: compiled<{ names: string[]; processes: (string | null)[]; lockIds: (number | null)[] }, ShareRow>(
      db,
      (arg) => sql`
        select ${sql.join(SHARE_COLUMNS.map((column) => sql.ref(`s.${column}`)))}
        from unnest(${arg('names')}::text[], ${arg('processes')}::text[], ${arg('lockIds')}::bigint[]) as asked(name, process_id, lock_id),
          lateral (
            select * from lock_shares s where s.resource_name = asked.name and s.process_id = asked.process_id
            union all
            select * from lock_shares s where asked.process_id is null and s.resource_name = asked.name and s.id = asked.lock_id
          ) as s`
    ),

    claimed: compiled<{ requestIds: string[] }, Pick<LockRequestsTable, 'request_id'>>(
      db,
      (arg) => sql`select request_id from lock_requests where request_id = any(${arg('requestIds')}::text[]) and claimed`
    ),

    /** The valid shares of each resource, the first to end first, and what else a refusal says. */
    holders: compiled<{ names: string[]; most: number }, { name: string; at: EpochMs; waiters: number; row: ResourceRow | null; shares: readonly ShareRow[] | null }>(
      db,
      (arg) => sql`
        with clock as materialized (select ${CLOCK} as at)
        select asked.name, clock.at, ${waitersFor(sql`asked.name`)} as waiters, to_json(l) as row,
          case when ${IS_CLOSED} then
            ${listOf(sql`select s.* from lock_shares s where ${OF_NAME} and ${SHARE_END} > clock.at and s.id >= l.shared_from order by ${SHARE_END} limit ${arg('most')}`)}
          end as shares
        from unnest(${arg('names')}::text[]) as asked(name) cross join clock left join resource_locks l on l.resource_name = asked.name`
    ),

    ofProcess: compiled<{ process: string; after: string; limit: number; prefix: string; key: string | null }, { resource_name: string }>(
      db,
      (arg) => sql`
        select s.resource_name from lock_shares s
        where s.process_id = ${arg('process')} and s.is_active and s.resource_name > ${arg('after')} and starts_with(s.resource_name, ${arg('prefix')})
          and (${arg('key')}::text is null or s.api_key is null or s.api_key = ${arg('key')})
        order by s.resource_name limit ${arg('limit')}`
    )
  }
}

/** What the sweeper does with shares that ended, or should have. */
function sweepStatements(db: Kysely<Tables>) {
  return {
    due: compiled<{ limit: number }, ShareRow & { at: EpochMs }>(
      db,
      (arg) => sql`
        select ${sql.join(SHARE_COLUMNS.map((column) => sql.ref(column)))}, ${CLOCK} as at from lock_shares
        where sweep_at <= (select ${CLOCK}) order by sweep_at limit ${arg('limit')}`
    ),
    /** Removes what ended a while ago, unless it was granted again meanwhile. */
    remove: compiled<{ names: string[]; processes: string[]; lockIds: number[] }, { one: number }>(
      db,
      (arg) => sql`
        with due as materialized (
          select s.resource_name, s.process_id
          from unnest(${arg('names')}::text[], ${arg('processes')}::text[], ${arg('lockIds')}::bigint[]) as asked(name, process_id, lock_id)
            join lock_shares s on s.resource_name = asked.name and s.process_id = asked.process_id
          where s.id = asked.lock_id and not s.is_active
          for update of s skip locked
        )
        delete from lock_shares s using due where s.resource_name = due.resource_name and s.process_id = due.process_id returning 1 as one`
    ),
    postpone: compiled<{ names: string[]; processes: string[]; sweepAts: (number | null)[] }>(
      db,
      (arg) => sql`
        with due as materialized (
          select s.resource_name, s.process_id, asked.sweep_at
          from unnest(${arg('names')}::text[], ${arg('processes')}::text[], ${arg('sweepAts')}::bigint[]) as asked(name, process_id, sweep_at)
            join lock_shares s on s.resource_name = asked.name and s.process_id = asked.process_id
          where s.is_active or asked.sweep_at is not null
          for update of s skip locked
        )
        update lock_shares s set sweep_at = due.sweep_at from due where s.resource_name = due.resource_name and s.process_id = due.process_id`
    )
  }
}

/** A condition that PostgreSQL looks up in a hashed list, since joins by hash are off. */
const isWritten = (name: RawBuilder<unknown>) => sql`((${name} in (select resource_name from written)) is true)`

function names(columns: readonly string[]): RawBuilder<unknown> {
  return sql.join(columns.map((column) => sql.ref(column)))
}

function replaced(columns: readonly string[]): RawBuilder<unknown> {
  return sql.join(columns.map((column) => sql`${sql.ref(column)} = ${sql.ref(`excluded.${column}`)}`))
}

/**
 * The new row `l` takes the place of one that was removed since the resource was read: what was decided is of before, and its number
 * may be smaller than one that was given meanwhile. An inserted row has an instant, and a version if there was a row to be read. The
 * count of removals is looked up for each row, since an insert may have waited for the removal.
 */
const cameAndWent = (arg: Arg<WriteArgs>) => sql`
  (l.passed_at is not null and (l.passed_id is not null
    or ${arg('removals')}::bigint <> (select r.last_value from lock_removals r where l.resource_name is not null)))`

/**
 * Writes resources that nobody has changed since they were read. The rows are locked in name order, as every statement does; what
 * was not written is left out of the result, and its commands are decided anew.
 *
 * The columns of the expired predecessor carry the version and the instant of the reading to where the row is locked. A place in
 * the queue and a saved request are locked before, as grants and conditional releases do.
 */
function write(arg: Arg<WriteArgs>, keepsHistory: boolean, all: boolean): RawBuilder<unknown> {
  const events = columnsOf(EVENT_TYPES)
  const told = keepsHistory
    ? sql`,
    told as (insert into lock_events (${names(events)}) select ${names(events)} from ${listed(arg, 'events')} as e where ${isWritten(sql`e.resource_name`)})`
    : sql``
  return sql`
    with places as materialized (select * from ${listed(arg, 'places')} as p),
    held_places as materialized (
      select w.resource_name, w.lease_until from places p join lock_waiters w on w.resource_name = p.resource_name and w.ticket = p.ticket
      order by w.resource_name, w.ticket
      for update of w
    ),
    unclaimed as materialized (select * from ${listed(arg, 'unclaimed')} as u),
    claims as materialized (
      select r.request_id, r.claimed from lock_requests r where r.request_id in (select u.request_id from unclaimed u)
      order by r.request_id
      for update of r
    ),
    changed as materialized (
      select * from ${listed(arg, 'rows')} as c
      where not exists (select from held_places h where h.resource_name = c.resource_name and h.lease_until = ${sql.lit(DEQUEUED)})
        and not exists (select from unclaimed u join claims on claims.request_id = u.request_id where u.resource_name = c.resource_name and claims.claimed)
    ),
    written as (
      insert into resource_locks as l (${names(ROW_COLUMNS)}, passed_id, passed_at)
      select ${names(ROW_COLUMNS)}, version, ${arg('at')}::bigint from changed order by ${bytewise(sql`resource_name`)}
      on conflict (resource_name) do update set ${replaced(ROW_COLUMNS.slice(1))}, passed_id = null, passed_process_id = null, passed_at = null
      where l.xmin::text::bigint = excluded.passed_id and abs(${CLOCK} - ${arg('at')}::bigint) <= ${sql.lit(FRESH_MS)}
      returning l.resource_name, 1 / case when ${CLOCK} - l.passed_at > ${sql.lit(FRESH_MS)} or ${cameAndWent(arg)} then 0 else 1 end as in_time,
        case when ${SOMEBODY_WAITS} then ${waitersFor(sql`l.resource_name`)} else 0 end as waiters
    ),
    shared as (
      insert into lock_shares (${names(SHARE_COLUMNS)})
      select ${names(SHARE_COLUMNS)} from ${listed(arg, 'shares')} as s where ${isWritten(sql`s.resource_name`)}
      on conflict (resource_name, process_id) do update set ${replaced(SHARE_COLUMNS.slice(2))}
    ),
    saved as (
      insert into lock_requests (${names(columnsOf(REQUEST_TYPES))})
      select ${names(columnsOf(REQUEST_TYPES))}
      from ${listed(arg, 'requests')} as r where ${isWritten(sql`r.resource_name`)}
    ),
    served as (
      delete from lock_waiters w using places p
      where w.resource_name = p.resource_name and ${isWritten(sql`p.resource_name`)}
        and (w.ticket = p.ticket or (coalesce(w.lease_until, ${sql.lit(DEQUEUED)}) <> ${sql.lit(DEQUEUED)} and w.request_id = p.request_id and w.fingerprint = p.fingerprint))
    )${told}
    select resource_name, waiters${all ? sql`, ln(case when (select count(*) from written) = cardinality(${arg('rows.resource_name')}::text[]) then 1 else 0 end)` : sql``}
    from written`
}
