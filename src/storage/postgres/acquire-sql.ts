import { sql, type Kysely, type RawBuilder } from 'kysely'
import type { EpochMs } from '../../locks/lock.js'
import { DEQUEUED, EXPIRED_PREDECESSOR_COLUMNS, GRANT_COLUMNS, type GrantRow, KEEP_REQUEST_MS, NOBODY, type LockRequestsTable, type Tables } from '../tables.js'
import { bytewise, CLOCK, columns, compiled, SHARE_END, LIVE, SOMEBODY_WAITS, VALID, waitersFor, whileValid, whole, type Arg, type Parts } from './sql.js'

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

/** The arguments of requests that have neither an id nor a ticket. */
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

/** A new grant; the rest of it is in its request. */
export interface GrantedRow extends Pick<GrantRow, 'resource_name' | 'id' | 'locked_at'> {
  readonly at: null
}

/** The valid grant that prevented a new one, and when it was read. */
interface HeldRow extends GrantRow {
  readonly at: EpochMs
  readonly waiters: number
}

export type FoundRow = GrantedRow | HeldRow

/** More than 100 ms since the clock was read means that the insert was blocked by another transaction: token and timestamp are stale. */
const isStale = (clock: RawBuilder<unknown>) => sql`${CLOCK} - ${clock} > 100`

/** The place `w` is kept for the request `asked` itself and does not block it. */
const KEPT_FOR_ASKED = sql`
  (coalesce(w.lease_until, ${sql.lit(DEQUEUED)}) <> ${sql.lit(DEQUEUED)}
    and (w.request_id, w.fingerprint) is not distinct from (asked.request_id, asked.fingerprint))`

const REMEMBER = sql.lit(KEEP_REQUEST_MS)

/** A grant as its request is saved with it. */
const SAVED_GRANT = sql`json_build_array(l.resource_name, l.id)`

/** Unless all were granted, the logarithm of zero fails the statement, with an SQLSTATE that nothing else here raises: {@link INCOMPLETE}. */
const COMPLETE = sql`ln(case when (select count(*) from granted) = (select count(*) from asked) then 1 else 0 end)`

export function acquireStatements(db: Kysely<Tables>, keepsHistory: boolean) {
  return {
    acquire: compiled<PlainArgs, FoundRow>(db, (arg) => whole(acquireParts(plainRequests(arg), keepsHistory))),
    /** The same, where some request has an id or a ticket. */
    acquireKeyed: compiled<AcquireArgs, FoundRow>(db, (arg) => whole(acquireParts(keyedRequests(arg), keepsHistory, 'keyed'))),
    /** Grants all of the names or none; fails with {@link INCOMPLETE} if another transaction took one while the statement ran. */
    acquireAll: compiled<AcquireAllArgs, FoundRow>(db, (arg) => whole(acquireParts(requestForAll(arg), keepsHistory, 'all'))),

    findRequest: compiled<{ requestIds: string[] }, LockRequestsTable>(
      db,
      (arg) => sql`select * from lock_requests where request_id = any(${arg('requestIds')}::text[])`
    ),

    /**
     * Marks requests as repeated, before their grants are read: from then on the service no longer releases the grants
     * for the first caller that disconnected. Every statement locks these rows in the same order.
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

    /** Deletes saved requests that are due and whose grants have all ended, as the sweeper would. */
    forget: compiled<{ requestIds: string[] }>(
      db,
      (arg) => sql`
        delete from lock_requests r
        where r.request_id = any(${arg('requestIds')}::text[]) and r.remembered_until <= ${CLOCK} and not ${SOME_HELD}`
    )
  }
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
  (exists (
    select from json_array_elements(r.grants::json) as g join resource_locks l on l.resource_name = g ->> 0 and l.id = (g ->> 1)::bigint
    where ${VALID}
  ) or exists (
    select from json_array_elements(r.grants::json) as g join resource_locks l on l.resource_name = g ->> 0,
      lateral (select * from lock_shares s where s.resource_name = g ->> 0 and s.id = (g ->> 1)::bigint and s.is_active order by ${SHARE_END} offset 0) as s
    where ${VALID} and l.process_id = ${sql.lit(NOBODY)} and s.end_reason is null and s.id >= l.shared_from
      and (s.expires_at is null or coalesce(s.held_until, s.expires_at) > ${CLOCK})
  ))`

/** `plain`: no request has an id or a ticket. `all`: one request is granted all of its names or none. */
type RequestKind = 'plain' | 'keyed' | 'all'

/**
 * Returns the new grants and the valid grants that prevented others. A name in neither was free when the statement began and
 * taken when it reached the row, a request waits for it, or its request id is saved already.
 *
 * A resource that is held is left out before the upsert, since an upsert locks a row even if it then changes nothing. A request
 * id that another transaction is about to save violates the key of the table; each command then runs again by itself.
 *
 * The token and the clock of a new row are read before the row is inserted. An insert that meets an unfinished one of another
 * instance waits for it; if that one is rolled back, token and clock are those of before the wait: such a grant fails the
 * statement, which then runs again. For an existing row the clock is read under the row's lock, and after a wait the token
 * is drawn again there.
 *
 * A place in the queue is locked before it is granted: a statement that removes the process from the queues either finds the
 * grant committed or has prevented it.
 *
 * @param kind `plain` is a statement of its own, since the others compare each grant with all requests of the batch. `all`
 * takes nothing unless all names are free, and fails if it loses one to another transaction. No result is needed before it
 * commits, so that no row stays locked while an instance is paused.
 */
export function acquireParts(requests: RawBuilder<unknown>, keepsHistory: boolean, kind: RequestKind = 'plain'): Parts {
  const appendedEvents = keepsHistory
    ? sql`,
      told as (
        insert into lock_events (at, kind, resource_name, lock_id, process_id)
        select passed_at, 'expired', resource_name, passed_id, passed_process_id from granted where passed_id is not null and passed_process_id <> ${sql.lit(NOBODY)}
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
      ${kind === 'plain' ? sql`` : sql`and (request_id is null or not exists (select from lock_requests r where r.request_id = asked.request_id offset 0))`}
    order by ${bytewise(sql`resource_name`)}`
  return {
    parts: sql`
      asked as materialized (${requests}),
      held as materialized (
        select ${columns(GRANT_COLUMNS)}, ${whileValid(sql`l.expires_at`)} as at, ${waitersFor(sql`l.resource_name`)} as waiters
        from asked join resource_locks l on l.resource_name = asked.resource_name
        where ${VALID}
      ),
      ${kind === 'plain' ? sql`` : lockedPlaces(free)}
      granted as (
        insert into resource_locks as l
          (resource_name, id, process_id, locked_at, expires_at, is_active, ttl_ms, metadata, api_key, sweep_at, told_at)
        select resource_name, nextval('lock_numbers'), process_id, at, at + ttl_ms, true, ttl_ms, metadata, api_key, at + ttl_ms, at
        from (
          select free.*, ${CLOCK} as at
          from (${kind === 'plain' ? free : stillFree(kind)}) as free
          offset 0
        ) as timed
        on conflict (resource_name) do update set
          id = case when excluded.id <= l.id or ${isStale(sql`excluded.locked_at`)} then greatest(nextval('lock_numbers'), l.id + 1) else excluded.id end,
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
          1 / case when ${isStale(sql`l.locked_at`)} then 0 else 1 end as in_time
      )${appendedEvents}${kind === 'plain' ? sql`` : savedRequests(kind)}`,
    rows: sql`
      select id, resource_name, null::text as process_id, locked_at, null::bigint as expires_at, null::text as metadata,
        null::bigint as at, 0 as waiters${kind === 'all' ? sql`, ${COMPLETE}` : sql``}
      from granted
      union all
      select ${columns(GRANT_COLUMNS)}, at, waiters${kind === 'all' ? sql`, 0` : sql``} from held l`
  }
}

/** Locks the places of the requests whose resources are free. */
function lockedPlaces(free: RawBuilder<unknown>): RawBuilder<unknown> {
  return sql`
      free as materialized (${free}),
      placed as materialized (
        select w.ticket, w.lease_until from free join lock_waiters w on w.resource_name = free.resource_name and w.ticket = free.ticket
        order by w.resource_name
        for update of w
      ),`
}

/** The free resources of requests that were not removed from the queue meanwhile. */
function stillFree(kind: RequestKind): RawBuilder<unknown> {
  return sql`
      select * from free
      where not exists (select from placed p where p.ticket = free.ticket and p.lease_until = ${sql.lit(DEQUEUED)})
        ${kind === 'all' ? sql`and (select count(*) from free) = (select count(*) from asked)` : sql``}`
}

/** Saves the granted requests by their ids, and removes their places from the queue. */
function savedRequests(kind: RequestKind): RawBuilder<unknown> {
  return sql`,
      remembered as (
        insert into lock_requests (request_id, fingerprint, grants, remembered_until)
        select asked.request_id, asked.fingerprint, ${kind === 'all' ? sql`json_agg(${SAVED_GRANT} order by asked.ordinal)` : sql`json_build_array(${SAVED_GRANT})`}::text,
          ${kind === 'all' ? sql`max(l.locked_at)` : sql`l.locked_at`} + greatest(asked.ttl_ms, ${REMEMBER})
        from granted l join asked on asked.resource_name = l.resource_name
        where asked.request_id is not null
        ${kind === 'all' ? sql`group by asked.request_id, asked.fingerprint, asked.ttl_ms` : sql``}
      ),
      served as (
        delete from lock_waiters w using granted l, asked
        where asked.resource_name = l.resource_name and w.resource_name = l.resource_name and (w.ticket = asked.ticket or ${KEPT_FOR_ASKED})
      )`
}
