import type { Kysely } from 'kysely'
import type { AcquireCommand, Conflict, FindRequestCommand, FindRequestOutcome } from '../../locks/commands.js'
import { isValid, type Grant, type ResourceName } from '../../locks/lock.js'
import { replayOf, type SavedRequest } from '../../locks/requests.js'
import { attempt, RETRY, type CommandResult, done } from '../batcher.js'
import { conflictOf, grantFromRow, leaseEnd, metadataToText, NOBODY, wasShared, type LockRequestsTable, type Tables } from '../tables.js'
import { acquireStatements, type AcquireArgs, type FoundRow, type GrantedRow } from './acquire-sql.js'
import { INCOMPLETE, sqlStateOf, toLockError } from './connection.js'
import { nameOf, type ShareCommand } from './share-holders.js'
import { isForShares, type Shares } from './shares.js'
import { sparse, type Session, type SnapshotReader } from './sql.js'
import type { QueueHead, WaitQueue } from './wait-queue.js'

/** What the statement was sent for, by resource, and the rows that it returned. */
interface Attempts {
  readonly firsts: ReadonlyMap<string, AcquireCommand>
  readonly rows: ReadonlyMap<string, FoundRow>
}

/** Grants locks, and answers repeated requests. */
export class Acquire {
  readonly #statements: ReturnType<typeof acquireStatements>
  readonly #reader: SnapshotReader
  readonly #queue: WaitQueue
  readonly #shares: Shares

  constructor(db: Kysely<Tables>, keepsHistory: boolean, reader: SnapshotReader, queue: WaitQueue, shares: Shares) {
    this.#statements = acquireStatements(db, keepsHistory)
    this.#reader = reader
    this.#queue = queue
    this.#shares = shares
  }

  /**
   * Takes requests for one resource each. Of several for one resource, only the first is tried; its result decides the others.
   *
   * @param sent the rows of the statement, where it has been sent already.
   */
  async acquire(session: Session, commands: readonly AcquireCommand[], sent?: Promise<readonly FoundRow[]>): Promise<CommandResult[]> {
    const firsts = firstPerResource(commands)
    const rows = new Map((await (sent ?? this.#send(session, firsts))).map((row) => [row.resource_name, row]))
    const grants = commands.map((command) => {
      const name = nameOf(command)
      const row = rows.get(name)
      return row?.at === null && firsts.get(name) === command ? grantOf(command, row) : undefined
    })
    // The next waiter has to know how long the new grant lasts.
    const served = commands.flatMap((command, index) => (command.ticket !== null && grants[index] !== undefined ? [nameOf(command)] : []))
    if (served.length > 0) await this.#queue.wakeHeads(session, served)
    const refused = commands.filter((_, index) => grants[index] === undefined)
    // The grants are committed: an error from here on fails only the refused commands.
    const reasons =
      refused.length === 0
        ? []
        : await this.#refuse(session, refused, { firsts, rows }).catch((error: unknown) =>
            refused.map((): CommandResult => ({ kind: 'failed', error: toLockError(error, false) }))
          )
    let next = 0
    return grants.map((grant) => (grant === undefined ? (reasons[next++] ?? RETRY) : done({ kind: 'granted', grants: [grant], replayed: false })))
  }

  /** Executes what shares decide: requests for one resource, releases, renewals, conversions and revocations. */
  async executeShared(session: Session, commands: readonly ShareCommand[]): Promise<CommandResult[]> {
    const requests = commands.filter((command): command is AcquireCommand => command.kind === 'acquire' && command.idempotencyKey !== null)
    const previous = await this.#replays(session, requests)
    const replays = new Map<ShareCommand, CommandResult | undefined>(requests.map((request, index) => [request, previous[index]]))
    const left = commands.filter((command) => replays.get(command) === undefined)
    const results = left.length === 0 ? [] : await this.#shares.execute(session, left)
    const refused = left.filter((command, index): command is AcquireCommand => isRefused(command, results[index]))
    const since = refused.length === 0 ? [] : await this.#findRequests(session, refused)
    for (const [index, request] of refused.entries()) replays.set(request, since[index])
    const resultOf = new Map(left.map((command, index) => [command, results[index]]))
    return commands.map((command) => replays.get(command) ?? resultOf.get(command) ?? RETRY)
  }

  /** As {@link #findRequests}, after those that are due were forgotten. */
  async #replays(session: Session, commands: readonly AcquireCommand[]): Promise<(CommandResult | undefined)[]> {
    const requestIds = commands.flatMap(({ idempotencyKey }) => idempotencyKey?.id ?? [])
    if (requestIds.length === 0) return []
    const [, previous] = await session.together([session.run(this.#statements.forget, { requestIds }), this.#findRequests(session, commands)])
    return previous
  }

  /** A request for several resources: one statement, which fails unless all were granted. */
  async acquireMany(session: Session, command: AcquireCommand): Promise<CommandResult> {
    if (isForShares(command)) {
      const [replayed] = await this.#replays(session, [command])
      if (replayed !== undefined) return replayed
      const result = await this.#shares.acquireMany(session, command)
      const [since] = isRefused(command, result) ? await this.#findRequests(session, [command]) : []
      return since ?? result
    }
    const { resourceNames: names, processId, ttlMs, metadata, idempotencyKey, ticket, key } = command
    const { id: requestId = null, fingerprint = null } = idempotencyKey ?? {}
    const args = { names: [...names], process: processId, ttlMs, metadata: metadataToText(metadata), key, ticket, requestId, fingerprint }
    const [, rows] = await session.together([
      requestId === null ? Promise.resolve([]) : session.run(this.#statements.forget, { requestIds: [requestId] }),
      session.run(this.#statements.acquireAll, args).catch((error: unknown): FoundRow[] => {
        if (sqlStateOf(error) === INCOMPLETE) return []
        throw error
      })
    ])
    const granted = new Map(rows.flatMap((row) => (row.at === null ? [[row.resource_name, grantOf(command, row)]] : [])))
    const grants = names.flatMap((name) => granted.get(name) ?? [])
    if (grants.length < names.length) return await this.#refuseMany(session, command)
    if (ticket !== null) await this.#queue.wakeHeads(session, names)
    return done({ kind: 'granted', grants, replayed: false })
  }

  async findRequest(session: Session, command: FindRequestCommand): Promise<FindRequestOutcome> {
    const [result] = await this.#findRequests(session, [command])
    if (result?.kind === 'failed') throw result.error
    return { kind: 'request-found', before: result?.kind === 'done' ? (result.outcome as NonNullable<FindRequestOutcome['before']>) : null }
  }

  /** The valid grants in the rows come with the time at which they were read. */
  async #send(session: Session, firsts: ReadonlyMap<string, AcquireCommand>): Promise<FoundRow[]> {
    const args = acquireArgs(firsts)
    const requestIds = args.requestIds.filter((id) => id !== null)
    const [, rows] = await session.together([
      requestIds.length === 0 ? Promise.resolve([]) : session.run(this.#statements.forget, { requestIds }),
      session.run(isKeyed(args) ? this.#statements.acquireKeyed : this.#statements.acquire, args)
    ])
    return rows
  }

  /** Says why commands were granted nothing. */
  async #refuse(session: Session, commands: readonly AcquireCommand[], { firsts, rows }: Attempts): Promise<CommandResult[]> {
    const shared = commands.filter((command) => isHeldByShares(rows.get(nameOf(command))))
    const conflicts = shared.length === 0 ? [] : await this.#shares.holders.conflicts(session, shared)
    // After the holders were read: one of them may be what an earlier request with the same id was granted meanwhile.
    const [previous, dequeued] = await session.together([
      this.#findRequests(session, commands),
      this.#queue.dequeuedAmong(
        session,
        commands.flatMap(({ ticket }) => ticket ?? [])
      )
    ])
    const unanswered = commands.flatMap((command, index) => (rows.has(nameOf(command)) || previous[index] !== undefined ? [] : [nameOf(command)]))
    const heads = unanswered.length === 0 ? undefined : await this.#queue.heads(session, unanswered)
    // A waiter behind the head was woken up before the head had joined the queue; the head's own wake-up may never come.
    const passedOver = commands.flatMap((command) => (command.ticket !== null && heads?.has(nameOf(command)) === true ? [nameOf(command)] : []))
    await this.#queue.wakeHeads(session, passedOver)
    return commands.map((command, index) =>
      attempt(() => {
        const name = nameOf(command)
        const replayed = previous[index]
        if (replayed !== undefined) return replayed
        if (command.ticket !== null && dequeued.has(command.ticket)) return done({ kind: 'dequeued' })
        const row = rows.get(name)
        const first = firsts.get(name)
        if (isHeldByShares(row)) return conflicts[shared.indexOf(command)] ?? RETRY
        if (row === undefined || first === undefined) return keptFor(heads?.get(name), command)
        // The first request of the batch for the same name was granted just now.
        if (row.at === null) return done({ kind: 'held', conflicts: [conflictOf(grantOf(first, row))], at: row.locked_at, waiters: 0 })
        return done({ kind: 'held', conflicts: [conflictOf(grantFromRow(row))], at: row.at, waiters: row.waiters })
      })
    )
  }

  /** Says which resources are held, or returns the grants of an earlier request with the same id. */
  async #refuseMany(session: Session, command: AcquireCommand): Promise<CommandResult> {
    const { resourceNames: names, ticket } = command
    const snapshots = await this.#reader.readLatest(session, names)
    const heads = await this.#queue.heads(session, names)
    const shared = names.filter((name) => wasShared(snapshots.get(name)))
    const holders = shared.length === 0 ? [] : await this.#shares.holders.conflicts(session, shared.map((name) => ({ ...command, resourceNames: [name] })))
    const conflicts = names.flatMap((name): Conflict[] => {
      const snapshot = snapshots.get(name)
      const held = holders[shared.indexOf(name)]
      if (held?.kind === 'done' && held.outcome.kind === 'held') return held.outcome.conflicts.slice()
      if (snapshot !== undefined && !shared.includes(name) && isValid(snapshot.latest, snapshot.at)) return [conflictOf(snapshot.latest)]
      const head = heads.get(name)
      return head !== undefined && head.ticket < (ticket ?? Number.POSITIVE_INFINITY) ? [head.conflict] : []
    })
    // After the holders were read, as in refusing one.
    const [replayed] = await this.#findRequests(session, [command])
    if (replayed !== undefined) return replayed
    if (ticket !== null && (await this.#queue.dequeuedAmong(session, [ticket])).size > 0) return done({ kind: 'dequeued' })
    const at = Math.max(...[...snapshots.values()].map((snapshot) => snapshot.at))
    const waiters = heads.get(conflicts[0]?.resourceName ?? '')?.waiters ?? 0
    return conflicts.length === 0 ? RETRY : done({ kind: 'held', conflicts, at, waiters })
  }

  /** For each command the outcome of an earlier request with the same id, or undefined where there is none. */
  async #findRequests(session: Session, commands: readonly (AcquireCommand | FindRequestCommand)[]): Promise<(CommandResult | undefined)[]> {
    const keys = commands.flatMap(({ idempotencyKey }) => idempotencyKey ?? [])
    if (keys.length === 0) return []
    const requestIds = keys.map(({ id }) => id)
    const [, rows] = await session.together([
      session.run(this.#statements.claim, { requestIds, fingerprints: keys.map(({ fingerprint }) => fingerprint) }),
      session.run(this.#statements.findRequest, { requestIds })
    ])
    if (rows.length === 0) return []
    const saved = new Map(rows.map((row) => [row.request_id, savedRequest(row)]))
    const pairs = [...saved.values()].flatMap((request) => (request instanceof Error ? [] : request.grants))
    const latest = await this.#reader.readLatest(session, pairs.map(([name]) => name))
    const shared = pairs.filter(([name]) => wasShared(latest.get(name)))
    const shareOf = shared.length === 0 ? undefined : await this.#shares.holders.snapshots(session, shared)
    return commands.map(({ idempotencyKey }) => {
      const request = idempotencyKey === null ? undefined : saved.get(idempotencyKey.id)
      if (request === undefined || idempotencyKey === null) return undefined
      const result = attempt(() => {
        if (request instanceof Error) throw request
        const grants = replayOf(request, idempotencyKey.fingerprint, (name, lockId) => shareOf?.(name, lockId) ?? latest.get(name))
        if (grants === undefined) return RETRY
        return done(grants === 'reused' ? { kind: 'request-id-reused' } : { kind: 'granted', grants, replayed: true })
      })
      // An expired request counts as new.
      return result === RETRY ? undefined : result
    })
  }
}

/**
 * For each resource the request with the smallest ticket; requests without a ticket come last, in their order. Of several
 * requests with one id only the first is kept: the others find it saved, or are retried.
 */
export function firstPerResource(commands: readonly AcquireCommand[]): Map<string, AcquireCommand> {
  const firsts = new Map<string, AcquireCommand>()
  for (const command of commands) {
    const other = firsts.get(nameOf(command))
    if (other === undefined || positionOf(command) < positionOf(other)) firsts.set(nameOf(command), command)
  }
  const ids = new Set<string>()
  for (const [name, { idempotencyKey }] of firsts) {
    if (idempotencyKey === null) continue
    if (ids.has(idempotencyKey.id)) firsts.delete(name)
    ids.add(idempotencyKey.id)
  }
  return firsts
}

export function acquireArgs(firsts: ReadonlyMap<string, AcquireCommand>): AcquireArgs {
  const commands = [...firsts.values()]
  return {
    names: [...firsts.keys()],
    processes: commands.map(({ processId }) => processId),
    ttls: commands.map(({ ttlMs }) => ttlMs),
    metadata: sparse(commands.map(({ metadata }) => metadataToText(metadata))),
    requestIds: sparse(commands.map(({ idempotencyKey }) => idempotencyKey?.id ?? null)),
    fingerprints: sparse(commands.map(({ idempotencyKey }) => idempotencyKey?.fingerprint ?? null)),
    tickets: sparse(commands.map(({ ticket }) => ticket)),
    keys: sparse(commands.map(({ key }) => key))
  }
}

/** Some request has an id or a ticket. */
export function isKeyed({ requestIds, tickets }: AcquireArgs): boolean {
  return requestIds.length > 0 || tickets.length > 0
}

/** Whether a request with an id was refused: an earlier one with that id may have been granted since they were looked up. */
function isRefused(command: ShareCommand, result: CommandResult | undefined): boolean {
  return command.kind === 'acquire' && command.idempotencyKey !== null && result?.kind === 'done' && result.outcome.kind === 'held'
}

function isHeldByShares(row: FoundRow | undefined): boolean {
  return row !== undefined && row.at !== null && row.process_id === NOBODY
}

function positionOf({ ticket }: AcquireCommand): number {
  return ticket ?? Number.POSITIVE_INFINITY
}

/** No process holds the resource, but it is kept for the head of its queue; or it was taken just now, and the command has to be retried. */
function keptFor(head: QueueHead | undefined, { ticket }: AcquireCommand): CommandResult {
  if (head === undefined || (ticket !== null && head.ticket >= ticket)) return RETRY
  return done({ kind: 'held', conflicts: [head.conflict], at: 0, waiters: head.waiters })
}

/** An error for a row that cannot be read, so that it fails only the repetitions of that request. */
function savedRequest({ fingerprint, grants, remembered_until: until }: LockRequestsTable): SavedRequest | Error {
  try {
    return { fingerprint, grants: JSON.parse(grants) as [string, number][], until }
  } catch (error) {
    return error as Error
  }
}

function grantOf({ processId, ttlMs, metadata }: AcquireCommand, { resource_name: name, id: lockId, locked_at: lockedAt }: GrantedRow): Grant {
  return { lockId, resourceName: name as ResourceName, processId, lockedAt, expiresAt: leaseEnd(lockedAt, ttlMs), metadata }
}
