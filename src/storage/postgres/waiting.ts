import { sql, type Kysely } from 'kysely'
import type { BeatOutcome, Conflict, EnqueueCommand, EnqueueOutcome, LeaveCommand, LeaveOutcome } from '../../locks/commands.js'
import type { ProcessId, ResourceName } from '../../locks/lock.js'
import type { Tables } from '../tables.js'
import type { Session } from './session.js'
import { CLOCK, compiled, LIVE } from './sql.js'

/** How long an instance's waiters keep their places without a sign of life from it, in milliseconds. */
export const INSTANCE_LEASE_MS = 3000

/** Who is to be told that its turn may have come. */
export interface Turn {
  readonly instance: string
  readonly ticket: number
}

interface FirstRow extends Turn {
  readonly name: string
  readonly process_id: string
  readonly waiters: number
}

export type Line = ReturnType<typeof waiting>

/**
 * The queues on PostgreSQL, shared by all instances.
 *
 * @param call tells a waiter, on whichever instance, that its turn may have come.
 */
export function waiting(db: Kysely<Tables>, instance: string, call: (turn: Turn) => void) {
  const LEASE = sql.lit(INSTANCE_LEASE_MS)

  const beat = compiled<object>(
    db,
    () => sql`
      insert into lock_instances (instance, lease_until) values (${sql.lit(instance)}, ${CLOCK} + ${LEASE})
      on conflict (instance) do update set lease_until = excluded.lease_until`
  )

  /**
   * Draws one ticket for all of the names, or takes a kept place again: one place, were there several for that id. What is
   * not taken again lapses.
   */
  const enqueue = compiled<{ names: string[]; process: string; id: string | null; fingerprint: string | null }, { ticket: number }>(
    db,
    (arg) => sql`
      with back as (
        update lock_waiters w set instance = ${sql.lit(instance)}, lease_until = null
        where w.lease_until is not null and w.ticket = (
          select min(w.ticket) from lock_waiters w
          where w.request_id = ${arg('id')} and w.fingerprint = ${arg('fingerprint')} and w.lease_until is not null and ${LIVE}
        )
        returning ticket
      ),
      drawn as materialized (select nextval('lock_tickets') as ticket where not exists (select from back)),
      placed as (
        insert into lock_waiters (resource_name, ticket, process_id, instance, request_id, fingerprint)
        select name, drawn.ticket, ${arg('process')}, ${sql.lit(instance)}, ${arg('id')}, ${arg('fingerprint')}
        from drawn, unnest(${arg('names')}::text[]) as asked(name)
        returning ticket
      )
      select ticket from back union select ticket from placed`
  )

  /** The first in each of those lines, and how many there are. */
  const firsts = compiled<{ names: string[] }, FirstRow>(
    db,
    (arg) => sql`
      select distinct on (w.resource_name) w.resource_name as name, w.ticket, w.instance, w.process_id,
        count(*) over (partition by w.resource_name) as waiters
      from lock_waiters w
      where w.resource_name = any(${arg('names')}::text[]) and ${LIVE}
      order by w.resource_name, w.ticket`
  )

  const position = compiled<{ ticket: number }, { position: number }>(
    db,
    (arg) => sql`
      select coalesce(max((
        select count(*) from lock_waiters w where w.resource_name = mine.resource_name and w.ticket < mine.ticket and ${LIVE}
      )) + 1, 0) as position
      from lock_waiters mine where mine.ticket = ${arg('ticket')}`
  )

  const keep = compiled<{ tickets: number[]; ms: number }>(
    db,
    (arg) => sql`update lock_waiters set lease_until = ${CLOCK} + ${arg('ms')}::bigint where ticket = any(${arg('tickets')}::bigint[])`
  )

  const remove = compiled<{ tickets: number[] }, { resource_name: string }>(
    db,
    (arg) => sql`delete from lock_waiters where ticket = any(${arg('tickets')}::bigint[]) returning resource_name`
  )

  async function callFirsts(session: Session, names: readonly string[]): Promise<void> {
    if (names.length === 0) return
    const rows = await session.run(firsts, { names: [...new Set(names)] })
    for (const { ticket, instance: where } of rows) call({ ticket, instance: where })
  }

  return {
    callFirsts,

    /** For whom each of those resources is kept, and how many wait for it. */
    async lines(session: Session, names: readonly string[]): Promise<Map<string, { conflict: Conflict; ticket: number; waiters: number }>> {
      const rows = await session.run(firsts, { names: [...new Set(names)] })
      return new Map(
        rows.map(({ name, ticket, process_id, waiters }) => {
          const conflict = { resourceName: name as ResourceName, processId: process_id as ProcessId, lockId: 0, lockedAt: null, expiresAt: null }
          return [name, { conflict, ticket, waiters }]
        })
      )
    },

    async enqueue(session: Session, { resourceNames, processId, mark }: EnqueueCommand): Promise<EnqueueOutcome> {
      const [, rows] = await session.together([
        session.run(beat, {}),
        session.run(enqueue, { names: [...resourceNames], process: processId, id: mark?.id ?? null, fingerprint: mark?.fingerprint ?? null })
      ])
      return { kind: 'enqueued', ticket: rows[0]?.ticket ?? 0 }
    },

    async leave(session: Session, { tickets, keepMs }: LeaveCommand): Promise<LeaveOutcome> {
      const places = await session.run(position, { ticket: tickets[0] ?? 0 })
      if (keepMs > 0) await session.run(keep, { tickets: [...tickets], ms: keepMs })
      else {
        const left = await session.run(remove, { tickets: [...tickets] })
        await callFirsts(
          session,
          left.map(({ resource_name }) => resource_name)
        )
      }
      return { kind: 'left', position: places[0]?.position ?? 0 }
    },

    async beat(session: Session): Promise<BeatOutcome> {
      await session.run(beat, {})
      return { kind: 'beaten' }
    }
  }
}
