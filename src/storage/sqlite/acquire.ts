import { sql, type RawBuilder, type SqlBool } from 'kysely'
import type { AcquireCommand, AcquireOutcome, Conflict, FindRequestOutcome } from '../../locks/commands.js'
import { type IdempotencyKey, isValid, type EpochMs, type Grant, type ResourceName, type Sharing } from '../../locks/lock.js'
import { replayOf } from '../../locks/requests.js'
import { conflictOf, EXPIRED_PREDECESSOR_COLUMNS, grantsToText, KEEP_REQUEST_MS, leaseEnd, metadataToText, NOBODY, type LockRequestsTable, type ResourceLocksTable } from '../tables.js'
import { isValidAt, type SqliteContext } from './context.js'
import type { Shares } from './shares.js'
import type { WaitQueue } from './wait-queue.js'

type TakenRow = Pick<ResourceLocksTable, 'id' | (typeof EXPIRED_PREDECESSOR_COLUMNS)[number]>

interface TakeArgs {
  readonly name: string
  readonly lockId: number
  readonly process: string
  readonly now: number
  readonly expiresAt: number | null
  readonly ttlMs: number | null
  readonly metadata: string | null
  readonly key: string | null
}

type Arg = <Name extends keyof TakeArgs>(name: Name) => RawBuilder<TakeArgs[Name]>

/** The columns of a row that a new grant overwrites. */
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

function grantStatements(context: SqliteContext) {
  const { db } = context
  const insert = (arg: Arg) =>
    db.insertInto('resource_locks').values({
      resource_name: arg('name'),
      id: arg('lockId'),
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
  return {
    /** Grants a resource that has no row or an ended one; changes nothing otherwise. It returns no row, which would cost a third more. */
    takeEnded: context.prepare<TakeArgs>((arg) =>
      insert(arg).onConflict((conflict) =>
        conflict
          .column('resource_name')
          .doUpdateSet((eb) => ({ ...REPLACED, id: eb.ref('excluded.id') }))
          .where(sql<SqlBool>`not resource_locks.is_active and resource_locks.id < excluded.id`)
      )
    ),
    /** Grants any resource that is not validly held; returns no row otherwise. */
    take: context.prepare<TakeArgs, TakenRow>((arg) =>
      insert(arg)
        .onConflict((conflict) =>
          conflict
            .column('resource_name')
            .doUpdateSet((eb) => ({
              ...REPLACED,
              // A restored row may bear a token that this database has not reached yet.
              id: sql`max(${eb.ref('excluded.id')}, ${eb.ref('resource_locks.id')} + 1)`,
              passed_id: sql`iif(resource_locks.is_active, resource_locks.id, null)`,
              passed_process_id: sql`iif(resource_locks.is_active, resource_locks.process_id, null)`,
              passed_at: sql`iif(resource_locks.is_active, resource_locks.expires_at, null)`
            }))
            .where((eb) => eb.not(isValidAt(arg('now'))))
        )
        .returning(['id', ...EXPIRED_PREDECESSOR_COLUMNS])
    )
  }
}

function requestStatements(context: SqliteContext) {
  const { db } = context
  return {
    byId: context.prepare<{ id: string }, LockRequestsTable>((arg) => db.selectFrom('lock_requests').selectAll().where('request_id', '=', arg('id'))),
    claim: context.prepare<{ id: string }>((arg) => db.updateTable('lock_requests').set({ claimed: sql.lit(1) }).where('request_id', '=', arg('id'))),
    save: context.prepare<{ id: string; fingerprint: string; grants: string; until: number }>((arg) =>
      db.replaceInto('lock_requests').values({
        request_id: arg('id'),
        fingerprint: arg('fingerprint'),
        grants: arg('grants'),
        remembered_until: arg('until')
      })
    )
  }
}

/** Grants on SQLite. The batch's transaction is the only writer, so that what it reads stays true until it commits. */
export class Acquire {
  readonly #context: SqliteContext
  readonly #queue: WaitQueue
  readonly #shares: Shares
  readonly #grants: ReturnType<typeof grantStatements>
  readonly #requests: ReturnType<typeof requestStatements>

  constructor(context: SqliteContext, queue: WaitQueue, shares: Shares) {
    this.#context = context
    this.#queue = queue
    this.#shares = shares
    this.#grants = grantStatements(context)
    this.#requests = requestStatements(context)
  }

  acquire(command: AcquireCommand, now: EpochMs): AcquireOutcome {
    const { resourceNames, idempotencyKey, sharing, terms } = command
    const replay = idempotencyKey === null ? undefined : this.findRequest(idempotencyKey, now)
    if (replay !== undefined) return replay
    if (this.#queue.isDequeued(command.ticket)) return { kind: 'dequeued' }
    if (command.steal === true) return this.#steal(command, now)

    const conflicts: Conflict[] = resourceNames.length === 1 ? [] : resourceNames.flatMap((name, index) => this.#conflictAt(name, sharing?.[index] ?? null, command, now) ?? [])
    for (const [index, name] of resourceNames.entries()) {
      const share = sharing?.[index] ?? null
      const head = conflicts.some(({ resourceName }) => resourceName === name) ? undefined : this.#queue.headBefore(name, command, now, share)
      if (head !== undefined) conflicts.push(this.#conflictAt(name, share, command, now) ?? { ...head, usage: this.#shares.usage(name, now) })
    }
    const grants: Grant[] = []
    for (const [index, name] of conflicts.length === 0 ? resourceNames.entries() : []) {
      const share = sharing?.[index] ?? null
      const { grant, conflict } = share === null && terms === undefined ? this.#grantOne(name, command, now) : this.#shares.grant(name, share, command, now)
      if (grant !== undefined) grants.push(grant)
      if (conflict !== undefined) conflicts.push(conflict)
    }
    if (conflicts.length > 0) return { kind: 'held', conflicts, at: now, waiters: this.#queue.count(conflicts[0]?.resourceName ?? '', now) }
    this.#save(command, grants, now)
    return { kind: 'granted', grants, replayed: false }
  }

  #steal(command: AcquireCommand, now: EpochMs): AcquireOutcome {
    const thefts = command.resourceNames.map((name) => this.#shares.steal(name, command, now))
    const grants = thefts.map(({ grant }) => grant)
    this.#save(command, grants, now)
    return { kind: 'granted', grants, replayed: false, stolen: thefts.flatMap(({ stolen }) => stolen) }
  }

  /** Gives up the place of a request that was granted, and remembers the request. */
  #save(command: AcquireCommand, grants: readonly Grant[], now: EpochMs): void {
    const { idempotencyKey, ttlMs } = command
    this.#queue.removeTicket(command, now)
    if (idempotencyKey === null) return
    const until = now + Math.max(ttlMs ?? 0, KEEP_REQUEST_MS)
    this.#requests.save.run({ ...idempotencyKey, grants: grantsToText(grants), until })
  }

  /** What an earlier request with that key is answered again; undefined if there was none. */
  findRequest({ id, fingerprint }: IdempotencyKey, now: EpochMs): NonNullable<FindRequestOutcome['before']> | undefined {
    const row = this.#requests.byId.get({ id })
    if (row === undefined) return undefined
    const grants = JSON.parse(row.grants) as [string, number][]
    const replay = replayOf({ fingerprint: row.fingerprint, grants, until: row.remembered_until }, fingerprint, (name, lockId) => this.#shares.snapshot(name, lockId, now))
    if (replay === 'reused') return { kind: 'request-id-reused' }
    if (replay === undefined) return undefined
    this.#requests.claim.run({ id })
    return { kind: 'granted', grants: replay, replayed: true }
  }

  /** The new exclusive grant of the resource, or what is in the way. */
  #grantOne(name: ResourceName, { processId, ttlMs, metadata, key }: AcquireCommand, now: EpochMs): { grant?: Grant; conflict?: Conflict | undefined } {
    const { tokens } = this.#context
    const expiresAt = leaseEnd(now, ttlMs)
    const args = { name, lockId: tokens.last + 1, process: processId, now, expiresAt, ttlMs, metadata: metadataToText(metadata), key }
    let { lockId } = args
    if (this.#grants.takeEnded.run(args) === 0) {
      const { latest } = this.#context.readLatest(name, now)
      if (isValid(latest, now)) return { conflict: latest.processId === NOBODY ? this.#shares.conflict(name, null, processId, now) : conflictOf(latest) }
      const row = this.#grants.take.get(args)
      if (row === undefined) throw new Error(`'${name}' was neither free nor held`)
      const { id, passed_id, passed_process_id, passed_at } = row
      lockId = id
      if (passed_id !== null && passed_process_id !== NOBODY) {
        this.#context.appendEvent({ at: passed_at ?? now, kind: 'expired', resource_name: name, lock_id: passed_id, process_id: passed_process_id ?? '', reason: null })
      }
    }
    tokens.last = Math.max(tokens.last, lockId)
    this.#context.appendEvent({ at: now, kind: 'granted', resource_name: name, lock_id: lockId, process_id: processId, reason: null })
    return { grant: { lockId, resourceName: name, processId, lockedAt: now, expiresAt, metadata } }
  }

  #conflictAt(name: ResourceName, sharing: Sharing | null, { processId }: AcquireCommand, now: EpochMs): Conflict | undefined {
    const { latest } = this.#context.readLatest(name, now)
    if (!isValid(latest, now)) return undefined
    return latest.processId === NOBODY ? this.#shares.conflict(name, sharing, processId, now) : conflictOf(latest)
  }
}
