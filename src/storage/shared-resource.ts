import type { AcquireCommand, ConvertCommand, ReleaseCommand, RenewCommand, Usage } from '../locks/commands.js'
import { isMeant, isValid, type EndReason, type EpochMs, type Grant, type LatestGrant, type Sharing } from '../locks/lock.js'
import type { EventKind } from '../locks/store.js'
import { NEVER } from '../../migrations/0013-lock-shares.js'
import { emptyRow, fits, grantFromShare, isShared, isValidShare, latestFromShare, sharingOf, SlotMap, slotsFromText, slotsToText, type ResourceRow, type ShareRow } from './share-rows.js'
import { grantFromRow, KEEP_ENDED_MS, latestFromRow, leaseEnd, metadataToText, NOBODY, RENEWAL_EVENT_INTERVAL_MS, type EventRow } from './tables.js'

/** Where the active shares of one resource are read, as the database has them. */
export interface StoredShares {
  /** The latest share of that process, active or not. */
  of(processId: string): ShareRow | undefined
  numbered(lockId: number): ShareRow | undefined
  /** Those that end then or earlier. */
  endingBy(until: EpochMs): readonly ShareRow[]
  /** At least the first `count`, the last to end first. */
  lastToEnd(count: number): readonly Pick<ShareRow, 'process_id' | 'expires_at'>[]
  /** At least the first `count` of those with a limit, the smallest limit first. */
  lowestLimits(count: number): readonly Pick<ShareRow, 'process_id' | 'allows'>[]
  /** When the first of those ends that end later. */
  firstEndAfter(at: EpochMs): EpochMs | null
}

/** What a conversion leaves as it is. */
type Lease = Pick<ShareRow, 'process_id' | 'expires_at' | 'ttl_ms' | 'metadata' | 'renewals' | 'api_key'>

/** Why a grant was ended by {@link SharedResource.steal}, for the history. */
const STOLEN = 'stolen'

type ShareRequest = Pick<AcquireCommand, 'processId' | 'ttlMs' | 'metadata' | 'key'>

/**
 * One resource at one instant, with the shares that hold it. Decides what is granted, released, renewed and converted, and collects
 * what is to be written: the row, the shares and the history. Nobody else may change the resource between reading and writing.
 *
 * A grant costs the same however many hold the resource: the row sums up its shares, and only those at the edge are read.
 */
export class SharedResource {
  readonly at: EpochMs
  readonly row: ResourceRow
  /** Those that have changed, by process. */
  readonly shares = new Map<string, ShareRow>()
  readonly events: EventRow[] = []
  changed = false
  readonly #stored: StoredShares
  #slots: SlotMap
  #settled = false

  constructor(name: string, at: EpochMs, row: ResourceRow | undefined, stored: StoredShares) {
    this.at = at
    this.row = row === undefined ? emptyRow(name) : { ...row }
    this.#stored = stored
    this.#slots = new SlotMap(this.#isShared ? this.row.share_slots : null)
  }

  get #isShared(): boolean {
    return isShared(this.row, this.at)
  }

  /** The valid exclusive grant. */
  get holder(): LatestGrant | undefined {
    const latest = this.row.process_id === NOBODY ? undefined : latestFromRow(this.row)
    return isValid(latest, this.at) ? latest : undefined
  }

  /** What the valid shares amount to; undefined where the resource is not shared. */
  get usage(): Usage | undefined {
    this.#settle()
    const { share_count, share_permits, share_limit } = this.row
    return this.#isShared ? { holders: share_count ?? 0, used: share_permits ?? 0, limit: share_limit } : undefined
  }

  /** The latest share of that process. */
  shareOf(processId: string): ShareRow | undefined {
    return this.shares.get(processId) ?? this.#stored.of(processId)
  }

  /** The valid share of that process. */
  validShareOf(processId: string): ShareRow | undefined {
    const share = this.shareOf(processId)
    return share !== undefined && this.#isShared && isValidShare(share, this.row, this.at) ? share : undefined
  }

  /** Whether the valid holders admit it. Null asks for all of the resource. */
  admits(processId: string, sharing: Sharing | null): boolean {
    if (this.holder !== undefined || this.validShareOf(processId) !== undefined) return false
    const { usage } = this
    return usage === undefined || fits(sharing, usage)
  }

  /** Grants what {@link admits} admitted. @param number was drawn for it; a larger one is taken where the resource has reached that. */
  grant({ processId, ttlMs, metadata, key }: ShareRequest, sharing: Sharing | null, number: number): Grant {
    const lease = { process_id: processId, expires_at: leaseEnd(this.at, ttlMs), ttl_ms: ttlMs, metadata: metadataToText(metadata), renewals: 0, api_key: key }
    return this.#grantAnew(lease, sharing, number)
  }

  /** Ends every valid grant and makes one of all of the resource. @param number as in {@link grant}. */
  steal(request: ShareRequest, number: number): { readonly grant: Grant; readonly stolen: readonly Grant[] } {
    const { holder, row, at } = this
    const shares = holder === undefined ? this.allShares() : []
    const stolen = holder === undefined ? shares.map(grantFromShare) : [grantFromRow(row)]
    for (const share of shares) this.release(share, 'forced', STOLEN)
    if (holder !== undefined) {
      row.is_active = false
      this.#pushEvent('force_released', at, holder.lockId, holder.processId, STOLEN)
    }
    return { grant: this.grant(request, null, number), stolen }
  }

  /** The valid share that a command means. */
  meant(command: ReleaseCommand | RenewCommand | ConvertCommand): ShareRow | undefined {
    const { processId, lockId } = command
    const process = processId ?? ('holder' in command ? command.holder : undefined)
    const share = process !== undefined ? this.shareOf(process) : lockId === null ? undefined : this.#stored.numbered(lockId)
    const latest = share === undefined ? undefined : (this.shares.get(share.process_id) ?? share)
    return latest !== undefined && this.#isShared && isValidShare(latest, this.row, this.at) && isMeant(latestFromShare(latest), command, this.at) ? latest : undefined
  }

  /** All valid shares, by number. */
  allShares(): ShareRow[] {
    const changed = [...this.shares.values()]
    const stored = this.#stored.endingBy(NEVER).filter(({ process_id }) => !this.shares.has(process_id))
    return [...stored, ...changed].filter((share) => isValidShare(share, this.row, this.at)).toSorted((a, b) => a.id - b.id)
  }

  release(share: ShareRow, how: EndReason, reason: string | null): void {
    this.#settle()
    this.#end(share, this.at, how, how === 'forced' ? 'force_released' : 'released', reason)
    this.#afterEnd(share, how)
  }

  /** Writes down that these expired. */
  expire(shares: readonly ShareRow[]): void {
    this.#settle()
    // Shares of an earlier period are not counted in the row.
    for (const share of shares) if (!this.shares.has(share.process_id)) this.#markEnded(share, share.expires_at ?? this.at, 'expired', 'expired')
  }

  renew(share: ShareRow, { ttlMs, metadata = null, restartLease = false }: Pick<RenewCommand, 'ttlMs' | 'metadata' | 'restartLease'>): Grant {
    this.#settle()
    const ttl_ms = ttlMs === undefined ? share.ttl_ms : ttlMs
    const expires_at = leaseEnd(this.at, ttl_ms)
    // New metadata is always recorded; a lease that restarts is a heartbeat, whatever it brings.
    const isTold = (metadata === null || restartLease) && share.told_at !== null && share.told_at > this.at - RENEWAL_EVENT_INTERVAL_MS && share.told_at <= this.at
    const renewed: ShareRow = {
      ...share,
      expires_at,
      sweep_at: earlier(share.sweep_at, expires_at),
      renewals: share.renewals + 1,
      told_at: isTold ? share.told_at : this.at,
      metadata: metadataToText(metadata) ?? share.metadata,
      ...(restartLease ? { locked_at: this.at, ttl_ms } : {})
    }
    this.#change(renewed)
    if (!isTold) this.#tell('renewed', share.id, share.process_id)
    this.#moveEnd(share.expires_at, expires_at)
    return grantFromShare(renewed)
  }

  /**
   * Converts the valid grant of the process; returns undefined if the other holders do not admit it.
   *
   * @param number was drawn for it.
   */
  convert(command: ConvertCommand, number: number): Grant | undefined {
    const { sharing } = command
    const share = this.meant(command)
    if (share === undefined) return this.#convertExclusive(sharing)
    const { limit, permits } = sharingOf(share)
    if (sharing !== null && sharing.limit === limit && sharing.permits === permits) return grantFromShare(share)
    this.#settle()
    const { share_count, share_permits } = this.row
    const others = { holders: (share_count ?? 0) - 1, used: (share_permits ?? 0) - permits, limit: this.#lowestLimit(share.process_id) }
    if (!fits(sharing, others)) return undefined
    this.#end(share, this.at, 'released', 'released', 'converted')
    if (sharing === null) this.row.is_active = false
    return this.#grantAnew(share, sharing, number)
  }

  #convertExclusive(sharing: Sharing | null): Grant {
    const { holder, row } = this
    if (holder === undefined) throw new Error(`'${row.resource_name}' is not held`)
    if (sharing === null) return grantFromRow(row)
    const lease: Lease = { ...row }
    row.is_active = false
    this.#begin()
    this.#tell('converted', holder.lockId, holder.processId)
    return this.#place(lease, sharing, holder.lockId, holder.lockedAt)
  }

  /** Ends the shares whose leases have ended, so that the row counts valid ones only. */
  #settle(): void {
    const { at, row } = this
    if (this.#settled || !this.#isShared) return
    this.#settled = true
    if (row.share_check_at === null || row.share_check_at > at) return
    for (const share of this.#stored.endingBy(at)) if (!this.shares.has(share.process_id)) this.#end(share, share.expires_at ?? at, 'expired', 'expired')
    row.share_check_at = this.#stored.firstEndAfter(at)
    for (const { is_active, expires_at } of this.shares.values()) if (is_active) row.share_check_at = earlier(row.share_check_at, expires_at)
    this.changed = true
  }

  /** Begins a period of shares; what is left of an earlier one has ended. */
  #begin(): void {
    const { at, row } = this
    if (row.id === 0 || (row.share_count ?? 0) > 0) {
      for (const share of this.#stored.endingBy(NEVER)) if (!this.shares.has(share.process_id)) this.#end(share, Math.min(share.expires_at ?? at, at), 'expired', 'expired')
    }
    Object.assign(row, { share_count: 0, share_permits: 0, share_limit: null, share_check_at: null, sweep_at: null })
    this.#slots = new SlotMap(null)
    this.#settled = true
  }

  #grantAnew(lease: Lease, sharing: Sharing | null, number: number): Grant {
    const { at, row } = this
    if (row.process_id !== NOBODY && row.is_active) this.#pushEvent('expired', row.expires_at ?? at, row.id, row.process_id)
    if (sharing !== null && !this.#isShared) this.#begin()
    const id = Math.max(number, row.id + 1)
    this.#tell('granted', id, lease.process_id)
    return this.#place(lease, sharing, id, at)
  }

  #place({ process_id, expires_at, ttl_ms, metadata, renewals, api_key }: Lease, sharing: Sharing | null, id: number, locked_at: EpochMs): Grant {
    const { at, row } = this
    this.changed = true
    const active = { is_active: true, told_at: at, ended_at: null, end_reason: null }
    if (sharing === null) {
      Object.assign(row, { id, process_id, locked_at, expires_at, ttl_ms, metadata, renewals, api_key, sweep_at: expires_at, ...active })
      return grantFromRow(row)
    }
    const { limit: allows, permits } = sharing
    const isFirst = (row.share_count ?? 0) === 0
    const slots = allows === null ? null : slotsToText(this.#slots.take(permits))
    const share: ShareRow = { resource_name: row.resource_name, process_id, id, permits, allows, slots, locked_at, expires_at, ttl_ms, metadata, renewals, api_key, sweep_at: expires_at, ...active }
    Object.assign(row, { id, process_id: NOBODY, locked_at: at, ttl_ms: null, metadata: null, renewals: 0, api_key: null, ...active })
    row.expires_at = isFirst ? expires_at : later(row.expires_at, expires_at)
    row.sweep_at = earlier(row.sweep_at, row.expires_at)
    row.shared_from = isFirst ? id : row.shared_from
    row.share_count = (row.share_count ?? 0) + 1
    row.share_permits = (row.share_permits ?? 0) + permits
    row.share_limit = earlier(row.share_limit, allows)
    row.share_check_at = earlier(row.share_check_at, expires_at)
    this.#change(share)
    return grantFromShare(share)
  }

  #markEnded(share: ShareRow, ended_at: EpochMs, end_reason: EndReason, kind: EventKind, reason: string | null = null): void {
    const sweep_at = end_reason === 'expired' ? this.at + KEEP_ENDED_MS : earlier(share.sweep_at, this.at + KEEP_ENDED_MS)
    this.#change({ ...share, is_active: false, ended_at, end_reason, sweep_at })
    this.#pushEvent(kind, ended_at, share.id, share.process_id, reason)
  }

  #end(share: ShareRow, ...how: [ended_at: EpochMs, end_reason: EndReason, kind: EventKind, reason?: string | null]): void {
    const { row } = this
    this.#slots.free(slotsFromText(share.slots))
    this.#markEnded(share, ...how)
    row.share_count = (row.share_count ?? 0) - 1
    row.share_permits = (row.share_permits ?? 0) - share.permits
    if (share.allows !== null && share.allows === row.share_limit) row.share_limit = this.#lowestLimit()
  }

  /** Frees the resource with its last share, or moves its end to the last one of those that are left. */
  #afterEnd({ expires_at }: ShareRow, end_reason: EndReason): void {
    const { at, row } = this
    if (row.share_count === 0) Object.assign(row, { is_active: false, ended_at: at, end_reason, sweep_at: earlier(row.sweep_at, at + KEEP_ENDED_MS) })
    else this.#moveEnd(expires_at, 0)
  }

  /** The lease that ended last has changed: so may the end of all. */
  #moveEnd(from: EpochMs | null, to: EpochMs | null): void {
    const { row } = this
    const end = from === row.expires_at ? this.#latestEnd() : row.expires_at
    row.expires_at = later(end, to)
    row.sweep_at = earlier(row.sweep_at, row.expires_at)
    row.share_check_at = to === 0 ? row.share_check_at : earlier(row.share_check_at, to)
  }

  #latestEnd(): EpochMs | null {
    const stored = this.#stored.lastToEnd(this.shares.size + 1).find(({ process_id }) => !this.shares.has(process_id))
    let end: EpochMs | null = stored === undefined ? 0 : stored.expires_at
    for (const { is_active, expires_at } of this.shares.values()) if (is_active) end = later(end, expires_at)
    return end
  }

  /** @param except whose limit does not count. */
  #lowestLimit(except?: string): number | null {
    const left = ({ process_id }: { process_id: string }): boolean => !this.shares.has(process_id) && process_id !== except
    let limit = this.#stored.lowestLimits(this.shares.size + 2).find(left)?.allows ?? null
    for (const { is_active, allows, process_id } of this.shares.values()) if (is_active && process_id !== except) limit = earlier(limit, allows)
    return limit
  }

  #change(share: ShareRow): void {
    this.shares.set(share.process_id, share)
    this.row.share_slots = this.#slots.toText()
    this.changed = true
  }

  #tell(kind: EventKind, lockId: number, process: string): void {
    this.#pushEvent(kind, this.at, lockId, process)
  }

  #pushEvent(kind: EventKind, at: EpochMs, lock_id: number, process_id: string, reason: string | null = null): void {
    this.events.push({ at, kind, resource_name: this.row.resource_name, lock_id, process_id, reason })
  }
}

/** The smaller of two values of which null is the largest. */
function earlier(a: number | null, b: number | null): number | null {
  return a === null || (b !== null && b < a) ? b : a
}

/** The larger of two values of which null is the largest. */
function later(a: number | null, b: number | null): number | null {
  return a === null || b === null ? null : Math.max(a, b)
}
