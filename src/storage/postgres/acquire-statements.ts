import { sql, type Kysely } from 'kysely'
import type { EpochMs } from '../../locks/lock.js'
import { GRANT_COLUMNS, PASSED_COLUMNS, REMEMBER_MS, type GrantRow } from '../rows.js'
import type { LockRequestsTable, Tables } from '../tables.js'
import { bytewise, CLOCK, columns, compiled, KEEP, LIVE, VALID, waitersFor } from './sql.js'

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

/** A new grant, or, where `at` says when it was found, the valid one that stood in the way. */
export type FoundRow = GrantRow & { readonly at: EpochMs | null; readonly waiters: number }

const REMEMBER = sql.lit(REMEMBER_MS)

export function acquireStatements(db: Kysely<Tables>, keepsHistory: boolean) {
  return {
    begin: compiled<object>(db, () => sql`begin`),
    commit: compiled<object>(db, () => sql`commit`),
    rollback: compiled<object>(db, () => sql`rollback`),

    /**
     * Lays a row for each name that has none, so that `acquire` always meets a row and reads the clock and draws the number
     * under its lock. A first request that waited for another instance's unfinished insert would otherwise begin its
     * lease, and draw its number, before the wait.
     */
    place: compiled<{ names: string[] }>(
      db,
      (arg) => sql`
        insert into resource_locks (resource_name, id, process_id, locked_at, is_active, sweep_at)
        select asked.name, 0, '', 0, false, ${CLOCK} + ${KEEP}
        from unnest(${arg('names')}::text[]) as asked(name)
        where not exists (select from resource_locks l where l.resource_name = asked.name)
        order by ${bytewise(sql`asked.name`)}
        on conflict do nothing`
    ),

    acquire: acquireStatement(db, keepsHistory, false),
    /** The same where some request bears an id or a ticket. */
    acquireMarked: acquireStatement(db, keepsHistory, true),

    recall: compiled<{ requestIds: string[] }, LockRequestsTable>(
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
    ),

    remember: compiled<{ id: string; fingerprint: string; grants: string; forMs: number }>(
      db,
      (arg) => sql`
        insert into lock_requests (request_id, fingerprint, grants, remembered_until)
        values (${arg('id')}, ${arg('fingerprint')}, ${arg('grants')}, ${CLOCK} + ${arg('forMs')}::bigint)`
    )
  }
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
 * The values to insert are those of a row laid in advance: should the sweeper have removed the row just now, nothing
 * is granted, and the command goes again. A request id that another transaction is about to remember violates the
 * table's key; the statement then runs again for each command by itself.
 *
 * @param marked whether any of the requests bears an id or a ticket. To find the request for which a grant was made, each
 * grant is compared with all requests of the batch, which plain requests need not pay for.
 */
function acquireStatement(db: Kysely<Tables>, keepsHistory: boolean, marked: boolean) {
  const told = keepsHistory
    ? sql`,
      told as (
        insert into lock_events (at, kind, resource_name, lock_id, process_id)
        select passed_at, 'expired', resource_name, passed_id, passed_process_id from granted where passed_id is not null
        union all
        select locked_at, 'granted', resource_name, id, process_id from granted where is_active
      )`
    : sql``
  const noted = marked
    ? sql`,
      remembered as (
        insert into lock_requests (request_id, fingerprint, grants, remembered_until)
        select asked.request_id, asked.fingerprint, json_build_array(json_build_array(l.resource_name, l.id))::text,
          l.locked_at + greatest(asked.ttl_ms, ${REMEMBER})
        from granted l join asked on asked.resource_name = l.resource_name
        where asked.request_id is not null and l.is_active
      ),
      served as (
        delete from lock_waiters w using granted l, asked
        where l.is_active and asked.resource_name = l.resource_name and w.resource_name = l.resource_name and w.ticket = asked.ticket
      )`
    : sql``
  return compiled<AcquireArgs, FoundRow>(
    db,
    (arg) => sql`
      with asked as materialized (
        select * from unnest(
          ${arg('names')}::text[], ${arg('processes')}::text[], ${arg('ttls')}::bigint[], ${arg('metadata')}::text[],
          ${arg('requestIds')}::text[], ${arg('fingerprints')}::text[], ${arg('tickets')}::bigint[],
          ${arg('keys')}::text[]
        ) as asked(resource_name, process_id, ttl_ms, metadata, request_id, fingerprint, ticket, api_key)
      ),
      held as materialized (
        select ${columns(GRANT_COLUMNS)}, ${CLOCK} as at, ${waitersFor(sql`l.resource_name`)} as waiters
        from asked join resource_locks l on l.resource_name = asked.resource_name
        where ${VALID}
      ),
      granted as (
        insert into resource_locks as l (resource_name, id, process_id, locked_at, is_active, ttl_ms, metadata, api_key, sweep_at)
        select resource_name, 0, process_id, 0, false, ttl_ms, metadata, api_key, ${CLOCK}
        from asked
        where not exists (select from held where held.resource_name = asked.resource_name)
          and not exists (
            select from lock_waiters w
            where w.resource_name = asked.resource_name and (asked.ticket is null or w.ticket < asked.ticket) and ${LIVE}
          )
          and (request_id is null or not exists (select from lock_requests r where r.request_id = asked.request_id))
        order by ${bytewise(sql`resource_name`)}
        on conflict (resource_name) do update set
          id = greatest(nextval('lock_numbers'), l.id + 1),
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
        returning ${columns([...GRANT_COLUMNS, ...PASSED_COLUMNS])}, l.is_active
      )${told}${noted}
      select ${columns(GRANT_COLUMNS)}, null::bigint as at, 0 as waiters from granted l where is_active
      union all
      select ${columns(GRANT_COLUMNS)}, at, waiters from held l`
  )
}

