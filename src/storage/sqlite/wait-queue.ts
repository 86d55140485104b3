import { sql, type Expression, type RawBuilder, type SqlBool } from 'kysely'
import {
  KEEP_PLACE_MS,
  type AcquireCommand,
  type HeartbeatOutcome,
  type Conflict,
  type DequeueAllCommand,
  type DequeueAllOutcome,
  type EnqueueCommand,
  type EnqueueOutcome,
  type DequeueCommand,
  type DequeueOutcome,
  type IdempotencyKey,
  type PurgeTicketsCommand,
  type PurgeTicketsOutcome
} from '../../locks/commands.js'
import type { EpochMs, ProcessId, ResourceName } from '../../locks/lock.js'
import { statement } from '../statement.js'
import { DEQUEUED } from '../tables.js'
import type { SqliteContext } from './context.js'
import { prepare } from './prepared.js'

export type WaitQueue = ReturnType<typeof waitQueue>

/**
 * The queues on SQLite. One process serves the file, so that every waiter is one of its own: those that an earlier process
 * left are removed at start, and the largest ticket is kept in memory.
 */
export function waitQueue({ database, db }: SqliteContext, onWakeup: (ticket: number) => void) {
  database.exec('delete from lock_waiters')
  let lastTicket = 0
  /** Rows that may be there; while it is 0, nobody needs to look. */
  let rows = 0

  const firstBefore = prepare<{ name: string; ticket: number; now: number; id: string | null; fingerprint: string | null }, { ticket: number; process_id: string }>(
    database,
    statement((arg) =>
      db
        .selectFrom('lock_waiters')
        .select(['ticket', 'process_id'])
        .where('resource_name', '=', arg('name'))
        .where('ticket', '<', arg('ticket'))
        .where(isLive(arg('now')))
        .where(sql<SqlBool>`(lease_until is null or request_id is not ${arg('id')} or fingerprint is not ${arg('fingerprint')})`)
        .orderBy('ticket')
        .limit(sql.lit(1))
    )
  )
  const countBefore = prepare<{ name: string; ticket: number; now: number }, { waiters: number }>(
    database,
    statement((arg) =>
      db
        .selectFrom('lock_waiters')
        .select(({ fn }) => fn.countAll<number>().as('waiters'))
        .where('resource_name', '=', arg('name'))
        .where('ticket', '<', arg('ticket'))
        .where(isLive(arg('now')))
    )
  )
  const insert = prepare<{ name: string; ticket: number; process: string; id: string | null; fingerprint: string | null; now: number; key: string | null }>(
    database,
    statement((arg) =>
      db.insertInto('lock_waiters').values({
        resource_name: arg('name'),
        ticket: arg('ticket'),
        process_id: arg('process'),
        instance: sql.lit(''),
        request_id: arg('id'),
        fingerprint: arg('fingerprint'),
        queued_at: arg('now'),
        api_key: arg('key')
      })
    )
  )
  /** Takes one kept place again, were there several for that id. */
  const comeBack = prepare<{ id: string; fingerprint: string; now: number }, { ticket: number }>(
    database,
    statement((arg) =>
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
    )
  )
  const namesOf = prepare<{ ticket: number }, { resource_name: string }>(
    database,
    statement((arg) => db.selectFrom('lock_waiters').select('resource_name').where('ticket', '=', arg('ticket')))
  )
  const keep = prepare<{ ticket: number; until: number }>(
    database,
    statement((arg) => db.updateTable('lock_waiters').set({ lease_until: arg('until') }).where('ticket', '=', arg('ticket')))
  )
  const otherPlace = prepare<{ ticket: number; id: string; fingerprint: string; now: number }, { ticket: number }>(
    database,
    statement((arg) =>
      db
        .selectFrom('lock_waiters')
        .select('ticket')
        .where('request_id', '=', arg('id'))
        .where('fingerprint', '=', arg('fingerprint'))
        .where('ticket', '<>', arg('ticket'))
        .where(isLive(arg('now')))
        .limit(sql.lit(1))
    )
  )
  const keptPlaces = prepare<{ id: string; fingerprint: string }, { ticket: number }>(
    database,
    statement((arg) =>
      db
        .selectFrom('lock_waiters')
        .select('ticket')
        .distinct()
        .where('request_id', '=', arg('id'))
        .where('fingerprint', '=', arg('fingerprint'))
        .where('lease_until', '>', sql.lit(DEQUEUED))
    )
  )
  const dequeued = prepare<{ ticket: number }, { ticket: number }>(
    database,
    statement((arg) =>
      db.selectFrom('lock_waiters').select('ticket').where('ticket', '=', arg('ticket')).where('lease_until', '=', sql.lit(DEQUEUED)).limit(sql.lit(1))
    )
  )
  const placesOf = prepare<{ process: string; prefix: string; key: string | null; now: number }, { ticket: number; kept: 0 | 1 }>(
    database,
    statement((arg) =>
      db
        .selectFrom('lock_waiters')
        .select(['ticket', sql<0 | 1>`max(lease_until is not null)`.as('kept')])
        .where('process_id', '=', arg('process'))
        .where(sql<SqlBool>`(${arg('key')} is null or api_key is null or api_key = ${arg('key')})`)
        .where(isLive(arg('now')))
        .groupBy('ticket')
        .having(sql<SqlBool>`min(substr(resource_name, 1, length(${arg('prefix')})) = ${arg('prefix')})`)
    )
  )
  const remove = prepare<{ ticket: number }>(database, statement((arg) => db.deleteFrom('lock_waiters').where('ticket', '=', arg('ticket'))))
  const inUse = prepare<object, { ticket: number }>(
    database,
    statement(() => db.selectFrom('lock_waiters').select('ticket').distinct().where(sql<SqlBool>`(lease_until is null or lease_until = ${sql.lit(DEQUEUED)})`))
  )
  const removeDead = prepare<{ now: number }>(
    database,
    statement((arg) => db.deleteFrom('lock_waiters').where('lease_until', '<>', sql.lit(DEQUEUED)).where((eb) => eb.not(isLive(arg('now')))))
  )

  const everybody = Number.MAX_SAFE_INTEGER
  const NO_MARK = { id: null, fingerprint: null }

  /** Tells of the first in line, whose turn may have come. */
  function wakeHead(name: string, now: EpochMs): void {
    if (rows === 0) return
    const first = firstBefore.get({ name, ticket: everybody, now, ...NO_MARK })
    if (first !== undefined) onWakeup(first.ticket)
  }

  function dequeuePlaces(ticket: number, now: EpochMs): void {
    const names = namesOf.all({ ticket })
    rows -= remove.run({ ticket })
    for (const { resource_name } of names) wakeHead(resource_name, now)
  }

  /** No place is kept for a request that was removed, or that has another place: it would stand behind itself. */
  function mayKeep(ticket: number, mark: IdempotencyKey, now: EpochMs): boolean {
    return dequeued.get({ ticket }) === undefined && otherPlace.get({ ticket, ...mark, now }) === undefined
  }

  return {
    wakeHead,

    /** Whether the place was given up on behalf of its process. */
    isDequeued: (ticket: number | null): boolean => ticket !== null && rows > 0 && dequeued.get({ ticket }) !== undefined,

    count: (name: string, now: EpochMs): number =>
      rows === 0 ? 0 : (countBefore.get({ name, ticket: everybody, now })?.waiters ?? 0),

    /** For whom a resource is kept, as seen from a request's place in line. A place that is kept for that very request is not in its way. */
    headBefore(name: ResourceName, { ticket, idempotencyKey: mark }: AcquireCommand, now: EpochMs): Conflict | undefined {
      if (rows === 0) return undefined
      const first = firstBefore.get({ name, ticket: ticket ?? everybody, now, ...(mark ?? NO_MARK) })
      if (first === undefined) return undefined
      return { resourceName: name, processId: first.process_id as ProcessId, lockId: 0, lockedAt: null, expiresAt: null }
    },

    /** The request was granted: the next in line should know how long the new grant lasts. */
    removeTicket({ ticket, idempotencyKey: mark }: AcquireCommand, now: EpochMs): void {
      if (ticket !== null) dequeuePlaces(ticket, now)
      for (const kept of mark === null || rows === 0 ? [] : keptPlaces.all({ ...mark })) dequeuePlaces(kept.ticket, now)
    },

    enqueue({ resourceNames, processId, idempotencyKey: mark, key, onlyKept }: EnqueueCommand, now: EpochMs): EnqueueOutcome {
      const kept = mark === null || rows === 0 ? undefined : comeBack.get({ ...mark, now })
      if (kept !== undefined) return { kind: 'enqueued', ticket: kept.ticket }
      if (onlyKept) return { kind: 'enqueued', ticket: null }
      const ticket = (lastTicket += 1)
      for (const name of resourceNames) {
        insert.run({ name, ticket, process: processId, id: mark?.id ?? null, fingerprint: mark?.fingerprint ?? null, now, key })
      }
      rows += resourceNames.length
      return { kind: 'enqueued', ticket }
    },

    dequeue({ tickets, keepFor }: DequeueCommand, now: EpochMs): DequeueOutcome {
      const [first] = tickets
      const lines = first === undefined ? [] : namesOf.all({ ticket: first })
      const places = lines.map(({ resource_name: name }) => (countBefore.get({ name, ticket: first ?? 0, now })?.waiters ?? 0) + 1)
      for (const ticket of tickets) {
        if (keepFor !== null && mayKeep(ticket, keepFor, now)) keep.run({ ticket, until: now + KEEP_PLACE_MS })
        else dequeuePlaces(ticket, now)
      }
      return { kind: 'dequeued', position: Math.max(0, ...places) }
    },

    dequeueAll({ processId, prefix, key }: DequeueAllCommand, now: EpochMs): DequeueAllOutcome {
      const places = rows === 0 ? [] : placesOf.all({ process: processId, prefix, key, now })
      for (const { ticket, kept } of places) {
        if (kept === 1) dequeuePlaces(ticket, now)
        else keep.run({ ticket, until: DEQUEUED })
      }
      for (const { ticket, kept } of places) {
        if (kept === 1) continue
        onWakeup(ticket)
        for (const { resource_name } of namesOf.all({ ticket })) wakeHead(resource_name, now)
      }
      return { kind: 'dequeued-all', requests: places.length }
    },

    purgeTickets({ tickets }: PurgeTicketsCommand, now: EpochMs): PurgeTicketsOutcome {
      const wanted = new Set(tickets)
      for (const { ticket } of inUse.all({})) if (!wanted.has(ticket)) dequeuePlaces(ticket, now)
      return { kind: 'purged-tickets' }
    },

    heartbeat: (): HeartbeatOutcome => ({ kind: 'heartbeat-sent' }),

    /** Removes places that nobody came back to. */
    sweep(now: EpochMs): void {
      if (rows > 0) rows -= removeDead.run({ now })
    },

    /** After a rollback the count in memory may be too small: from then on the table is asked. */
    distrust(): void {
      rows = Number.POSITIVE_INFINITY
    }
  }
}

/**
 * The row of `lock_waiters` still waits. Nobody but this process serves the file, so that only a kept place can come to an end
 * by itself. One that is kept for longer than a place ever is comes from before the clock was set back.
 */
export function isLive(now: Expression<number>): RawBuilder<SqlBool> {
  return sql<SqlBool>`(lease_until is null or (lease_until > ${now} and lease_until <= ${now} + ${sql.lit(KEEP_PLACE_MS)}))`
}
