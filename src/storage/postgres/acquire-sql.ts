import { sql, type Kysely, type RawBuilder } from 'kysely'
import type { AcquireCommand } from '../../locks/commands.js'
import type { EpochMs } from '../../locks/lock.js'
import { GRANT_COLUMNS, metadataToText, EXPIRED_PREDECESSOR_COLUMNS, KEEP_REQUEST_MS, DEQUEUED, type GrantRow, type LockRequestsTable, type Tables } from '../tables.js'
import { nameOf } from './first-per-resource.js'
import { bytewise, CLOCK, columns, compiled, LIVE, SOMEBODY_WAITS, sparse, VALID, waitersFor, whole, type Arg, type Parts } from './sql.js'

export interface AcquireArgs {
  readonly names: string[]
  readonly processes: string[]
  readonly ttls: (number | null)[]
  readonly metadata: (string | null)[]
  readonly requestIds: (string | null)[]
  readonly fingerprints: (string | null)[]
  readonly tickets: (number | null)[]
  readonly keys: (string | null)[]
}

/** What a plain request has: neither an id nor a ticket. */
type PlainArgs = Pick<AcquireArgs, 'names' | 'processes' | 'ttls' | 'metadata' | 'keys'>

/** One request for all of the names. */
export interface AcquireAllArgs {
  readonly names: string[]
  readonly process: string
  readonly ttlMs: number | null
  readonly metadata: string | null
  readonly key: string | null
  readonly requestId: string | null
  readonly fingerprint: string | null
  readonly ticket: number | null
}

/** A new grant; what else it is made of was said by its request. */
export interface GrantedRow extends Pick<GrantRow, 'resource_name' | 'id' | 'locked_at'> {
  readonly at: null
}

/** The valid grant that stood in the way, and when it was found. */
interface HeldRow extends GrantRow {
  readonly at: EpochMs
  readonly waiters: number
}

export type FoundRow = GrantedRow | HeldRow

/** So long ago, in milliseconds, that there was a wait in between: number and clock have to be taken anew. */
const isBelated = (clock: RawBuilder<unknown>) => sql`${CLOCK} - ${clock} > 100`

/** The place `w` is kept for the very request that is `asked`, and not in its way. */
const KEPT_FOR_ASKED = sql`
  (coalesce(w.lease_until, ${sql.lit(DEQUEUED)}) <> ${sql.lit(DEQUEUED)}
    and (w.request_id, w.fingerprint) is not distinct from (asked.request_id, asked.fingerprint))`

const REMEMBER = sql.lit(KEEP_REQUEST_MS)

/** A grant as it is remembered. */
const NUMBERED = sql`json_build_array(l.resource_name, l.id)`

/** Where not all were granted, the logarithm of zero undoes the statement, with an SQLSTATE that nothing else here has: {@link INCOMPLETE}. */
const COMPLETE = sql`ln(case when (select count(*) from granted) = (select count(*) from asked) then 1 else 0 end)`

export function acquireStatements(db: Kysely<Tables>, keepsHistory: boolean) {
  return {
    acquire: compiled<PlainArgs, FoundRow>(db, (arg) => whole(acquireParts(plainRequests(arg), keepsHistory))),
    /** The same where some request bears an id or a ticket. */
    acquireKeyed: compiled<AcquireArgs, FoundRow>(db, (arg) => whole(acquireParts(keyedRequests(arg), keepsHistory, 'marked'))),
    /** Grants all of the names or none; fails with {@link INCOMPLETE} where some were taken while the statement ran. */
    acquireAll: compiled<AcquireAllArgs, FoundRow>(db, (arg) => whole(acquireParts(requestForAll(arg), keepsHistory, 'all'))),

    findRequest: compiled<{ requestIds: string[] }, LockRequestsTable>(
      db,
      (arg) => sql`select * from lock_requests where request_id = any(${arg('requestIds')}::text[])`
    ),

    /**
     * Notes that repetitions are being answered, before it is looked whether the grants are still held: from then on nobody
     * gives them back on behalf of a caller that is gone. The rows are taken in one order everywhere.
     */
    claim: compiled<{ requestIds: string[]; fingerprints: string[] }>(
      db,
      (arg) => sql`
        with chosen as materialized (
          select r.request_id
          from unnest(${arg('requestIds')}::text[], ${arg('fingerprints')}::text[]) as asked(request_id, fingerprint)
            join lock_requests r on r.request_id = asked.request_id and r.fingerprint = asked.fingerprint
          where not r.claimed
          order by r.request_id
          for update of r
        )
        update lock_requests r set claimed = true from chosen where r.request_id = chosen.request_id`
    ),

    /** Forgets requests that need not be remembered any longer and whose grants have all ended, as the sweeper would. */
    forget: compiled<{ requestIds: string[] }>(
      db,
      (arg) => sql`
        delete from lock_requests r
        where r.request_id = any(${arg('requestIds')}::text[]) and r.remembered_until <= ${CLOCK} and not ${SOME_HELD}`
    )
  }
}

/** @param commands for one resource each, all different. */
export function acquireArgs(commands: readonly AcquireCommand[]): AcquireArgs {
  return {
    names: commands.map(nameOf),
    processes: commands.map(({ processId }) => processId),
    ttls: commands.map(({ ttlMs }) => ttlMs),
    metadata: sparse(commands.map(({ metadata }) => metadataToText(metadata))),
    requestIds: sparse(commands.map(({ idempotencyKey: mark }) => mark?.id ?? null)),
    fingerprints: sparse(commands.map(({ idempotencyKey: mark }) => mark?.fingerprint ?? null)),
    tickets: sparse(commands.map(({ ticket }) => ticket)),
    keys: sparse(commands.map(({ key }) => key))
  }
}

export function isKeyed({ requestIds, tickets }: AcquireArgs): boolean {
  return requestIds.length > 0 || tickets.length > 0
}

export function plainRequests(arg: Arg<PlainArgs>): RawBuilder<unknown> {
  return sql`
    select unnest(${arg('names')}::text[]) as resource_name, unnest(${arg('processes')}::text[]) as process_id,
      unnest(${arg('ttls')}::bigint[]) as ttl_ms, unnest(${arg('metadata')}::text[]) as metadata, unnest(${arg('keys')}::text[]) as api_key,
      null::bigint as ticket`
}

function keyedRequests(arg: Arg<AcquireArgs>): RawBuilder<unknown> {
  return sql`
    select unnest(${arg('names')}::text[]) as resource_name, unnest(${arg('processes')}::text[]) as process_id,
      unnest(${arg('ttls')}::bigint[]) as ttl_ms, unnest(${arg('metadata')}::text[]) as metadata, unnest(${arg('keys')}::text[]) as api_key,
      unnest(${arg('requestIds')}::text[]) as request_id, unnest(${arg('fingerprints')}::text[]) as fingerprint,
      unnest(${arg('tickets')}::bigint[]) as ticket`
}

function requestForAll(arg: Arg<AcquireAllArgs>): RawBuilder<unknown> {
  return sql`
    select resource_name, ordinal, ${arg('process')}::text as process_id, ${arg('ttlMs')}::bigint as ttl_ms,
      ${arg('metadata')}::text as metadata, ${arg('key')}::text as api_key, ${arg('requestId')}::text as request_id,
      ${arg('fingerprint')}::text as fingerprint, ${arg('ticket')}::bigint as ticket
    from unnest(${arg('names')}::text[]) with ordinality as named(resource_name, ordinal)`
}

/** Some grant of the request `r` is valid. */
export const SOME_HELD = sql`
  exists (
    select from json_array_elements(r.grants::json) as g join resource_locks l on l.resource_name = g ->> 0 and l.id = (g ->> 1)::bigint
    where ${VALID}
  )`

/**
 * Answers with the new grants and with the valid grants that stood in the way. A name in neither was free when the
 * statement began and taken when it came to its row, somebody waits for it, or its request id is remembered.
 *
 * What is plainly held is left out before the upsert, since an upsert locks the row even where it then changes nothing.
 * A request id that another transaction is about to remember violates the table's key; the statement then runs again for
 * each command by itself.
 *
 * The number and the clock of a new row are those of the moment before it is inserted. An insert that meets another
 * instance's unfinished one waits for it, and when that comes to nothing, they are those of before the wait: such a grant
 * undoes the statement, and it runs again. For a row that is there already the clock is read under its lock, and the number
 * drawn anew there after a wait.
 *
 * A place in line is locked before anything is taken from it: a process that is being removed from the queues either finds the
 * grant committed or has prevented it.
 *
 * @param kind `plain` where no request has an id or a ticket: to find the request for which a grant was made, each grant is
 * compared with all requests of the batch. `all` grants one request all of its names or none: it tries only where all are
 * free, and undoes itself where it loses one of them to another transaction. It needs no answer before it commits, so that no
 * row stays locked while an instance is paused.
 */
export function acquireParts(requests: RawBuilder<unknown>, keepsHistory: boolean, kind: 'plain' | 'marked' | 'all' = 'plain'): Parts {
  const appendedEvents = keepsHistory
    ? sql`,
      told as (
        insert into lock_events (at, kind, resource_name, lock_id, process_id)
        select passed_at, 'expired', resource_name, passed_id, passed_process_id from granted where passed_id is not null
        union all
        select locked_at, 'granted', resource_name, id, process_id from granted
      )`
    : sql``
  const free = sql`
    select * from asked
    where not exists (select from held where held.resource_name = asked.resource_name)
      and (not ${SOMEBODY_WAITS} or not exists (
        select from lock_waiters w
        where w.resource_name = asked.resource_name and (asked.ticket is null or w.ticket < asked.ticket) and ${LIVE}
          ${kind === 'plain' ? sql`` : sql`and not ${KEPT_FOR_ASKED}`}
      ))
      ${kind === 'plain' ? sql`` : sql`and (request_id is null or not exists (select from lock_requests r where r.request_id = asked.request_id))`}
    order by ${bytewise(sql`resource_name`)}`
  const queued = kind === 'plain'
    ? sql``
    : sql`
      free as materialized (${free}),
      placed as materialized (
        select w.ticket, w.lease_until from free join lock_waiters w on w.resource_name = free.resource_name and w.ticket = free.ticket
        order by w.resource_name
        for update of w
      ),`
  const takeable = kind === 'plain'
    ? free
    : sql`
      select * from free
      where not exists (select from placed p where p.ticket = free.ticket and p.lease_until = ${sql.lit(DEQUEUED)})
        ${kind === 'all' ? sql`and (select count(*) from free) = (select count(*) from asked)` : sql``}`
  const noted = kind === 'plain'
    ? sql``
    : sql`,
      remembered as (
        insert into lock_requests (request_id, fingerprint, grants, remembered_until)
        select asked.request_id, asked.fingerprint, ${kind === 'all' ? sql`json_agg(${NUMBERED} order by asked.ordinal)` : sql`json_build_array(${NUMBERED})`}::text,
          ${kind === 'all' ? sql`max(l.locked_at)` : sql`l.locked_at`} + greatest(asked.ttl_ms, ${REMEMBER})
        from granted l join asked on asked.resource_name = l.resource_name
        where asked.request_id is not null
        ${kind === 'all' ? sql`group by asked.request_id, asked.fingerprint, asked.ttl_ms` : sql``}
      ),
      served as (
        delete from lock_waiters w using granted l, asked
        where asked.resource_name = l.resource_name and w.resource_name = l.resource_name and (w.ticket = asked.ticket or ${KEPT_FOR_ASKED})
      )`
  return {
    parts: sql`
      asked as materialized (${requests}),
      held as materialized (
        select ${columns(GRANT_COLUMNS)}, ${CLOCK} as at, ${waitersFor(sql`l.resource_name`)} as waiters
        from asked join resource_locks l on l.resource_name = asked.resource_name
        where ${VALID}
      ),
      ${queued}
      granted as (
        insert into resource_locks as l
          (resource_name, id, process_id, locked_at, expires_at, is_active, ttl_ms, metadata, api_key, sweep_at, told_at)
        select resource_name, nextval('lock_numbers'), process_id, at, at + ttl_ms, true, ttl_ms, metadata, api_key, at + ttl_ms, at
        from (
          select free.*, ${CLOCK} as at
          from (${takeable}) as free
          offset 0
        ) as timed
        on conflict (resource_name) do update set
          id = case when excluded.id <= l.id or ${isBelated(sql`excluded.locked_at`)} then greatest(nextval('lock_numbers'), l.id + 1) else excluded.id end,
          process_id = excluded.process_id,
          (locked_at, expires_at, sweep_at, told_at) =
            (select at, at + excluded.ttl_ms, at + excluded.ttl_ms, at from (select ${CLOCK} as at offset 0) as clock),
          is_active = true,
          renewals = 0,
          ttl_ms = excluded.ttl_ms,
          metadata = excluded.metadata,
          api_key = excluded.api_key,
          ended_at = null,
          end_reason = null,
          passed_id = case when l.is_active then l.id end,
          passed_process_id = case when l.is_active then l.process_id end,
          passed_at = case when l.is_active then l.expires_at end
        where not ${VALID}
        returning ${columns([...GRANT_COLUMNS, ...EXPIRED_PREDECESSOR_COLUMNS])},
          1 / case when ${isBelated(sql`l.locked_at`)} then 0 else 1 end as in_time
      )${appendedEvents}${noted}`,
    rows: sql`
      select id, resource_name, null::text as process_id, locked_at, null::bigint as expires_at, null::text as metadata,
        null::bigint as at, 0 as waiters${kind === 'all' ? sql`, ${COMPLETE}` : sql``}
      from granted
      union all
      select ${columns(GRANT_COLUMNS)}, at, waiters${kind === 'all' ? sql`, 0` : sql``} from held l`
  }
}

