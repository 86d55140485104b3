import { sql, type Kysely, type RawBuilder } from 'kysely'
import type { ReleaseCommand } from '../../locks/commands.js'
import type { EpochMs } from '../../locks/lock.js'
import { GRANT_COLUMNS, type GrantRow, type Tables } from '../tables.js'
import { CLOCK, columns, compiled, KEEP, openTo, SOMEBODY_WAITS, sparse, VALID, whole, type Arg, type Parts } from './sql.js'

export interface ReleaseArgs {
  readonly endNames: string[]
  /** Null ends whoever's grant it is. */
  readonly endProcesses: (string | null)[]
  readonly endLockIds: (number | null)[]
  readonly endReasons: (string | null)[]
  readonly endKeys: (string | null)[]
  /** The requests that it was granted for, where it is to be ended only as long as no repetition was answered with it. */
  readonly endRequestIds: (string | null)[]
}

type PlainArgs = Omit<ReleaseArgs, 'endRequestIds'>

/** A grant that was ended, when, whether anybody waits for the resource, and the place of the command that ended it. */
export type EndedRow = GrantRow & { readonly at: EpochMs; readonly waiters: number; readonly ordinal: number }

export function releaseStatements(db: Kysely<Tables>, keepsHistory: boolean) {
  return {
    end: compiled<PlainArgs, EndedRow>(db, (arg) => whole(releaseParts(plainReleases(arg), keepsHistory))),
    /** The same where some grant is to be ended only unless its request was claimed. */
    endUnclaimed: compiled<ReleaseArgs, EndedRow>(db, (arg) => whole(releaseParts(unclaimedReleases(arg), keepsHistory)))
  }
}

export function releaseArgs(commands: readonly ReleaseCommand[]): ReleaseArgs {
  return {
    endNames: commands.map(({ resourceName }) => resourceName),
    endProcesses: commands.map(({ processId }) => processId),
    endLockIds: sparse(commands.map(({ lockId }) => lockId)),
    endReasons: sparse(commands.map(({ reason }) => reason)),
    endKeys: sparse(commands.map(({ key }) => key)),
    endRequestIds: sparse(commands.map(({ unlessClaimed }) => unlessClaimed?.id ?? null))
  }
}

export function isConditional({ unlessClaimed }: ReleaseCommand): boolean {
  return unlessClaimed !== undefined
}

export function plainReleases(arg: Arg<PlainArgs>): RawBuilder<unknown> {
  return sql`
    to_end as materialized (
      select ${columnsOf(arg)}
    )`
}

/**
 * A request's row is locked before those of its grants, so that a repetition that is being answered either finds the grants
 * ended or has claimed them.
 */
function unclaimedReleases(arg: Arg<ReleaseArgs>): RawBuilder<unknown> {
  return sql`
    granted_for as materialized (
      select r.request_id, r.claimed from lock_requests r
      where r.request_id = any(${arg('endRequestIds')}::text[])
      order by r.request_id
      for update
    ),
    to_end as materialized (
      select * from (select ${columnsOf(arg)}, unnest(${arg('endRequestIds')}::text[]) as request_id) as meant
      where not exists (select from granted_for g where g.request_id = meant.request_id and g.claimed)
    )`
}

/** @param arg its arrays, but the names', may be shorter than the others: what is missing is null. */
function columnsOf(arg: Arg<PlainArgs>): RawBuilder<unknown> {
  return sql`
    unnest(${arg('endNames')}::text[]) as resource_name, unnest(${arg('endProcesses')}::text[]) as process_id,
    unnest(${arg('endLockIds')}::bigint[]) as lock_id, unnest(${arg('endReasons')}::text[]) as reason, unnest(${arg('endKeys')}::text[]) as key,
    generate_series(1, cardinality(${arg('endNames')}::text[])) as ordinal`
}

/**
 * Answers with the grants that were ended, each with the place of the command that ended it: of several alike the first,
 * since an update takes the first that is joined with a row. The rows are locked in name order before; an update alone would
 * not keep to it. Mostly nobody waits for anything at all, which is looked up once.
 *
 * @param releases lays down `to_end`.
 */
export function releaseParts(releases: RawBuilder<unknown>, keepsHistory: boolean): Parts {
  const told = keepsHistory
    ? sql`,
      told_ended as (
        insert into lock_events (at, kind, resource_name, lock_id, process_id, reason)
        select ended_at, case when end_reason = 'forced' then 'force_released' else 'released' end, resource_name, id, process_id, reason
        from ended
      )`
    : sql``
  return {
    parts: sql`
      ${releases},
      locked as materialized (
        select l.resource_name, to_end.process_id, to_end.reason, to_end.ordinal
        from to_end join resource_locks l on l.resource_name = to_end.resource_name
        where l.process_id = coalesce(to_end.process_id, l.process_id) and l.id = coalesce(to_end.lock_id, l.id) and ${VALID}
          and ${openTo(sql`to_end.key`)}
        order by l.resource_name, to_end.ordinal
        for update of l
      ),
      ended as (
        update resource_locks l set
          is_active = false,
          ended_at = ${CLOCK},
          end_reason = case when locked.process_id is null then 'forced' else 'released' end,
          sweep_at = least(l.sweep_at, ${CLOCK} + ${KEEP})
        from locked
        where l.resource_name = locked.resource_name and ${VALID}
        returning ${columns(GRANT_COLUMNS)}, l.ended_at, l.end_reason, locked.reason, locked.ordinal,
          case when ${SOMEBODY_WAITS}
            then (select count(*) from lock_waiters w where w.resource_name = l.resource_name) else 0
          end as waiters
      )${told}`,
    rows: sql`select ${columns(GRANT_COLUMNS)}, ended_at as at, waiters, ordinal from ended l`
  }
}
