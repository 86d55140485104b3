import { sql, type RawBuilder, type SqlBool } from 'kysely'
import { NEVER } from '../../../migrations/0013-lock-shares.js'
import type { AcquireCommand, Conflict, ConvertCommand, ConvertOutcome, InspectOutcome, ReleaseCommand, ReleaseOutcome, RenewCommand, RenewOutcome, RevokeCommand, RevokeOutcome, Usage } from '../../locks/commands.js'
import type { EpochMs, Grant, ResourceName, Sharing, LockSnapshot } from '../../locks/lock.js'
import type { StoredShares } from '../share-ledger.js'
import { blockerOf, conflictWithShare, hasPassed, hasTerms, inspectedShares, isHeldShare, isShared, latestFromShare, nextEndOf, ROW_COLUMNS, SHARE_COLUMNS, type ResourceRow, type ShareRow } from '../share-rows.js'
import { decideConversion, decideRelease, decideRenewal, decideRevocation, SharedResource } from '../shared-resource.js'
import { conflictOf, KEEP_ENDED_MS, NOBODY } from '../tables.js'
import type { SqliteContext } from './context.js'
import type { WaitQueue } from './wait-queue.js'

/** The columns of a closed row that change while it stays closed. None is in an index. */
const CLOSED_COLUMNS = ['id', 'locked_at', 'expires_at', 'told_at', 'shared_from', 'share_count', 'share_permits', 'share_limit', 'share_check_at', 'share_slots'] as const
/** The columns of a closed row that change when nobody holds it any longer, and of a share that ends. */
const FREED_COLUMNS = ['is_active', 'ended_at', 'end_reason', 'share_count', 'share_permits', 'share_limit', 'share_check_at', 'share_slots'] as const
const ENDED_COLUMNS = ['is_active', 'ended_at', 'end_reason'] as const
/** Holders that are looked at for the one whose end makes a grant possible, before all are. */
const FIRST_HOLDERS = 16

type Arg<Row> = <Name extends keyof Row & string>(name: Name) => RawBuilder<Row[Name]>

const END = sql<number>`coalesce(expires_at, ${sql.lit(NEVER)})`

function valuesOf<Row extends object>(columns: readonly (keyof Row & string)[], arg: Arg<Required<Row>>): Row {
  return Object.fromEntries(columns.map((column) => [column, arg(column)])) as Row
}

function replaced(columns: readonly string[]) {
  return Object.fromEntries(columns.map((column) => [column, sql.ref(`excluded.${column}`)]))
}

function statements(context: SqliteContext) {
  const { db } = context
  const active = (arg: Arg<{ name: string }>) => db.selectFrom('lock_shares').where('resource_name', '=', arg('name')).where(sql<SqlBool>`is_active`)
  return {
    row: context.prepare<{ name: string }, ResourceRow>((arg) => db.selectFrom('resource_locks').select(ROW_COLUMNS).where('resource_name', '=', arg('name'))),
    of: context.prepare<{ name: string; process: string }, ShareRow>((arg) =>
      db.selectFrom('lock_shares').select(SHARE_COLUMNS).where('resource_name', '=', arg('name')).where('process_id', '=', arg('process'))
    ),
    numbered: context.prepare<{ name: string; lockId: number }, ShareRow>((arg) =>
      db.selectFrom('lock_shares').select(SHARE_COLUMNS).where('resource_name', '=', arg('name')).where('id', '=', arg('lockId'))
    ),
    endingBy: context.prepare<{ name: string; until: number }, ShareRow>((arg) => active(arg).select(SHARE_COLUMNS).where(END, '<=', arg('until'))),
    endingAfter: context.prepare<{ name: string; at: number; limit: number }, ShareRow>((arg) =>
      active(arg).select(SHARE_COLUMNS).where(END, '>', arg('at')).orderBy(END).limit(arg('limit'))
    ),
    lastToEnd: context.prepare<{ name: string; limit: number }, ShareRow>((arg) => active(arg).select(SHARE_COLUMNS).orderBy(END, 'desc').limit(arg('limit'))),
    lowestLimits: context.prepare<{ name: string; limit: number }, Pick<ShareRow, 'process_id' | 'allows' | 'expires_at'>>((arg) =>
      active(arg).select(['process_id', 'allows', 'expires_at']).where('allows', 'is not', null).orderBy('allows').limit(arg('limit'))
    ),
    firstEndAfter: context.prepare<{ name: string; at: number }, { end: number }>((arg) =>
      active(arg).select(END.as('end')).where(END, '>', arg('at')).orderBy(END).limit(sql.lit(1))
    ),
    ofProcess: context.prepare<{ process: string; after: string; limit: number; prefix: string; key: string | null }, { resource_name: string }>((arg) =>
      db
        .selectFrom('lock_shares')
        .select('resource_name')
        .where('process_id', '=', arg('process'))
        .where(sql<SqlBool>`is_active`)
        .where('resource_name', '>', arg('after'))
        .where(sql<SqlBool>`substr(resource_name, 1, length(${arg('prefix')})) = ${arg('prefix')}`)
        .where(sql<SqlBool>`(${arg('key')} is null or api_key is null or api_key = ${arg('key')})`)
        .orderBy('resource_name')
        .limit(arg('limit'))
    ),
    due: context.prepare<{ now: number; limit: number }, ShareRow>((arg) =>
      db.selectFrom('lock_shares').select(SHARE_COLUMNS).where('sweep_at', '<=', arg('now')).orderBy('sweep_at').limit(arg('limit'))
    ),
    postpone: context.prepare<{ name: string; process: string; sweepAt: number | null }>((arg) =>
      db.updateTable('lock_shares').set({ sweep_at: arg('sweepAt') }).where('resource_name', '=', arg('name')).where('process_id', '=', arg('process'))
    ),
    remove: context.prepare<{ name: string; process: string }>((arg) =>
      db.deleteFrom('lock_shares').where('resource_name', '=', arg('name')).where('process_id', '=', arg('process'))
    ),
    writeRow: context.prepare<ResourceRow>((arg) =>
      db.insertInto('resource_locks').values(valuesOf<ResourceRow>(ROW_COLUMNS, arg)).onConflict((conflict) => conflict.column('resource_name').doUpdateSet(replaced(ROW_COLUMNS.slice(1))))
    ),
    writeClosed: context.prepare<ResourceRow>((arg) => db.updateTable('resource_locks').set(valuesOf<Partial<ResourceRow>>(CLOSED_COLUMNS, arg)).where('resource_name', '=', arg('resource_name'))),
    writeFreed: context.prepare<ResourceRow>((arg) => db.updateTable('resource_locks').set(valuesOf<Partial<ResourceRow>>(FREED_COLUMNS, arg)).where('resource_name', '=', arg('resource_name'))),
    writeEnded: context.prepare<ShareRow>((arg) =>
      db
        .updateTable('lock_shares')
        .set(valuesOf<Partial<ShareRow>>(ENDED_COLUMNS, arg))
        .where('resource_name', '=', arg('resource_name'))
        .where('process_id', '=', arg('process_id'))
    ),
    writeShare: context.prepare<ShareRow>((arg) =>
      db.insertInto('lock_shares').values(valuesOf<ShareRow>(SHARE_COLUMNS, arg)).onConflict((conflict) => conflict.columns(['resource_name', 'process_id']).doUpdateSet(replaced(SHARE_COLUMNS.slice(2))))
    )
  }
}

/** Shares on SQLite. */
export class Shares {
  readonly #context: SqliteContext
  readonly #queue: WaitQueue
  readonly #statements: ReturnType<typeof statements>

  constructor(context: SqliteContext, queue: WaitQueue) {
    this.#context = context
    this.#queue = queue
    this.#statements = statements(context)
  }

  /** The share of the resource that is asked for, or all of it with terms; or what is in its way. */
  grant(name: ResourceName, sharing: Sharing | null, command: AcquireCommand, now: EpochMs): { grant?: Grant; conflict?: Conflict } {
    const { resource, before } = this.#open(name, now)
    const admitted = resource.admits(command.processId, sharing)
    const grant = admitted ? resource.grant(command, sharing, this.#nextToken()) : undefined
    this.#write(resource, before)
    return grant === undefined ? { conflict: this.#conflictIn(resource, sharing, command.processId) } : { grant }
  }

  /** Takes all of the resource away from its holders. */
  steal(name: ResourceName, command: AcquireCommand, now: EpochMs): ReturnType<SharedResource['steal']> {
    const { resource, before } = this.#open(name, now)
    const outcome = resource.steal(command, this.#nextToken())
    this.#write(resource, before)
    return outcome
  }

  /** What is in the way of a request; undefined if it could be granted, but for those that wait. */
  conflict(name: ResourceName, sharing: Sharing | null, processId: string, now: EpochMs): Conflict | undefined {
    const { resource } = this.#open(name, now)
    return resource.admits(processId, sharing) ? undefined : this.#conflictIn(resource, sharing, processId)
  }

  /** What the shares of a resource amount to; undefined where it is not shared. */
  usage(name: ResourceName, now: EpochMs): Usage | undefined {
    return this.#context.readLatest(name, now).latest?.processId === NOBODY ? this.#open(name, now).resource.usage : undefined
  }

  /** Releases shares of a resource that is held by its shares, or was last held by some; or a grant of all of it that is to be kept. */
  release(command: ReleaseCommand, isClaimed: boolean, now: EpochMs): ReleaseOutcome {
    const { resource, before } = this.#open(command.resourceName, now)
    const outcome = decideRelease(resource, command, isClaimed)
    this.#write(resource, before)
    if (outcome.kind === 'released') this.#queue.wakeHead(command.resourceName, now)
    return outcome
  }

  renew(command: RenewCommand, now: EpochMs): RenewOutcome {
    const { resource, before } = this.#open(command.resourceName, now)
    const outcome = decideRenewal(resource, command, this.#queue.count(command.resourceName, now))
    this.#write(resource, before)
    return outcome
  }

  revoke(command: RevokeCommand, now: EpochMs): RevokeOutcome {
    const { resource, before } = this.#open(command.resourceName, now)
    const outcome = decideRevocation(resource, command)
    this.#write(resource, before)
    // The first waiter learns of the earlier end.
    if (outcome.kind === 'revoked') this.#queue.wakeHead(command.resourceName, now)
    return outcome
  }

  /** The names of which the process may have shares, in their order. */
  namesOf(args: { process: string; after: string; limit: number; prefix: string; key: string | null }): string[] {
    return this.#statements.ofProcess.all(args).map(({ resource_name }) => resource_name)
  }

  convert(command: ConvertCommand, now: EpochMs): ConvertOutcome {
    const { resourceName: name, processId, sharing } = command
    const { resource, before } = this.#open(name, now)
    const outcome = decideConversion(resource, command, () => this.#nextToken())
    this.#write(resource, before)
    if (outcome === undefined) return { kind: 'held', conflicts: [this.#conflictIn(resource, sharing, '', processId)], at: now, waiters: this.#queue.count(name, now) }
    if (outcome.kind === 'converted') this.#queue.wakeHead(name, now)
    return outcome
  }

  inspect(name: ResourceName, now: EpochMs): Pick<InspectOutcome, 'grant' | 'shares' | 'kept'> {
    const { resource } = this.#open(name, now)
    return inspectedShares(resource.allShares(), resource.row, now)
  }

  /** The grant of that number if it is valid, else whatever is the latest of the resource. */
  snapshot(name: string, lockId: number, now: EpochMs): LockSnapshot {
    const snapshot = this.#context.readLatest(name, now)
    const row = snapshot.latest?.processId === NOBODY ? this.#statements.row.get({ name }) : undefined
    if (row === undefined) return snapshot
    const share = this.#statements.numbered.get({ name, lockId })
    return share !== undefined && isShared(row, now) && isHeldShare(share, row, now) ? { at: now, latest: latestFromShare(share) } : { at: now, latest: undefined }
  }

  /** Writes down the expiry of shares, and removes those that ended a while ago. */
  sweep(limit: number, now: EpochMs): { readonly seen: number; readonly expired: number; readonly removed: number } {
    const due = this.#statements.due.all({ now, limit })
    let [expired, removed] = [0, 0]
    const left: ShareRow[] = []
    for (const name of new Set(due.map(({ resource_name }) => resource_name))) {
      const { resource, before } = this.#open(name, now)
      const ofName = due.filter(({ resource_name }) => resource_name === name)
      const passed = ofName.filter((share) => hasPassed(share, now))
      if (passed.length > 0) resource.expire(passed)
      this.#write(resource, before)
      expired += resource.events.filter(({ kind }) => kind === 'expired').length
      left.push(...ofName.filter(({ process_id }) => !resource.shares.has(process_id)))
    }
    for (const { resource_name: name, process_id: process, is_active, ended_at, ...share } of left) {
      const keptUntil = is_active ? nextEndOf(share) : (ended_at ?? 0) + KEEP_ENDED_MS
      if (!is_active && keptUntil !== null && keptUntil <= now) removed += this.#statements.remove.run({ name, process })
      else this.#statements.postpone.run({ name, process, sweepAt: keptUntil })
    }
    return { seen: due.length, expired, removed }
  }

  #nextToken(): number {
    return this.#context.tokens.last + 1
  }

  #open(name: string, now: EpochMs): { readonly resource: SharedResource; readonly before: ResourceRow | undefined } {
    const before = this.#statements.row.get({ name })
    return { resource: new SharedResource(name, now, before === undefined ? undefined : { ...before }, this.#stored(name)), before }
  }

  #stored(name: string): StoredShares {
    const { of, numbered, endingBy, lastToEnd, lowestLimits, firstEndAfter } = this.#statements
    return {
      of: (process) => of.get({ name, process }),
      numbered: (lockId) => numbered.get({ name, lockId }),
      endingBy: (until) => endingBy.all({ name, until }),
      lastToEnd: (limit) => lastToEnd.all({ name, limit }),
      lowestLimits: (limit) => lowestLimits.all({ name, limit }),
      firstEndAfter: (at) => {
        const end = firstEndAfter.get({ name, at })?.end
        return end === undefined || end === NEVER ? null : end
      }
    }
  }

  #write({ changed, row, shares, events }: SharedResource, before: ResourceRow | undefined): void {
    if (!changed) return
    const wasClosed = before !== undefined && before.process_id === row.process_id && Boolean(before.is_active) && before.sweep_at === row.sweep_at
    const { writeRow, writeClosed, writeFreed, writeShare, writeEnded } = this.#statements
    const write = !wasClosed ? writeRow : row.is_active ? writeClosed : writeFreed
    write.run({ ...row, is_active: row.is_active ? 1 : 0 })
    for (const share of shares.values()) {
      // An index entry that need not move is not written.
      const isSweptInTime = !share.is_active && share.sweep_at !== null && share.sweep_at === share.expires_at && !hasTerms(share)
      ;(isSweptInTime ? writeEnded : writeShare).run({ ...share, is_active: share.is_active ? 1 : 0, is_exclusive: share.is_exclusive ? 1 : 0 })
    }
    for (const event of events) this.#context.appendEvent(event)
    const { tokens } = this.#context
    tokens.last = Math.max(tokens.last, row.id)
  }

  /** @param except whose share is not in the way. */
  #conflictIn(resource: SharedResource, sharing: Sharing | null, process: string, except?: string): Conflict {
    const { holder, usage, at, row } = resource
    if (holder !== undefined) return conflictOf(holder)
    const { resource_name: name } = row
    const own = resource.validShareOf(process)
    if (usage === undefined) throw new Error(`'${name}' was neither free nor held`)
    if (own !== undefined) return conflictWithShare(own, usage, row, at)
    const { endingAfter } = this.#statements
    const isFull = sharing !== null && sharing.limit !== null && sharing.limit <= (usage.limit ?? Infinity)
    if (isFull && except === undefined) {
      const first = endingAfter.all({ name, at, limit: FIRST_HOLDERS })
      const used = usage.used - first.reduce((sum, { permits }) => sum + permits, 0)
      const blocker = blockerOf(sharing, process, first, { used, limit: usage.limit })
      if (blocker !== undefined) return conflictWithShare(blocker, usage, row, at)
    }
    const all = endingAfter.all({ name, at, limit: NEVER }).filter(({ process_id }) => process_id !== except)
    const blocker = blockerOf(sharing, process, all) ?? all.at(-1)
    if (blocker === undefined) throw new Error(`nothing was in the way at '${name}'`)
    return conflictWithShare(blocker, usage, row, at)
  }
}
