import { sql, type Kysely } from 'kysely'
import type { SweepCommand, SweepOutcome } from '../../locks/commands.js'
import type { EpochMs } from '../../locks/lock.js'
import { HistoryPruner } from '../history.js'
import { DEQUEUED, KEEP_REQUEST_MS, NOBODY, type Tables } from '../tables.js'
import { SOME_HELD } from './acquire-sql.js'
import type { Shares } from './shares.js'
import { CLOCK, CLOCK_ONCE, compiled, KEEP, LIVE, type Session } from './sql.js'

/** Writes down expiries, removes old rows, and prunes history and queues. */
export class Sweep {
  readonly #locks: ReturnType<typeof sweepLocks>
  readonly #statements: ReturnType<typeof pruneStatements>
  readonly #pruner: HistoryPruner
  readonly #shares: Shares

  /** @param keepHistoryMs older events are removed. */
  constructor(db: Kysely<Tables>, keepHistoryMs: number, shares: Shares) {
    this.#shares = shares
    this.#locks = sweepLocks(db, keepHistoryMs > 0)
    this.#statements = pruneStatements(db)
    this.#pruner = new HistoryPruner(keepHistoryMs)
  }

  async sweep(session: Session, { limit }: SweepCommand): Promise<SweepOutcome> {
    const { sweepRequests, eventsAfter, removeEvents, pruneWaiters } = this.#statements
    const [shares, locks, requests, events] = await session.together([
      this.#shares.sweep(session, limit),
      session.run(this.#locks, { limit }),
      session.run(sweepRequests, { limit }),
      session.run(eventsAfter, { after: this.#pruner.after, limit }),
      session.run(pruneWaiters, {})
    ])
    const { now = 0, seen = 0, expired = 0, removed = 0 } = locks[0] ?? {}
    const upTo = this.#pruner.look(events, now)
    const pruned = upTo === undefined ? 0 : (await session.run(removeEvents, { upTo, limit })).length
    const moreEvents = this.#pruner.advance(pruned, limit)
    const sum = { expired: expired + shares.expired, removed: removed + shares.removed }
    return { kind: 'swept', ...sum, more: shares.seen >= limit || seen >= limit || (requests[0]?.seen ?? 0) >= limit || moreEvents }
  }
}

/** Returns one row with counts. A restored row with a larger token than the sequence stays until a new grant replaces it. */
function sweepLocks(db: Kysely<Tables>, keepsHistory: boolean) {
  const appendedEvents = keepsHistory
    ? sql`
      told as (
        insert into lock_events (at, kind, resource_name, lock_id, process_id)
        select ended_at, 'expired', resource_name, id, process_id from expired where process_id <> ${sql.lit(NOBODY)}
      ),`
    : sql``
  return compiled<{ limit: number }, { now: EpochMs; seen: number; expired: number; removed: number }>(
    db,
    (arg) => sql`
      with due as materialized (
        select resource_name, id, is_active, expires_at, ended_at, ${CLOCK} as at
        from resource_locks
        where sweep_at <= ${CLOCK_ONCE}
        order by sweep_at
        limit ${arg('limit')}
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
      ${appendedEvents}
      postponed as (
        update resource_locks l set
          sweep_at = case when l.is_active then l.expires_at else greatest(coalesce(l.ended_at, 0) + ${KEEP}, at + ${KEEP}) end
        from verdict v where l.resource_name = v.resource_name and act = 'postpone'
      ),
      removed as (
        delete from resource_locks l using verdict v where l.resource_name = v.resource_name and act = 'remove'
        returning 1
      )
      select
        ${CLOCK} as now,
        (select count(*) from due) as seen,
        (select count(*) from expired where process_id <> ${sql.lit(NOBODY)}) as expired,
        (select count(*) from removed) as removed,
        (select nextval('lock_removals') from removed having count(*) > 0) as removals`
  )
}

function pruneStatements(db: Kysely<Tables>) {
  return {
    /** Of the saved requests that are due, those whose grants are still held stay. */
    sweepRequests: compiled<{ limit: number }, { seen: number }>(
      db,
      (arg) => sql`
        with due as materialized (
          select request_id from lock_requests
          where remembered_until <= ${CLOCK_ONCE} order by remembered_until limit ${arg('limit')} for update skip locked
        ),
        verdict as materialized (select r.request_id, ${SOME_HELD} as held from due join lock_requests r on r.request_id = due.request_id),
        forgotten as (delete from lock_requests r using verdict v where r.request_id = v.request_id and not v.held),
        longer as (
          update lock_requests r set remembered_until = ${CLOCK} + ${sql.lit(KEEP_REQUEST_MS)}
          from verdict v where r.request_id = v.request_id and v.held
        )
        select count(*) as seen from due`
    ),

    eventsAfter: compiled<{ after: number; limit: number }, { id: number; at: EpochMs }>(
      db,
      (arg) => sql`select id, at from lock_events where id > ${arg('after')} order by id limit ${arg('limit')}`
    ),

    /** Locks only the rows that it removes, so that an idle sweep writes nothing. The newest stays, as on SQLite. */
    removeEvents: compiled<{ upTo: number; limit: number }, { one: number }>(
      db,
      (arg) => sql`
        delete from lock_events
        where id in (
          select id from lock_events
          where id <= ${arg('upTo')} and id < (select max(id) from lock_events)
          order by id limit ${arg('limit')} for update skip locked
        )
        returning 1 as one`
    ),

    /** Removes kept places that no request took back, and the places of instances that are gone. */
    pruneWaiters: compiled<object>(
      db,
      () => sql`
        with gone as (delete from lock_instances where lease_until + ${sql.lit(60_000)} <= ${CLOCK} returning instance)
        delete from lock_waiters w
        where w.lease_until <> ${sql.lit(DEQUEUED)} and not ${LIVE}
          or (w.lease_until is null or w.lease_until = ${sql.lit(DEQUEUED)}) and w.instance in (select gone.instance from gone)`
    )
  }
}
