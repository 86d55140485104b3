import { sql, type Kysely } from 'kysely'
import type { SweepCommand, SweepOutcome } from '../../locks/commands.js'
import { REMEMBER_MS } from '../rows.js'
import type { Tables } from '../tables.js'
import { forgetWhere, IS_HELD } from './acquire-statements.js'
import type { Session } from './session.js'
import { CLOCK, CLOCK_ONCE, compiled, KEEP } from './sql.js'

/**
 * Sweeping on PostgreSQL.
 *
 * @param keepHistoryMs older events are removed.
 */
export function sweeping(db: Kysely<Tables>, keepHistoryMs: number) {
  const told =
    keepHistoryMs > 0
      ? sql`
      told as (
        insert into lock_events (at, kind, resource_name, lock_id, process_id)
        select ended_at, 'expired', resource_name, id, process_id from expired
      ),`
      : sql``

  /** One row with counts. A row whose number the sequence has not reached yet (a restored one) must stay to be outgrown. */
  const sweepLocks = compiled<{ bite: number }, { seen: number; expired: number; removed: number }>(
    db,
    (arg) => sql`
      with due as materialized (
        select resource_name, id, is_active, expires_at, ended_at, ${CLOCK} as at
        from resource_locks
        where sweep_at <= ${CLOCK_ONCE}
        order by sweep_at
        limit ${arg('bite')}
        for update skip locked
      ),
      verdict as materialized (
        select resource_name, at, case
          when is_active and expires_at <= at then 'expire'
          when is_active then 'postpone'
          when coalesce(ended_at, 0) + ${KEEP} <= at and id <= (select last_value from lock_numbers where is_called) then 'remove'
          else 'postpone'
        end as act
        from due
      ),
      expired as (
        update resource_locks l set is_active = false, ended_at = l.expires_at, end_reason = 'expired', sweep_at = at + ${KEEP}
        from verdict v where l.resource_name = v.resource_name and act = 'expire'
        returning l.resource_name, l.id, l.process_id, l.ended_at
      ),
      ${told}
      postponed as (
        update resource_locks l set
          sweep_at = case when l.is_active then l.expires_at else greatest(coalesce(l.ended_at, 0) + ${KEEP}, at + 1000) end
        from verdict v where l.resource_name = v.resource_name and act = 'postpone'
      ),
      removed as (
        delete from resource_locks l using verdict v where l.resource_name = v.resource_name and act = 'remove'
        returning 1
      )
      select
        (select count(*) from due) as seen,
        (select count(*) from expired) as expired,
        (select count(*) from removed) as removed`
  )

  const dueRequests = sql`from lock_requests r where r.remembered_until <= ${CLOCK_ONCE}`

  const forget = compiled<{ bite: number }, { one: number }>(db, (arg) =>
    forgetWhere(sql`r.request_id in (
      select r.request_id ${dueRequests} and not ${IS_HELD} order by r.remembered_until limit ${arg('bite')} for update skip locked
    )`)
  )

  /** A request whose grants are still held stays remembered; one that a full bite left over must not be. */
  const rememberLonger = compiled<{ bite: number }, { one: number }>(
    db,
    (arg) => sql`
      update lock_requests set remembered_until = ${CLOCK} + ${sql.lit(REMEMBER_MS)}
      where request_id in (
        select r.request_id ${dueRequests} and ${IS_HELD} order by r.remembered_until limit ${arg('bite')} for update skip locked
      )
      returning 1 as one`
  )

  const pruneHistory = compiled<{ before: number; bite: number }, { one: number }>(
    db,
    (arg) => sql`
      delete from lock_events
      where id in (select id from lock_events order by id limit ${arg('bite')} for update skip locked)
        and at < ${CLOCK_ONCE} - ${arg('before')}::bigint
        and id < (select max(id) from lock_events)
      returning 1 as one`
  )

  /** Places that nobody came back to, and those of instances that are gone. */
  const pruneWaiters = compiled<object>(
    db,
    () => sql`
      with gone as (delete from lock_instances where lease_until + ${sql.lit(60_000)} <= ${CLOCK} returning instance)
      delete from lock_waiters
      where lease_until <= ${CLOCK} or lease_until is null and instance in (select instance from gone)`
  )

  return async function sweep(session: Session, { bite }: SweepCommand): Promise<SweepOutcome> {
    const [locks, forgotten, longer, pruned] = await session.together([
      session.run(sweepLocks, { bite }),
      session.run(forget, { bite }),
      session.run(rememberLonger, { bite }),
      session.run(pruneHistory, { before: keepHistoryMs, bite }),
      session.run(pruneWaiters, {})
    ])
    const { seen = 0, expired = 0, removed = 0 } = locks[0] ?? {}
    return { kind: 'swept', expired, removed, more: [seen, forgotten.length, longer.length, pruned.length].includes(bite) }
  }
}
