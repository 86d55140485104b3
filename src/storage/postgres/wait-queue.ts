import { sql, type Kysely, type RawBuilder } from 'kysely'
import type { Conflict } from '../../locks/commands.js'
import {
  KEEP_PLACE_MS,
  type DequeueAllCommand,
  type DequeueAllOutcome,
  type DequeueCommand,
  type DequeueOutcome,
  type EnqueueCommand,
  type EnqueueOutcome,
  type HeartbeatOutcome,
  type PurgeTicketsCommand,
  type PurgeTicketsOutcome
} from '../../locks/queue-commands.js'
import type { ProcessId, ResourceName } from '../../locks/lock.js'
import { DEQUEUED, type Tables } from '../tables.js'
import { CLOCK, compiled, INSTANCE_LEASE_MS, LIVE, waitersFor, type Arg, type Session } from './sql.js'

/** The waiter that may be at the head of its queue now. */
export interface Wakeup {
  readonly instance: string
  readonly ticket: number
}

/** The waiter that a free resource is kept for, as a conflict, and how many wait. */
export interface QueueHead {
  readonly conflict: Conflict
  readonly ticket: number
  readonly waiters: number
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

/** In place of `lease_until`. */
const GONE = sql.lit(DEQUEUED)

/** The queues on PostgreSQL, shared by all instances. */
export class WaitQueue {
  readonly #statements: ReturnType<typeof enqueueStatements> & ReturnType<typeof dequeueStatements>
  readonly #wake: (wakeup: Wakeup) => void

  /** @param wake wakes up a waiter on any instance. */
  constructor(db: Kysely<Tables>, instance: string, wake: (wakeup: Wakeup) => void) {
    this.#statements = { ...enqueueStatements(db, instance), ...dequeueStatements(db, instance) }
    this.#wake = wake
  }

  /** Wakes the heads of those queues, after a commit whose result must not depend on it: a waiter without a wake-up retries by itself. Never rejects. */
  async wakeHeads(session: Session, names: readonly string[]): Promise<void> {
    if (names.length === 0) return
    const rows = await session.run(this.#statements.heads, { names: [...new Set(names)] }).catch(() => [])
    for (const { ticket, instance } of rows) this.#wake({ ticket, instance })
  }

  async heads(session: Session, names: readonly string[]): Promise<Map<string, QueueHead>> {
    const args = { names: [...new Set(names)] }
    const [rows, counts] = await session.together([session.run(this.#statements.heads, args), session.run(this.#statements.lengths, args)])
    const waiters = new Map(counts.map((row) => [row.name, row.waiters]))
    return new Map(
      rows.map(({ name, ticket, process_id }) => {
        const conflict = { resourceName: name as ResourceName, processId: process_id as ProcessId, lockId: 0, lockedAt: null, expiresAt: null }
        return [name, { conflict, ticket, waiters: waiters.get(name) ?? 0 }]
      })
    )
  }

  async enqueue(session: Session, { resourceNames, processId, idempotencyKey, key, onlyKept, sharing }: EnqueueCommand): Promise<EnqueueOutcome> {
    const { id = null, fingerprint = null } = idempotencyKey ?? {}
    const args = { names: [...resourceNames], process: processId, id, fingerprint, key, onlyKept }
    const { enqueue, enqueueShared } = this.#statements
    const rows = await (sharing === undefined
      ? session.run(enqueue, args)
      : session.run(enqueueShared, { ...args, allows: sharing.map((share) => (share === null ? 1 : share.limit)), permits: sharing.map((share) => share?.permits ?? null) }))
    return { kind: 'enqueued', ticket: rows[0]?.ticket ?? null }
  }

  /** Those of the tickets whose process was removed from all queues. */
  async dequeuedAmong(session: Session, tickets: number[]): Promise<ReadonlySet<number>> {
    const rows = tickets.length === 0 ? [] : await session.run(this.#statements.dequeued, { tickets })
    return new Set(rows.map(({ ticket }) => ticket))
  }

  async dequeueAll(session: Session, { processId, prefix, key }: DequeueAllCommand): Promise<DequeueAllOutcome> {
    const rows = await session.run(this.#statements.dequeueAll, { process: processId, prefix, key })
    const waiters = new Map(rows.flatMap(({ ticket, instance, kept }) => (kept ? [] : [[ticket, instance] as const])))
    for (const [ticket, instance] of waiters) this.#wake({ ticket, instance })
    await this.wakeHeads(session, rows.map(resourceOf))
    return { kind: 'dequeued-all', requests: new Set(rows.map(({ ticket }) => ticket)).size }
  }

  async dequeue(session: Session, commands: readonly DequeueCommand[]): Promise<DequeueOutcome[]> {
    const first = commands.map(({ tickets }) => tickets[0] ?? 0)
    const left = commands.flatMap(({ tickets, keepFor }) => (keepFor === null ? tickets : []))
    const kept = commands.flatMap(({ tickets, keepFor }) => (keepFor === null ? [] : tickets))
    const requestIds = commands.flatMap(({ keepFor }) => keepFor?.id ?? [])
    const [places, notKept, removed] = await session.together([
      session.run(this.#statements.positions, { tickets: first }),
      kept.length === 0 ? Promise.resolve([]) : session.run(this.#statements.keep, { tickets: kept, requestIds }),
      left.length === 0 ? Promise.resolve([]) : session.run(this.#statements.remove, { tickets: left })
    ])
    await this.wakeHeads(session, [...notKept, ...removed].map(resourceOf))
    const found = new Map(places.map(({ ticket, position }) => [ticket, position]))
    return first.map((ticket) => ({ kind: 'dequeued', position: found.get(ticket) ?? 0 }))
  }

  async purgeTickets(session: Session, { tickets }: PurgeTicketsCommand): Promise<PurgeTicketsOutcome> {
    const purged = await session.run(this.#statements.purgeTickets, { tickets: [...tickets] })
    await this.wakeHeads(session, purged.map(resourceOf))
    return { kind: 'purged-tickets' }
  }

  async heartbeat(session: Session): Promise<HeartbeatOutcome> {
    const rows = await session.run(this.#statements.heartbeat, {})
    return { kind: 'heartbeat-sent', dequeued: rows.map(({ ticket }) => ticket) }
  }
}

function resourceOf({ resource_name }: { readonly resource_name: string }): string {
  return resource_name
}

function enqueueStatements(db: Kysely<Tables>, instance: string) {
  const alive = sql`
      insert into lock_instances (instance, lease_until) values (${sql.lit(instance)}, ${CLOCK} + ${sql.lit(INSTANCE_LEASE_MS)})
      on conflict (instance) do update set lease_until = excluded.lease_until`
  const heartbeat = compiled<object, { ticket: number }>(
    db,
    () => sql`
      with alive as (${alive})
      select distinct ticket from lock_waiters where instance = ${sql.lit(instance)} and lease_until = ${GONE}`
  )

  /**
   * Draws one ticket for all of the names, or takes back the oldest place that is kept for the request. Its other kept places
   * expire.
   */
  const enqueueAs = (arg: Arg<EnqueueArgs>, values = sql``, asked = sql`unnest(${arg('names')}::text[]) as asked(name)`): RawBuilder<unknown> =>
    sql`
      with alive as (${alive}),
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
        insert into lock_waiters (resource_name, ticket, process_id, instance, request_id, fingerprint, queued_at, api_key${values})
        select name, drawn.ticket, ${arg('process')}, ${sql.lit(instance)}, ${arg('id')}, ${arg('fingerprint')}, ${CLOCK}, ${arg('key')}${values}
        from drawn, ${asked}
        returning ticket
      )
      select ticket from back union select ticket from placed`
  const enqueue = compiled<EnqueueArgs, { ticket: number }>(db, (arg) => enqueueAs(arg))
  const enqueueShared = compiled<EnqueueArgs & { allows: (number | null)[]; permits: (number | null)[] }, { ticket: number }>(db, (arg) =>
    enqueueAs(arg, sql`, allows, permits`, sql`unnest(${arg('names')}::text[], ${arg('allows')}::bigint[], ${arg('permits')}::bigint[]) as asked(name, allows, permits)`)
  )

  /** The head of each queue, at a cost that does not depend on the queue's length. */
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

  /** The positions of many tickets, by one pass over each of their queues. */
  const positions = compiled<{ tickets: number[] }, { ticket: number; position: number }>(
    db,
    (arg) => sql`
      with mine as materialized (select distinct resource_name from lock_waiters where ticket = any(${arg('tickets')}::bigint[])),
      places as (
        select w.ticket, row_number() over (partition by w.resource_name order by w.ticket) as place
        from mine, lateral (select * from lock_waiters w where w.resource_name = mine.resource_name and ${LIVE} offset 0) as w
      )
      select ticket, max(place) as position from places where ticket = any(${arg('tickets')}::bigint[]) group by ticket`
  )

  return { heartbeat, enqueue, enqueueShared, heads, lengths, positions }
}

function dequeueStatements(db: Kysely<Tables>, instance: string) {
  /**
   * Keeps places for requests that may be repeated, and removes the others: a request with two places would wait for itself.
   * All places of a request are locked first, so that the later of two that leave at once sees what the other did.
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
        where p.leaving and (p.lease_until = ${GONE} or exists (
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
      where instance = ${sql.lit(instance)} and (lease_until is null or lease_until = ${GONE}) and ticket <> all(${arg('tickets')}::bigint[])
      returning resource_name`
  )

  /** Removes kept places at once; the others stay, without effect, until their waiters have noticed. */
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
        update lock_waiters w set lease_until = ${GONE} from locked l
        where not l.kept and w.resource_name = l.resource_name and w.ticket = l.ticket
      )
      select * from locked`
  )

  const dequeued = compiled<{ tickets: number[] }, { ticket: number }>(
    db,
    (arg) => sql`select distinct ticket from lock_waiters where ticket = any(${arg('tickets')}::bigint[]) and lease_until = ${GONE}`
  )

  return { keep, remove, purgeTickets, dequeueAll, dequeued }
}
