import { sql, type RawBuilder, type SqlBool } from 'kysely'
import type { AcquireCommand, AcquireOutcome, Conflict, FindRequestOutcome, IdempotencyKey } from '../../locks/commands.js'
import { isValid, type EpochMs, type Grant, type ResourceName } from '../../locks/lock.js'
import { conflictOf, grantsToText, leaseEnd, metadataToText, EXPIRED_PREDECESSOR_COLUMNS, replayOf, KEEP_REQUEST_MS, type LockSnapshot, type LockRequestsTable, type ResourceLocksTable } from '../tables.js'
import { statement } from '../statement.js'
import { isValidAt, type SqliteContext } from './context.js'
import type { TokenSource } from './token-source.js'
import { prepare } from './prepared.js'
import type { WaitQueue } from './wait-queue.js'

type TakenRow = Pick<ResourceLocksTable, 'id' | (typeof EXPIRED_PREDECESSOR_COLUMNS)[number]>

interface TakeArgs {
  readonly name: string
  readonly number: number
  readonly process: string
  readonly now: number
  readonly expiresAt: number | null
  readonly ttlMs: number | null
  readonly metadata: string | null
  readonly key: string | null
}

type Arg = <Name extends keyof TakeArgs>(name: Name) => RawBuilder<TakeArgs[Name]>

/** What a new grant puts in the place of an old one's. */
const REPLACED = {
  process_id: sql<string>`excluded.process_id`,
  locked_at: sql<number>`excluded.locked_at`,
  expires_at: sql<number | null>`excluded.expires_at`,
  is_active: sql<SqlBool>`1`,
  ttl_ms: sql<number | null>`excluded.ttl_ms`,
  metadata: sql<string | null>`excluded.metadata`,
  renewals: sql<number>`0`,
  ended_at: null,
  end_reason: null,
  sweep_at: sql<number | null>`excluded.sweep_at`,
  told_at: sql<number>`excluded.told_at`,
  api_key: sql<string | null>`excluded.api_key`
} as const

/** Granting on SQLite. The batch's transaction is the only writer, so that what was read stays true until it commits. */
export function acquire(context: SqliteContext, tokens: TokenSource, queue: WaitQueue) {
  const { database, db, readLatest: look, appendEvent: tell } = context

  const insert = (arg: Arg) =>
    db.insertInto('resource_locks').values({
      resource_name: arg('name'),
      id: arg('number'),
      process_id: arg('process'),
      locked_at: arg('now'),
      expires_at: arg('expiresAt'),
      is_active: sql.lit(1),
      ttl_ms: arg('ttlMs'),
      metadata: arg('metadata'),
      sweep_at: arg('expiresAt'),
      told_at: arg('now'),
      api_key: arg('key')
    })
  /** Takes what has no row, or one whose end was written down; changes nothing otherwise. An answer would cost it a third more. */
  const takeEnded = prepare<TakeArgs>(
    database,
    statement((arg) =>
      insert(arg).onConflict((conflict) =>
        conflict
          .column('resource_name')
          .doUpdateSet((eb) => ({ ...REPLACED, id: eb.ref('excluded.id') }))
          .where(sql<SqlBool>`not resource_locks.is_active and resource_locks.id < excluded.id`)
      )
    )
  )
  /** Takes whatever is not valid; returns no row when somebody holds the resource. */
  const take = prepare<TakeArgs, TakenRow>(
    database,
    statement((arg) =>
      insert(arg)
        .onConflict((conflict) =>
          conflict
            .column('resource_name')
            .doUpdateSet((eb) => ({
              ...REPLACED,
              // A restored row may bear a number that this database has not reached yet.
              id: sql`max(${eb.ref('excluded.id')}, ${eb.ref('resource_locks.id')} + 1)`,
              passed_id: sql`iif(resource_locks.is_active, resource_locks.id, null)`,
              passed_process_id: sql`iif(resource_locks.is_active, resource_locks.process_id, null)`,
              passed_at: sql`iif(resource_locks.is_active, resource_locks.expires_at, null)`
            }))
            .where((eb) => eb.not(isValidAt(arg('now'))))
        )
        .returning(['id', ...EXPIRED_PREDECESSOR_COLUMNS])
    )
  )
  const requestById = prepare<{ id: string }, LockRequestsTable>(
    database,
    statement((arg) => db.selectFrom('lock_requests').selectAll().where('request_id', '=', arg('id')))
  )
  const claim = prepare<{ id: string }>(
    database,
    statement((arg) => db.updateTable('lock_requests').set({ claimed: sql.lit(1) }).where('request_id', '=', arg('id')))
  )
  const saveRequest = prepare<{ id: string; fingerprint: string; grants: string; until: number }>(
    database,
    statement((arg) =>
      db.replaceInto('lock_requests').values({
        request_id: arg('id'),
        fingerprint: arg('fingerprint'),
        grants: arg('grants'),
        remembered_until: arg('until')
      })
    )
  )

  function findRequest({ id, fingerprint }: IdempotencyKey, now: EpochMs): NonNullable<FindRequestOutcome['before']> | undefined {
    const row = requestById.get({ id })
    if (row === undefined) return undefined
    const grants = JSON.parse(row.grants) as [string, number][]
    const snapshots = new Map(grants.map(([name]): [string, LockSnapshot] => [name, look(name, now)]))
    const before = replayOf({ fingerprint: row.fingerprint, grants, until: row.remembered_until }, fingerprint, snapshots)
    if (before === 'reused') return { kind: 'request-id-reused' }
    if (before === undefined) return undefined
    claim.run({ id })
    return { kind: 'granted', grants: before, replayed: true }
  }

  /** The new grant of the resource, or the valid one that is in the way. */
  function grantOne(name: ResourceName, { processId, ttlMs, metadata, key }: AcquireCommand, now: EpochMs): { grant?: Grant; holder?: Grant } {
    const expiresAt = leaseEnd(now, ttlMs)
    const args = { name, number: tokens.last + 1, process: processId, now, expiresAt, ttlMs, metadata: metadataToText(metadata), key }
    let lockId = args.number
    if (takeEnded.run(args) === 0) {
      const { latest } = look(name, now)
      if (isValid(latest, now)) return { holder: latest }
      const row = take.get(args)
      if (row === undefined) throw new Error(`'${name}' was neither free nor held`)
      const { id, passed_id, passed_process_id, passed_at } = row
      lockId = id
      if (passed_id !== null) {
        tell({ at: passed_at ?? now, kind: 'expired', resource_name: name, lock_id: passed_id, process_id: passed_process_id ?? '', reason: null })
      }
    }
    tokens.last = Math.max(tokens.last, lockId)
    tell({ at: now, kind: 'granted', resource_name: name, lock_id: lockId, process_id: processId, reason: null })
    return { grant: { lockId, resourceName: name, processId, lockedAt: now, expiresAt, metadata } }
  }

  function acquire(command: AcquireCommand, now: EpochMs): AcquireOutcome {
    const { resourceNames, idempotencyKey: mark } = command
    const before = mark === null ? undefined : findRequest(mark, now)
    if (before !== undefined) return before
    if (queue.isDequeued(command.ticket)) return { kind: 'dequeued' }

    const conflicts: Conflict[] = resourceNames.length === 1 ? [] : validAmong(resourceNames.map((name) => look(name, now)))
    for (const name of resourceNames) {
      const ahead = conflicts.some(({ resourceName }) => resourceName === name) ? undefined : queue.headBefore(name, command, now)
      if (ahead !== undefined) conflicts.push(validAmong([look(name, now)])[0] ?? ahead)
    }
    const grants: Grant[] = []
    for (const name of conflicts.length === 0 ? resourceNames : []) {
      const { grant, holder } = grantOne(name, command, now)
      if (grant !== undefined) grants.push(grant)
      if (holder !== undefined) conflicts.push(conflictOf(holder))
    }
    if (conflicts.length > 0) return { kind: 'held', conflicts, at: now, waiters: queue.count(conflicts[0]?.resourceName ?? '', now) }
    queue.removeTicket(command, now)
    if (mark !== null) {
      const until = now + Math.max(command.ttlMs ?? 0, KEEP_REQUEST_MS)
      saveRequest.run({ ...mark, grants: grantsToText(grants), until })
    }
    return { kind: 'granted', grants, replayed: false }
  }

  return { acquire, findRequest }
}

function validAmong(snapshots: readonly LockSnapshot[]): Conflict[] {
  return snapshots.flatMap(({ latest, at }) => (isValid(latest, at) ? [conflictOf(latest)] : []))
}
