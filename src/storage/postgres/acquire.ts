import type { Kysely } from 'kysely'
import type { AcquireCommand, AcquireOutcome, Conflict, FindRequestCommand, FindRequestOutcome } from '../../locks/commands.js'
import { isValid, type Grant, type ResourceName } from '../../locks/lock.js'
import { RETRY, attempt, type CommandResult } from '../batcher.js'
import { conflictOf, grantFromRow, leaseEnd, metadataToText, replayOf, type SavedRequest, type LockRequestsTable, type Tables } from '../tables.js'
import { acquireArgs, acquireStatements, isKeyed, type AcquireArgs, type FoundRow, type GrantedRow } from './acquire-sql.js'
import { INCOMPLETE, sqlStateOf, toLockError } from './errors.js'
import { firstPerResource, nameOf } from './first-per-resource.js'
import type { ReadLatest } from './read-latest.js'
import type { Session } from './session.js'
import type { WaitQueue } from './wait-queue.js'

/** Granting on PostgreSQL. */
export function acquiring(db: Kysely<Tables>, keepsHistory: boolean, readLatest: ReadLatest, queue: WaitQueue) {
  const statements = acquireStatements(db, keepsHistory)

  /**
   * Requests for one resource each. For several with the same name, the foremost speaks for all.
   *
   * @param sent the answer of the statement, where it has been sent already.
   */
  async function acquire(session: Session, commands: readonly AcquireCommand[], sent?: Promise<readonly FoundRow[]>): Promise<CommandResult[]> {
    const firsts = firstPerResource(commands)
    const ids = firsts.flatMap(({ idempotencyKey: mark }) => mark?.id ?? [])
    const rows = await (sent ?? send(session, ids, acquireArgs(firsts)))
    const found = new Map(rows.map((row) => [row.resource_name, row]))
    const granted = new Map(
      firsts.flatMap((command): [AcquireCommand, Grant][] => {
        const row = found.get(nameOf(command))
        return row?.at === null ? [[command, grantOf(command, row)]] : []
      })
    )
    // The next in line should know how long the new grant lasts.
    await queue.wakeHeads(
      session,
      [...granted.keys()].flatMap((command) => (command.ticket === null ? [] : [nameOf(command)]))
    )
    const refused = commands.filter((command) => !granted.has(command))
    const answers = new Map(
      // What was granted is committed: a fault from here on concerns only those who were not.
      await refuse(session, refused, found, granted).catch((error: unknown) =>
        refused.map((command): [AcquireCommand, CommandResult] => [command, { kind: 'failed', error: toLockError(error, false) }])
      )
    )
    return commands.map((command) => {
      const grant = granted.get(command)
      return grant === undefined ? (answers.get(command) ?? RETRY) : done({ kind: 'granted', grants: [grant], replayed: false })
    })
  }

  /** Answers those who were granted nothing, from the rows that were found in their way. */
  async function refuse(
    session: Session,
    commands: readonly AcquireCommand[],
    found: ReadonlyMap<string, FoundRow>,
    granted: ReadonlyMap<AcquireCommand, Grant>
  ): Promise<[AcquireCommand, CommandResult][]> {
    const [before, dequeued] = await session.together([
      findRequests(session, commands),
      queue.dequeuedAmong(
        session,
        commands.flatMap(({ ticket }) => ticket ?? [])
      )
    ])
    const unanswered = commands.filter((command) => !found.has(nameOf(command)) && !before.has(command)).map(nameOf)
    const queues = unanswered.length === 0 ? undefined : await queue.heads(session, unanswered)
    // Whoever comes out of turn was called before the first had been seen in line: its own call may never come.
    await queue.wakeHeads(
      session,
      commands.flatMap((command) => (command.ticket !== null && queues?.has(nameOf(command)) === true ? [nameOf(command)] : []))
    )
    const justGranted = new Map([...granted].map(([command, grant]) => [nameOf(command), grant]))
    return commands.map((command) => [
      command,
      attempt(() => {
        const known = before.get(command)
        if (known !== undefined) return known
        if (command.ticket !== null && dequeued.has(command.ticket)) return done({ kind: 'dequeued' })
        const row = found.get(nameOf(command))
        // Whoever asked for the same name in the same batch came just after the one that was granted.
        const grant = row === undefined || row.at === null ? justGranted.get(nameOf(command)) : grantFromRow(row)
        if (row === undefined || grant === undefined) return keptFor(queues?.get(nameOf(command)), command)
        const { at, waiters } = row.at === null ? { at: grant.lockedAt, waiters: 0 } : row
        return done({ kind: 'held', conflicts: [conflictOf(grant)], at, waiters })
      })
    ])
  }

  /** A request for several resources: one statement, which undoes itself unless all were granted. */
  async function acquireMany(session: Session, command: AcquireCommand): Promise<CommandResult> {
    const { resourceNames: names, processId, ttlMs, metadata, idempotencyKey: mark, ticket, key } = command
    const args = { names: [...names], process: processId, ttlMs, metadata: metadataToText(metadata), key, ticket }
    const [, rows] = await session.together([
      mark === null ? Promise.resolve([]) : session.run(statements.forget, { requestIds: [mark.id] }),
      session
        .run(statements.acquireAll, { ...args, requestId: mark?.id ?? null, fingerprint: mark?.fingerprint ?? null })
        .catch((error: unknown): FoundRow[] => {
          if (sqlStateOf(error) === INCOMPLETE) return []
          throw error
        })
    ])
    const granted = new Map(rows.flatMap((row) => (row.at === null ? [[row.resource_name, grantOf(command, row)]] : [])))
    if (granted.size < names.length) return await refuseMany(session, command)
    if (ticket !== null) await queue.wakeHeads(session, names)
    return done({ kind: 'granted', grants: names.map((name) => granted.get(name) as Grant), replayed: false })
  }

  /** Says what is in the way, or answers with the grants of an earlier one of its repetitions. */
  async function refuseMany(session: Session, command: AcquireCommand): Promise<CommandResult> {
    const { resourceNames: names, ticket } = command
    const known = (await findRequests(session, [command])).get(command)
    if (known !== undefined) return known
    if (ticket !== null && (await queue.dequeuedAmong(session, [ticket])).size > 0) return done({ kind: 'dequeued' })
    const snapshots = await readLatest(session, names)
    const queues = await queue.heads(session, names)
    const conflicts = names.flatMap((name): Conflict[] => {
      const snapshot = snapshots.get(name)
      if (snapshot !== undefined && isValid(snapshot.latest, snapshot.at)) return [conflictOf(snapshot.latest)]
      const first = queues.get(name)
      return first !== undefined && first.ticket < (ticket ?? Number.POSITIVE_INFINITY) ? [first.conflict] : []
    })
    const at = Math.max(...[...snapshots.values()].map((snapshot) => snapshot.at))
    const waiters = queues.get(conflicts[0]?.resourceName ?? '')?.waiters ?? 0
    return conflicts.length === 0 ? RETRY : done({ kind: 'held', conflicts, at, waiters })
  }

  /** Grants what is free; the rows in the way come with the time of that finding. */
  async function send(session: Session, requestIds: string[], args: AcquireArgs) {
    const [, rows] = await session.together([
      requestIds.length === 0 ? Promise.resolve([]) : session.run(statements.forget, { requestIds }),
      session.run(isKeyed(args) ? statements.acquireKeyed : statements.acquire, args)
    ])
    return rows
  }

  /** What is remembered of those requests that bear an id. */
  async function findRequests<C extends AcquireCommand | FindRequestCommand>(session: Session, commands: readonly C[]): Promise<Map<C, CommandResult>> {
    const marked = commands.flatMap((command) => (command.idempotencyKey === null ? [] : [{ command, mark: command.idempotencyKey }]))
    if (marked.length === 0) return new Map()
    const requestIds = marked.map(({ mark }) => mark.id)
    const [, rows] = await session.together([
      session.run(statements.claim, { requestIds, fingerprints: marked.map(({ mark }) => mark.fingerprint) }),
      session.run(statements.findRequest, { requestIds })
    ])
    if (rows.length === 0) return new Map()
    const saved = new Map(rows.map((row) => [row.request_id, savedRequest(row)]))
    const snapshots = await readLatest(
      session,
      [...saved.values()].flatMap((request) => (request instanceof Error ? [] : request.grants.map(([name]) => name)))
    )
    const results = new Map<C, CommandResult>()
    for (const { command, mark } of marked) {
      const request = saved.get(mark.id)
      if (request === undefined) continue
      const result = attempt(() => {
        if (request instanceof Error) throw request
        const before = replayOf(request, mark.fingerprint, snapshots)
        if (before === undefined) return RETRY
        return done(before === 'reused' ? { kind: 'request-id-reused' } : { kind: 'granted', grants: before, replayed: true })
      })
      // A request that has been forgotten meanwhile counts as new.
      if (result.kind !== 'retry') results.set(command, result)
    }
    return results
  }

  async function findRequest(session: Session, command: FindRequestCommand): Promise<FindRequestOutcome> {
    const result = (await findRequests(session, [command])).get(command)
    if (result?.kind === 'failed') throw result.error
    return { kind: 'request-found', before: result?.kind === 'done' ? (result.outcome as Before) : null }
  }

  return { acquire, acquireMany, findRequest }
}

type Before = NonNullable<FindRequestOutcome['before']>

/** Nobody holds the resource, but it is kept for the first in line; or it was only just taken, and the command goes again. */
function keptFor(first: { conflict: Conflict; ticket: number; waiters: number } | undefined, { ticket }: AcquireCommand): CommandResult {
  if (first === undefined || (ticket !== null && first.ticket >= ticket)) return RETRY
  return done({ kind: 'held', conflicts: [first.conflict], at: 0, waiters: first.waiters })
}

/** The error of one that cannot be read, so that it fails only the commands that repeat it. */
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

function done(outcome: AcquireOutcome): CommandResult {
  return { kind: 'done', outcome }
}
