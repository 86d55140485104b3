import { sql, type Kysely } from 'kysely'
import type { BeatOutcome, Conflict, EnqueueCommand, EnqueueOutcome, LeaveCommand, LeaveOutcome, TidyCommand, TidyOutcome } from '../../locks/commands.js'
import type { ProcessId, ResourceName } from '../../locks/lock.js'
import type { Tables } from '../tables.js'
import type { Session } from './session.js'
import { CLOCK, compiled, LIVE, waitersFor } from './sql.js'

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
}

export type Line = ReturnType<typeof waiting>

/**
 * The queues on PostgreSQL, shared by all instances.
 *
 * @param call tells a waiter, on whichever instance, that its turn may have come.
 */
export function waiting(db: Kysely<Tables>, instance: string, call: (turn: Turn) => void) {
  const LEASE = sql.lit(INSTANCE_LEASE_MS)

  const ALIVE = sql`
      insert into lock_instances (instance, lease_until) values (${sql.lit(instance)}, ${CLOCK} + ${LEASE})
      on conflict (instance) do update set lease_until = excluded.lease_until`
  const beat = compiled<object>(db, () => ALIVE)

  /**
   * Draws one ticket for all of the names, or takes a kept place again: one place, were there several for that id. What is
   * not taken again lapses.
   */
  const enqueue = compiled<{ names: string[]; process: string; id: string | null; fingerprint: string | null }, { ticket: number }>(
    db,
    (arg) => sql`
      with alive as (${ALIVE}),
      back as (
        update lock_waiters w set instance = ${sql.lit(instance)}, lease_until = null
        where w.lease_until is not null and w.ticket = (
          select min(w.ticket) from lock_waiters w
          where w.request_id = ${arg('id')} and w.fingerprint = ${arg('fingerprint')} and w.lease_until is not null and ${LIVE}
        )
        returning ticket
      ),
      drawn as materialized (select nextval('lock_tickets') as ticket where not exists (select from back)),
      placed as (
        insert into lock_waiters (resource_name, ticket, process_id, instance, request_id, fingerprint, queued_at)
        select name, drawn.ticket, ${arg('process')}, ${sql.lit(instance)}, ${arg('id')}, ${arg('fingerprint')}, ${CLOCK}
        from drawn, unnest(${arg('names')}::text[]) as asked(name)
        returning ticket
      )
      select ticket from back union select ticket from placed`
  )

  /** The first in each of those lines, however long they are. */
  const firsts = compiled<{ names: string[] }, FirstRow>(
    db,
    (arg) => sql`
      select asked.name, first.ticket, first.instance, first.process_id
      from unnest(${arg('names')}::text[]) as asked(name), lateral (
        select w.ticket, w.instance, w.process_id from lock_waiters w
        where w.resource_name = asked.name and ${LIVE}
        order by w.ticket limit 1
      ) as first`
  )

  const lengths = compiled<{ names: string[] }, { name: string; waiters: number }>(
    db,
    (arg) => sql`
      select asked.name, ${waitersFor(sql`asked.name`)} as waiters
      from unnest(${arg('names')}::text[]) as asked(name)`
  )

  /** The places of many, by one pass over each of their lines. */
  const positions = compiled<{ tickets: number[] }, { ticket: number; position: number }>(
    db,
    (arg) => sql`
      with places as (
        select w.ticket, row_number() over (partition by w.resource_name order by w.ticket) as place
        from lock_waiters w
        where w.resource_name in (select mine.resource_name from lock_waiters mine where mine.ticket = any(${arg('tickets')}::bigint[]))
          and ${LIVE}
      )
      select ticket, max(place) as position from places where ticket = any(${arg('tickets')}::bigint[]) group by ticket`
  )

  const keep = compiled<{ tickets: number[]; ms: number[] }>(
    db,
    (arg) => sql`
      update lock_waiters w set lease_until = ${CLOCK} + asked.ms
      from unnest(${arg('tickets')}::bigint[], ${arg('ms')}::bigint[]) as asked(ticket, ms)
      where w.ticket = asked.ticket`
  )

  const remove = compiled<{ tickets: number[] }, { resource_name: string }>(
    db,
    (arg) => sql`delete from lock_waiters where ticket = any(${arg('tickets')}::bigint[]) returning resource_name`
  )

  const tidy = compiled<{ tickets: number[] }, { resource_name: string }>(
    db,
    (arg) => sql`
      delete from lock_waiters
      where instance = ${sql.lit(instance)} and lease_until is null and ticket <> all(${arg('tickets')}::bigint[])
      returning resource_name`
  )

  /** To be called after a commit, whose answer must not depend on it: whoever is not called asks by itself. Never rejects. */
  async function callFirsts(session: Session, names: readonly string[]): Promise<void> {
    if (names.length === 0) return
    const rows = await session.run(firsts, { names: [...new Set(names)] }).catch(() => [])
    for (const { ticket, instance: where } of rows) call({ ticket, instance: where })
  }

  return {
    callFirsts,

    /** For whom each of those resources is kept, and how many wait for it. */
    async lines(session: Session, names: readonly string[]): Promise<Map<string, { conflict: Conflict; ticket: number; waiters: number }>> {
      const asked = { names: [...new Set(names)] }
      const [rows, counts] = await session.together([session.run(firsts, asked), session.run(lengths, asked)])
      const waiters = new Map(counts.map((row) => [row.name, row.waiters]))
      return new Map(
        rows.map(({ name, ticket, process_id }) => {
          const conflict = { resourceName: name as ResourceName, processId: process_id as ProcessId, lockId: 0, lockedAt: null, expiresAt: null }
          return [name, { conflict, ticket, waiters: waiters.get(name) ?? 0 }]
        })
      )
    },

    async enqueue(session: Session, { resourceNames, processId, mark }: EnqueueCommand): Promise<EnqueueOutcome> {
      const { id = null, fingerprint = null } = mark ?? {}
      const rows = await session.run(enqueue, { names: [...resourceNames], process: processId, id, fingerprint })
      return { kind: 'enqueued', ticket: rows[0]?.ticket ?? 0 }
    },

    async leave(session: Session, commands: readonly LeaveCommand[]): Promise<LeaveOutcome[]> {
      const first = commands.map(({ tickets }) => tickets[0] ?? 0)
      const left = commands.flatMap(({ tickets, keepMs }) => (keepMs > 0 ? [] : tickets))
      const kept = commands.flatMap(({ tickets, keepMs }) => (keepMs > 0 ? tickets.map((ticket) => ({ ticket, keepMs })) : []))
      const [places, , removed] = await session.together([
        session.run(positions, { tickets: first }),
        kept.length === 0
          ? Promise.resolve([])
          : session.run(keep, { tickets: kept.map(({ ticket }) => ticket), ms: kept.map(({ keepMs }) => keepMs) }),
        left.length === 0 ? Promise.resolve([]) : session.run(remove, { tickets: left })
      ])
      await callFirsts(
        session,
        removed.map(({ resource_name }) => resource_name)
      )
      const found = new Map(places.map(({ ticket, position }) => [ticket, position]))
      return first.map((ticket) => ({ kind: 'left', position: found.get(ticket) ?? 0 }))
    },

    async tidy(session: Session, { tickets }: TidyCommand): Promise<TidyOutcome> {
      const left = await session.run(tidy, { tickets: [...tickets] })
      await callFirsts(
        session,
        left.map(({ resource_name }) => resource_name)
      )
      return { kind: 'tidied' }
    },

    async beat(session: Session): Promise<BeatOutcome> {
      await session.run(beat, {})
      return { kind: 'beaten' }
    }
  }
}
