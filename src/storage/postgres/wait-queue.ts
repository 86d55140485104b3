import { sql, type Kysely } from 'kysely'
import {
  KEEP_PLACE_MS,
  type HeartbeatOutcome,
  type Conflict,
  type DequeueAllCommand,
  type DequeueAllOutcome,
  type EnqueueCommand,
  type EnqueueOutcome,
  type DequeueCommand,
  type DequeueOutcome,
  type PurgeTicketsCommand,
  type PurgeTicketsOutcome
} from '../../locks/commands.js'
import type { ProcessId, ResourceName } from '../../locks/lock.js'
import { DEQUEUED, type Tables } from '../tables.js'
import type { Session } from './session.js'
import { CLOCK, compiled, INSTANCE_LEASE_MS, LIVE, waitersFor } from './sql.js'

/** Who is to be told that its turn may have come. */
export interface Wakeup {
  readonly instance: string
  readonly ticket: number
}

interface HeadRow extends Wakeup {
  readonly name: string
  readonly process_id: string
}

interface EnqueueArgs {
  readonly names: string[]
  readonly process: string
  readonly id: string | null
  readonly fingerprint: string | null
  readonly key: string | null
  readonly onlyKept: boolean
}

export type WaitQueue = ReturnType<typeof waitQueue>

/**
 * The queues on PostgreSQL, shared by all instances.
 *
 * @param wake tells a waiter, on whichever instance, that its turn may have come.
 */
export function waitQueue(db: Kysely<Tables>, instance: string, wake: (turn: Wakeup) => void) {
  const LEASE = sql.lit(INSTANCE_LEASE_MS)
  const GIVEN_UP = sql.lit(DEQUEUED)

  const ALIVE = sql`
      insert into lock_instances (instance, lease_until) values (${sql.lit(instance)}, ${CLOCK} + ${LEASE})
      on conflict (instance) do update set lease_until = excluded.lease_until`
  const heartbeat = compiled<object>(db, () => ALIVE)

  /**
   * Draws one ticket for all of the names, or takes a kept place again: one place, were there several for that id. What is
   * not taken again lapses.
   */
  const enqueue = compiled<EnqueueArgs, { ticket: number }>(
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
      drawn as materialized (select nextval('lock_tickets') as ticket where not exists (select from back) and not ${arg('onlyKept')}::boolean),
      placed as (
        insert into lock_waiters (resource_name, ticket, process_id, instance, request_id, fingerprint, queued_at, api_key)
        select name, drawn.ticket, ${arg('process')}, ${sql.lit(instance)}, ${arg('id')}, ${arg('fingerprint')}, ${CLOCK}, ${arg('key')}
        from drawn, unnest(${arg('names')}::text[]) as asked(name)
        returning ticket
      )
      select ticket from back union select ticket from placed`
  )

  /** The first in each of those lines, however long they are. */
  const heads = compiled<{ names: string[] }, HeadRow>(
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

  /**
   * Keeps places for requests that may come back, and removes the others: a request that has another place would stand behind
   * itself. All places of a request are locked first, so that of two that leave at once the later one sees what the other did.
   */
  const keep = compiled<{ tickets: number[]; requestIds: string[] }, { resource_name: string }>(
    db,
    (arg) => sql`
      with places as materialized (
        select w.ticket, w.request_id, w.fingerprint, w.lease_until, ${LIVE} as live, w.ticket = any(${arg('tickets')}::bigint[]) as leaving
        from lock_waiters w
        where w.request_id = any(${arg('requestIds')}::text[])
        order by w.resource_name, w.ticket
        for update of w
      ),
      left_for_good as materialized (
        select p.ticket from places p
        where p.leaving and (p.lease_until = ${GIVEN_UP} or exists (
          select from places other
          where other.request_id = p.request_id and other.fingerprint = p.fingerprint and other.ticket <> p.ticket and other.live
            and (not other.leaving or other.ticket < p.ticket)
        ))
      ),
      kept as (
        update lock_waiters w set lease_until = ${CLOCK} + ${sql.lit(KEEP_PLACE_MS)}
        where w.ticket = any(${arg('tickets')}::bigint[]) and w.ticket not in (select l.ticket from left_for_good l)
      )
      delete from lock_waiters w where w.ticket in (select l.ticket from left_for_good l) returning w.resource_name`
  )

  const remove = compiled<{ tickets: number[] }, { resource_name: string }>(
    db,
    (arg) => sql`delete from lock_waiters where ticket = any(${arg('tickets')}::bigint[]) returning resource_name`
  )

  const purgeTickets = compiled<{ tickets: number[] }, { resource_name: string }>(
    db,
    (arg) => sql`
      delete from lock_waiters
      where instance = ${sql.lit(instance)} and (lease_until is null or lease_until = ${GIVEN_UP}) and ticket <> all(${arg('tickets')}::bigint[])
      returning resource_name`
  )

  /** Kept places go at once; the others stay, to no effect, until their waiters have learnt of it. */
  const dequeueAll = compiled<{ process: string; prefix: string; key: string | null }, Wakeup & { resource_name: string; kept: boolean }>(
    db,
    (arg) => sql`
      with mine as materialized (
        select w.ticket from lock_waiters w
        where w.process_id = ${arg('process')} and ${LIVE}
          and (${arg('key')}::text is null or w.api_key is null or w.api_key = ${arg('key')})
        group by w.ticket
        having bool_and(starts_with(w.resource_name, ${arg('prefix')}))
      ),
      locked as materialized (
        select w.resource_name, w.ticket, w.instance, w.lease_until is not null as kept
        from lock_waiters w where w.ticket in (select mine.ticket from mine)
        order by w.resource_name, w.ticket
        for update of w
      ),
      removed as (delete from lock_waiters w using locked l where l.kept and w.resource_name = l.resource_name and w.ticket = l.ticket),
      given_up as (
        update lock_waiters w set lease_until = ${GIVEN_UP} from locked l
        where not l.kept and w.resource_name = l.resource_name and w.ticket = l.ticket
      )
      select * from locked`
  )

  const givenUp = compiled<{ tickets: number[] }, { ticket: number }>(
    db,
    (arg) => sql`select distinct ticket from lock_waiters where ticket = any(${arg('tickets')}::bigint[]) and lease_until = ${GIVEN_UP}`
  )

  /** To be called after a commit, whose answer must not depend on it: whoever is not called asks by itself. Never rejects. */
  async function wakeHeads(session: Session, names: readonly string[]): Promise<void> {
    if (names.length === 0) return
    const rows = await session.run(heads, { names: [...new Set(names)] }).catch(() => [])
    for (const { ticket, instance: where } of rows) wake({ ticket, instance: where })
  }

  return {
    wakeHeads,

    /** For whom each of those resources is kept, and how many wait for it. */
    async heads(session: Session, names: readonly string[]): Promise<Map<string, { conflict: Conflict; ticket: number; waiters: number }>> {
      const asked = { names: [...new Set(names)] }
      const [rows, counts] = await session.together([session.run(heads, asked), session.run(lengths, asked)])
      const waiters = new Map(counts.map((row) => [row.name, row.waiters]))
      return new Map(
        rows.map(({ name, ticket, process_id }) => {
          const conflict = { resourceName: name as ResourceName, processId: process_id as ProcessId, lockId: 0, lockedAt: null, expiresAt: null }
          return [name, { conflict, ticket, waiters: waiters.get(name) ?? 0 }]
        })
      )
    },

    async enqueue(session: Session, { resourceNames, processId, idempotencyKey: mark, key, onlyKept }: EnqueueCommand): Promise<EnqueueOutcome> {
      const { id = null, fingerprint = null } = mark ?? {}
      const rows = await session.run(enqueue, { names: [...resourceNames], process: processId, id, fingerprint, key, onlyKept })
      return { kind: 'enqueued', ticket: rows[0]?.ticket ?? null }
    },

    /** Which of those tickets' places were given up on behalf of their processes. */
    async dequeuedAmong(session: Session, tickets: number[]): Promise<ReadonlySet<number>> {
      const rows = tickets.length === 0 ? [] : await session.run(givenUp, { tickets })
      return new Set(rows.map(({ ticket }) => ticket))
    },

    async dequeueAll(session: Session, { processId, prefix, key }: DequeueAllCommand): Promise<DequeueAllOutcome> {
      const rows = await session.run(dequeueAll, { process: processId, prefix, key })
      const waitQueue = new Map(rows.flatMap(({ ticket, instance: where, kept }) => (kept ? [] : [[ticket, where] as const])))
      for (const [ticket, where] of waitQueue) wake({ ticket, instance: where })
      await wakeHeads(
        session,
        rows.map(({ resource_name }) => resource_name)
      )
      return { kind: 'dequeued-all', requests: new Set(rows.map(({ ticket }) => ticket)).size }
    },

    async dequeue(session: Session, commands: readonly DequeueCommand[]): Promise<DequeueOutcome[]> {
      const first = commands.map(({ tickets }) => tickets[0] ?? 0)
      const left = commands.flatMap(({ tickets, keepFor }) => (keepFor === null ? tickets : []))
      const kept = commands.flatMap(({ tickets, keepFor }) => (keepFor === null ? [] : tickets))
      const requestIds = commands.flatMap(({ keepFor }) => keepFor?.id ?? [])
      const [places, notKept, removed] = await session.together([
        session.run(positions, { tickets: first }),
        kept.length === 0 ? Promise.resolve([]) : session.run(keep, { tickets: kept, requestIds }),
        left.length === 0 ? Promise.resolve([]) : session.run(remove, { tickets: left })
      ])
      await wakeHeads(
        session,
        [...notKept, ...removed].map(({ resource_name }) => resource_name)
      )
      const found = new Map(places.map(({ ticket, position }) => [ticket, position]))
      return first.map((ticket) => ({ kind: 'dequeued', position: found.get(ticket) ?? 0 }))
    },

    async purgeTickets(session: Session, { tickets }: PurgeTicketsCommand): Promise<PurgeTicketsOutcome> {
      const left = await session.run(purgeTickets, { tickets: [...tickets] })
      await wakeHeads(
        session,
        left.map(({ resource_name }) => resource_name)
      )
      return { kind: 'purged-tickets' }
    },

    async heartbeat(session: Session): Promise<HeartbeatOutcome> {
      await session.run(heartbeat, {})
      return { kind: 'heartbeat-sent' }
    }
  }
}
