import type { AcquireCommand, Conflict, ConvertCommand, InspectOutcome, ReleaseCommand, RenewCommand, RevokeCommand } from '../../locks/commands.js'
import { isValid, type EpochMs, type ProcessId, type ResourceName, type Sharing, type LockSnapshot } from '../../locks/lock.js'
import { attempt, RETRY, type CommandResult, done } from '../batcher.js'
import { blockerOf, conflictWithShare, fits, inspectedShares, isHeldShare, isShared, latestFromShare, usageOf, type ResourceRow, type ShareRow } from '../share-rows.js'
import { conflictOf, latestFromRow, NOBODY } from '../tables.js'
import type { QueueRow, shareStatements } from './shares-sql.js'
import type { Session } from './sql.js'
import type { WaitQueue } from './wait-queue.js'

/** What is decided by reading and writing: requests for shares, and whatever else is about a resource that is shared. */
export type ShareCommand = AcquireCommand | ReleaseCommand | RenewCommand | RevokeCommand | ConvertCommand

/** A command that is refused for the holders, or for a waiter before it. */
export interface Refused {
  readonly command: ShareCommand
  readonly why: 'held' | QueueRow
}

/** Holders that are read for a refusal; for the status of a resource, all are. */
const MAX_HOLDERS = 1000
const ALL_HOLDERS = 2 ** 31 - 1

/** Reads who holds shares, without locking any row. */
export class ShareHolders {
  readonly #statements: ReturnType<typeof shareStatements>
  readonly #queue: WaitQueue

  constructor(statements: ReturnType<typeof shareStatements>, queue: WaitQueue) {
    this.#statements = statements
    this.#queue = queue
  }

  /** Says what is in the way of requests whose resources were found shared. */
  conflicts(session: Session, commands: readonly AcquireCommand[]): Promise<CommandResult[]> {
    return this.refuse(session, commands.map((command) => ({ command, why: 'held' })))
  }

  async inspect(session: Session, names: readonly ResourceName[]): Promise<Map<string, Pick<InspectOutcome, 'at' | 'grant' | 'shares' | 'kept'>>> {
    const rows = await session.run(this.#statements.holders, { names: [...names], most: ALL_HOLDERS })
    return new Map(
      rows.map(({ name, at, row, shares }): [string, Pick<InspectOutcome, 'at' | 'grant' | 'shares' | 'kept'>] => {
        const latest = row === null || row.process_id === NOBODY ? undefined : latestFromRow(row)
        if (row === null || shares === null || shares.length === 0) return [name, { at, grant: isValid(latest, at) ? latest : null }]
        return [name, { at, ...inspectedShares(shares.toSorted((a, b) => a.id - b.id), row, at) }]
      })
    )
  }

  /** Finds the valid share of each pair of name and lock id. A restored database may have one id in several resources. */
  async snapshots(session: Session, pairs: readonly (readonly [name: string, lockId: number])[]): Promise<(name: string, lockId: number) => LockSnapshot | undefined> {
    const names = pairs.map(([name]) => name)
    const none = names.map(() => false)
    const [found, shares] = await session.together([
      session.run(this.#statements.read, { names, draws: names.map(() => 0), ends: none, all: none, waits: none, most: 0 }),
      session.run(this.#statements.shares, { names, processes: names.map(() => null), lockIds: pairs.map(([, lockId]) => lockId) })
    ])
    const rows = new Map(found.map((row) => [row.name, row]))
    return (name, lockId) => {
      const row = rows.get(name)
      if (row === undefined) return undefined
      const share = shares.find(({ resource_name, id }) => resource_name === name && id === lockId)
      const isHeld = share !== undefined && row.version !== null && isShared(row, row.at) && isHeldShare(share, row, row.at)
      return { at: row.at, latest: isHeld ? latestFromShare(share) : undefined }
    }
  }

  /** The names of which the process may have shares, in their order. */
  async namesOf(session: Session, args: { process: string; after: string; limit: number; prefix: string; key: string | null }): Promise<string[]> {
    return (await session.run(this.#statements.ofProcess, args)).map(({ resource_name }) => resource_name)
  }

  /** Names what is in the way. A command that nothing is in the way of any longer has to be retried. */
  async refuse(session: Session, refused: readonly Refused[]): Promise<CommandResult[]> {
    const names = [...new Set(refused.map(({ command }) => nameOf(command)))]
    const rows = new Map((await session.run(this.#statements.holders, { names, most: MAX_HOLDERS })).map((row) => [row.name, row]))
    // A waiter behind the head was woken up before the head had joined the queue; the head's own wake-up may never come.
    await this.#queue.wakeHeads(session, refused.flatMap(({ command, why }) => (why !== 'held' && command.kind === 'acquire' && command.ticket !== null ? [nameOf(command)] : [])))
    return refused.map(({ command, why }) =>
      attempt(() => {
        const found = rows.get(nameOf(command))
        if (found === undefined) return RETRY
        const { at, waiters } = found
        const conflict = conflictIn(found, command) ?? (why === 'held' ? undefined : headConflict(nameOf(command), why, found.shares))
        return conflict === undefined ? RETRY : done({ kind: 'held', conflicts: [conflict], at, waiters })
      })
    )
  }
}

interface Holders {
  readonly at: EpochMs
  readonly row: ResourceRow | null
  readonly shares: readonly ShareRow[] | null
}

function conflictIn({ at, row, shares }: Holders, command: ShareCommand): Conflict | undefined {
  const latest = row === null || row.process_id === NOBODY ? undefined : latestFromRow(row)
  if (isValid(latest, at)) return conflictOf(latest)
  if (row === null || shares === null || shares.length === 0) return undefined
  const isConversion = command.kind === 'convert'
  const others = isConversion ? shares.filter(({ process_id }) => process_id !== command.processId) : shares
  const sharing: Sharing | null = isConversion ? command.sharing : command.kind === 'acquire' ? (command.sharing?.[0] ?? null) : null
  const isHolder = command.kind !== 'revoke' && others.some(({ process_id }) => process_id === command.processId)
  if (!isHolder && fits(sharing, usageOf(others))) return undefined
  const blocker = blockerOf(sharing, processOf(command) ?? '', others) ?? others.at(-1)
  return blocker === undefined ? undefined : conflictWithShare(blocker, usageOf(shares), row, at)
}

function headConflict(name: string, { process_id }: QueueRow, shares: readonly ShareRow[] | null): Conflict {
  const usage = shares === null || shares.length === 0 ? {} : { usage: usageOf(shares) }
  return { resourceName: name as ResourceName, processId: process_id as ProcessId, lockId: 0, lockedAt: null, expiresAt: null, ...usage }
}

/** Null for a command about the grant of anybody. */
export function processOf(command: ShareCommand): ProcessId | null {
  return command.kind === 'revoke' ? null : command.processId
}

/** The resource of a command that is about one. */
export function nameOf(command: ShareCommand): ResourceName {
  return command.kind === 'acquire' ? (command.resourceNames[0] ?? ('' as ResourceName)) : command.resourceName
}
