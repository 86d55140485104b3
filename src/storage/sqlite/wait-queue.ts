import { sql, type Expression, type RawBuilder, type SqlBool } from 'kysely'
import type { AcquireCommand, Conflict } from '../../locks/commands.js'
import type { IdempotencyKey, EpochMs, ProcessId, ResourceName, Sharing } from '../../locks/lock.js'
import { KEEP_PLACE_MS, type DequeueAllCommand, type DequeueAllOutcome, type DequeueCommand, type DequeueOutcome, type EnqueueCommand, type EnqueueOutcome, type PurgeTicketsCommand, type PurgeTicketsOutcome } from '../../locks/queue-commands.js'
import { DEQUEUED } from '../tables.js'
import type { SqliteContext } from './context.js'

/** Above every ticket. */
const LAST_TICKET = Number.MAX_SAFE_INTEGER
const NO_KEY = { id: null, fingerprint: null }

function readStatements(context: SqliteContext) {
  const { db } = context
  return {
    firstBefore: context.prepare<{ name: string; ticket: number; now: number; id: string | null; fingerprint: string | null }, { ticket: number; process_id: string }>((arg) =>
      db
        .selectFrom('lock_waiters')
        .select(['ticket', 'process_id'])
        .where('resource_name', '=', arg('name'))
        .where('ticket', '<', arg('ticket'))
        .where(isLive(arg('now')))
        .where(sql<SqlBool>`(lease_until is null or request_id is not ${arg('id')} or fingerprint is not ${arg('fingerprint')})`)
        .orderBy('ticket')
        .limit(sql.lit(1))
    ),
    /** The same, without those that ask for a share without a limit. */
    firstLimitedBefore: context.prepare<{ name: string; ticket: number; now: number; id: string | null; fingerprint: string | null }, { ticket: number; process_id: string }>((arg) =>
      db
        .selectFrom('lock_waiters')
        .select(['ticket', 'process_id'])
        .where('resource_name', '=', arg('name'))
        .where('ticket', '<', arg('ticket'))
        .where('allows', 'is not', null)
        .where(isLive(arg('now')))
        .where(sql<SqlBool>`(lease_until is null or request_id is not ${arg('id')} or fingerprint is not ${arg('fingerprint')})`)
        .orderBy('ticket')
        .limit(sql.lit(1))
    ),
    countBefore: context.prepare<{ name: string; ticket: number; now: number }, { waiters: number }>((arg) =>
      db
        .selectFrom('lock_waiters')
        .select(({ fn }) => fn.countAll<number>().as('waiters'))
        .where('resource_name', '=', arg('name'))
        .where('ticket', '<', arg('ticket'))
        .where(isLive(arg('now')))
    ),
    namesOf: context.prepare<{ ticket: number }, { resource_name: string }>((arg) =>
      db.selectFrom('lock_waiters').select('resource_name').where('ticket', '=', arg('ticket'))
    ),
    otherPlace: context.prepare<{ ticket: number; id: string; fingerprint: string; now: number }, { ticket: number }>((arg) =>
      db
        .selectFrom('lock_waiters')
        .select('ticket')
        .where('request_id', '=', arg('id'))
        .where('fingerprint', '=', arg('fingerprint'))
        .where('ticket', '<>', arg('ticket'))
        .where(isLive(arg('now')))
        .limit(sql.lit(1))
    ),
    keptPlaces: context.prepare<{ id: string; fingerprint: string }, { ticket: number }>((arg) =>
      db
        .selectFrom('lock_waiters')
        .select('ticket')
        .distinct()
        .where('request_id', '=', arg('id'))
        .where('fingerprint', '=', arg('fingerprint'))
        .where('lease_until', '>', sql.lit(DEQUEUED))
    ),
    dequeued: context.prepare<{ ticket: number }, { ticket: number }>((arg) =>
      db.selectFrom('lock_waiters').select('ticket').where('ticket', '=', arg('ticket')).where('lease_until', '=', sql.lit(DEQUEUED)).limit(sql.lit(1))
    ),
    placesOf: context.prepare<{ process: string; prefix: string; key: string | null; now: number }, { ticket: number; kept: 0 | 1 }>((arg) =>
      db
        .selectFrom('lock_waiters')
        .select(['ticket', sql<0 | 1>`max(lease_until is not null)`.as('kept')])
        .where('process_id', '=', arg('process'))
        .where(sql<SqlBool>`(${arg('key')} is null or api_key is null or api_key = ${arg('key')})`)
        .where(isLive(arg('now')))
        .groupBy('ticket')
        .having(sql<SqlBool>`min(substr(resource_name, 1, length(${arg('prefix')})) = ${arg('prefix')})`)
    ),
    inUse: context.prepare<object, { ticket: number }>(() =>
      db.selectFrom('lock_waiters').select('ticket').distinct().where(sql<SqlBool>`(lease_until is null or lease_until = ${sql.lit(DEQUEUED)})`)
    )
  }
}

interface Place {
  readonly name: string
  readonly ticket: number
  readonly process: string
  readonly id: string | null
  readonly fingerprint: string | null
  readonly now: number
  readonly key: string | null
}

function writeStatements(context: SqliteContext) {
  const { db } = context
  const place = (arg: <Name extends keyof Place>(name: Name) => RawBuilder<Place[Name]>) => ({
    resource_name: arg('name'),
    ticket: arg('ticket'),
    process_id: arg('process'),
    instance: sql.lit(''),
    request_id: arg('id'),
    fingerprint: arg('fingerprint'),
    queued_at: arg('now'),
    api_key: arg('key')
  })
  return {
    insert: context.prepare<Place>((arg) => db.insertInto('lock_waiters').values(place(arg))),
    insertShared: context.prepare<Place & { allows: number | null; permits: number }>((arg) =>
      db.insertInto('lock_waiters').values({ ...place(arg), allows: arg('allows'), permits: arg('permits') })
    ),
    /** Takes one kept place again, even if the request has several. */
    resume: context.prepare<{ id: string; fingerprint: string; now: number }, { ticket: number }>((arg) =>
      db
        .updateTable('lock_waiters')
        .set({ lease_until: null })
        .where('ticket', '=', (eb) =>
          eb
            .selectFrom('lock_waiters')
            .select(({ fn }) => fn.min('ticket').as('first'))
            .where('request_id', '=', arg('id'))
            .where('fingerprint', '=', arg('fingerprint'))
            .where('lease_until', 'is not', null)
            .where(isLive(arg('now')))
        )
        .returning('ticket')
    ),
    keep: context.prepare<{ ticket: number; until: number }>((arg) =>
      db.updateTable('lock_waiters').set({ lease_until: arg('until') }).where('ticket', '=', arg('ticket'))
    ),
    remove: context.prepare<{ ticket: number }>((arg) => db.deleteFrom('lock_waiters').where('ticket', '=', arg('ticket'))),
    removeDead: context.prepare<{ now: number }>((arg) =>
      db.deleteFrom('lock_waiters').where('lease_until', '<>', sql.lit(DEQUEUED)).where((eb) => eb.not(isLive(arg('now'))))
    )
  }
}

/**
 * The queues on SQLite. One process serves the file, so that every waiter is one of its own: it removes those of an earlier
 * process at start, and keeps the largest ticket in memory.
 */
export class WaitQueue {
  readonly #onWakeup: (ticket: number) => void
  readonly #reads: ReturnType<typeof readStatements>
  readonly #writes: ReturnType<typeof writeStatements>
  #lastTicket = 0
  /** An upper bound of the rows in the table: no statement runs while it is 0. */
  #rows = 0

  constructor(context: SqliteContext, onWakeup: (ticket: number) => void) {
    context.database.exec('delete from lock_waiters')
    this.#onWakeup = onWakeup
    this.#reads = readStatements(context)
    this.#writes = writeStatements(context)
  }

  /** Wakes the first waiter of the resource: its turn may have come. */
  wakeHead(name: string, now: EpochMs): void {
    if (this.#rows === 0) return
    const first = this.#reads.firstBefore.get({ name, ticket: LAST_TICKET, now, ...NO_KEY })
    if (first !== undefined) this.#onWakeup(first.ticket)
  }

  /** Whether `dequeueAll` removed the place. */
  isDequeued(ticket: number | null): boolean {
    return ticket !== null && this.#rows > 0 && this.#reads.dequeued.get({ ticket }) !== undefined
  }

  count(name: string, now: EpochMs): number {
    return this.#rows === 0 ? 0 : (this.#reads.countBefore.get({ name, ticket: LAST_TICKET, now })?.waiters ?? 0)
  }

  /** The first waiter that the request has to let pass. A place that is kept for this very request does not count. */
  headBefore(name: ResourceName, { ticket, idempotencyKey }: AcquireCommand, now: EpochMs, sharing: Sharing | null = null): Conflict | undefined {
    if (this.#rows === 0) return undefined
    const { firstBefore, firstLimitedBefore } = this.#reads
    const passesShares = sharing !== null && sharing.limit === null
    const first = (passesShares ? firstLimitedBefore : firstBefore).get({ name, ticket: ticket ?? LAST_TICKET, now, ...(idempotencyKey ?? NO_KEY) })
    if (first === undefined) return undefined
    return { resourceName: name, processId: first.process_id as ProcessId, lockId: 0, lockedAt: null, expiresAt: null }
  }

  /** The request was granted. Wakes the next waiter too, which learns how long the new grant lasts. */
  removeTicket({ ticket, idempotencyKey }: AcquireCommand, now: EpochMs): void {
    if (ticket !== null) this.#removePlaces(ticket, now)
    if (idempotencyKey === null || this.#rows === 0) return
    for (const kept of this.#reads.keptPlaces.all({ ...idempotencyKey })) this.#removePlaces(kept.ticket, now)
  }

  enqueue({ resourceNames, processId, idempotencyKey, key, onlyKept, sharing }: EnqueueCommand, now: EpochMs): EnqueueOutcome {
    const kept = idempotencyKey === null || this.#rows === 0 ? undefined : this.#writes.resume.get({ ...idempotencyKey, now })
    if (kept !== undefined) return { kind: 'enqueued', ticket: kept.ticket }
    if (onlyKept) return { kind: 'enqueued', ticket: null }
    const ticket = (this.#lastTicket += 1)
    const { id, fingerprint } = idempotencyKey ?? NO_KEY
    for (const [index, name] of resourceNames.entries()) {
      const args = { name, ticket, process: processId, id, fingerprint, now, key }
      const share = sharing?.[index] ?? null
      if (share === null) this.#writes.insert.run(args)
      else this.#writes.insertShared.run({ ...args, allows: share.limit, permits: share.permits })
    }
    this.#rows += resourceNames.length
    return { kind: 'enqueued', ticket }
  }

  dequeue({ tickets, keepFor }: DequeueCommand, now: EpochMs): DequeueOutcome {
    const [first] = tickets
    const names = first === undefined ? [] : this.#reads.namesOf.all({ ticket: first })
    const positions = names.map(({ resource_name: name }) => (this.#reads.countBefore.get({ name, ticket: first ?? 0, now })?.waiters ?? 0) + 1)
    for (const ticket of tickets) {
      if (keepFor !== null && this.#mayKeep(ticket, keepFor, now)) this.#writes.keep.run({ ticket, until: now + KEEP_PLACE_MS })
      else this.#removePlaces(ticket, now)
    }
    return { kind: 'dequeued', position: Math.max(0, ...positions) }
  }

  dequeueAll({ processId, prefix, key }: DequeueAllCommand, now: EpochMs): DequeueAllOutcome {
    const places = this.#rows === 0 ? [] : this.#reads.placesOf.all({ process: processId, prefix, key, now })
    for (const { ticket, kept } of places) {
      if (kept === 1) this.#removePlaces(ticket, now)
      else this.#writes.keep.run({ ticket, until: DEQUEUED })
    }
    for (const { ticket, kept } of places) {
      if (kept === 1) continue
      this.#onWakeup(ticket)
      for (const { resource_name } of this.#reads.namesOf.all({ ticket })) this.wakeHead(resource_name, now)
    }
    return { kind: 'dequeued-all', requests: places.length }
  }

  purgeTickets({ tickets }: PurgeTicketsCommand, now: EpochMs): PurgeTicketsOutcome {
    const wanted = new Set(tickets)
    for (const { ticket } of this.#reads.inUse.all({})) if (!wanted.has(ticket)) this.#removePlaces(ticket, now)
    return { kind: 'purged-tickets' }
  }

  /** Removes the kept places that no request took again. */
  sweep(now: EpochMs): void {
    if (this.#rows > 0) this.#rows -= this.#writes.removeDead.run({ now })
  }

  /** Call it after a rollback: the count in memory may be too small, so that from now on the table is read every time. */
  distrust(): void {
    this.#rows = Number.POSITIVE_INFINITY
  }

  #removePlaces(ticket: number, now: EpochMs): void {
    const names = this.#reads.namesOf.all({ ticket })
    this.#rows -= this.#writes.remove.run({ ticket })
    for (const { resource_name } of names) this.wakeHead(resource_name, now)
  }

  /** No place is kept for a request that was removed, or that has another place: it would wait behind itself. */
  #mayKeep(ticket: number, key: IdempotencyKey, now: EpochMs): boolean {
    return this.#reads.dequeued.get({ ticket }) === undefined && this.#reads.otherPlace.get({ ticket, ...key, now }) === undefined
  }
}

/**
 * The row of `lock_waiters` still waits. Only a kept place can end by itself, since one process serves the file. A place
 * that is kept for longer than {@link KEEP_PLACE_MS} was kept before the clock was set back.
 */
export function isLive(now: Expression<number>): RawBuilder<SqlBool> {
  return sql<SqlBool>`(lease_until is null or (lease_until > ${now} and lease_until <= ${now} + ${sql.lit(KEEP_PLACE_MS)}))`
}
