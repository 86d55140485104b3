import { NEVER } from '../../migrations/0013-lock-shares.js'
import type { EndReason, EpochMs, Grant, Sharing } from '../locks/lock.js'
import type { EventKind } from '../locks/store.js'
import { earlier, emptyRow, endsOf, grantFromShare, hasTerms, heldEndOf, isShared, later, SlotMap, slotsFromText, slotsToText, type ResourceRow, type ShareRow, type ShareTerms } from './share-rows.js'
import { grantFromRow, KEEP_ENDED_MS, NOBODY, type EventRow } from './tables.js'

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
export type Lease = Pick<ShareRow, 'process_id' | 'expires_at' | 'ttl_ms' | 'metadata' | 'renewals' | 'api_key'> & ShareTerms

/** A grant of all of the resource that has terms allows one permit and takes it. */
const ALL_OF_IT: Sharing = { limit: 1, permits: 1 }

/**
 * One resource at one instant, with the shares that hold it, and what is to be written: the row, the shares and the history.
 *
 * A grant costs the same however many hold the resource: the row sums up its shares, and only those at the edge are read.
 */
export class ShareLedger {
  readonly at: EpochMs
  readonly row: ResourceRow
  /** Those that have changed, by process. */
  readonly shares = new Map<string, ShareRow>()
  readonly events: EventRow[] = []
  changed = false
  protected readonly stored: StoredShares
  #slots: SlotMap
  #settled = false

  /** @param row changes with it. */
  constructor(name: string, at: EpochMs, row: ResourceRow | undefined, stored: StoredShares) {
    this.at = at
    this.row = row ?? emptyRow(name)
    this.stored = stored
    this.#slots = new SlotMap(this.isShared ? this.row.share_slots : null)
  }

  protected get isShared(): boolean {
    return isShared(this.row, this.at)
  }

  /** Ends the shares whose time is over, so that the row counts the others only. */
  protected settle(): void {
    const { at, row } = this
    if (this.#settled || !this.isShared) return
    this.#settled = true
    if (row.share_check_at === null || row.share_check_at > at) return
    for (const share of this.stored.endingBy(at)) if (!this.shares.has(share.process_id)) this.#uncount(share, () => this.pass(share))
    row.share_check_at = this.stored.firstEndAfter(at)
    for (const { is_active, expires_at } of this.shares.values()) if (is_active) row.share_check_at = earlier(row.share_check_at, expires_at)
    this.changed = true
  }

  /** Begins a period of shares; what is left of an earlier one has ended. */
  protected begin(): void {
    const { row } = this
    if (row.id === 0 || (row.share_count ?? 0) > 0) {
      for (const share of this.stored.endingBy(NEVER)) if (!this.shares.has(share.process_id)) this.#uncount(share, () => this.pass(share))
    }
    Object.assign(row, { share_count: 0, share_permits: 0, share_limit: null, share_check_at: null, sweep_at: null })
    this.#slots = new SlotMap(null)
    this.#settled = true
  }

  protected grantAnew(lease: Lease, sharing: Sharing | null, number: number): Grant {
    const { at, row } = this
    if (row.process_id !== NOBODY && row.is_active) this.pushEvent('expired', row.expires_at ?? at, row.id, row.process_id)
    if ((sharing !== null || hasTerms(lease)) && !this.isShared) this.begin()
    const id = Math.max(number, row.id + 1)
    this.tell('granted', id, lease.process_id)
    return this.place(lease, sharing, id, at)
  }

  /** @param asShare a grant of all of the resource is a row of its own among the shares where it has terms. */
  protected place(lease: Lease, sharing: Sharing | null, id: number, locked_at: EpochMs, asShare = sharing !== null || hasTerms(lease)): Grant {
    const { at, row } = this
    const { process_id, expires_at, held_until, delay_ms, hold_at_least_ms, revoke_at, revoke_reason, ttl_ms, metadata, renewals, api_key } = lease
    this.changed = true
    const active = { is_active: true, told_at: at, ended_at: null, end_reason: null }
    if (!asShare) {
      Object.assign(row, { id, process_id, locked_at, expires_at, ttl_ms, metadata, renewals, api_key, sweep_at: expires_at, ...active })
      return grantFromRow(row)
    }
    const { limit: allows, permits } = sharing ?? ALL_OF_IT
    const isFirst = (row.share_count ?? 0) === 0
    const slots = sharing === null || allows === null ? null : slotsToText(this.#slots.take(permits))
    const share: ShareRow = {
      resource_name: row.resource_name, process_id, id, permits, allows, slots, is_exclusive: sharing === null, locked_at, expires_at, ttl_ms, metadata, renewals, api_key,
      sweep_at: held_until ?? expires_at, held_until, delay_ms, hold_at_least_ms, revoke_at, revoke_reason, ...active
    }
    Object.assign(row, { id, process_id: NOBODY, locked_at: at, ttl_ms: null, metadata: null, renewals: 0, api_key: null, ...active })
    row.expires_at = isFirst ? expires_at : later(row.expires_at, expires_at)
    row.sweep_at = earlier(row.sweep_at, row.expires_at)
    row.shared_from = isFirst ? id : row.shared_from
    row.share_count = (row.share_count ?? 0) + 1
    row.share_permits = (row.share_permits ?? 0) + permits
    row.share_limit = earlier(row.share_limit, allows)
    row.share_check_at = earlier(row.share_check_at, expires_at)
    this.change(share)
    return grantFromShare(share)
  }

  /** The grant ends now; the resource is kept until then. */
  protected keep(share: ShareRow, until: EpochMs, end_reason: EndReason): void {
    const { at } = this
    this.change({ ...share, held_until: at, ended_at: at, end_reason, expires_at: until, sweep_at: earlier(share.sweep_at, until) })
    this.moveEnd(share.expires_at, until)
  }

  /** The lease has ended; the resource stays taken for its delay. */
  protected noteExpiry(share: ShareRow): ShareRow {
    const noted: ShareRow = { ...share, ended_at: share.held_until, end_reason: 'expired', sweep_at: share.expires_at }
    this.change(noted)
    this.pushEvent('expired', share.held_until ?? this.at, share.id, share.process_id)
    return noted
  }

  /** The share is over, and what was kept of it. The history says so once, with the end of its lease. */
  protected pass(share: ShareRow): void {
    const { at } = this
    const ended_at = Math.min(heldEndOf(share) ?? at, at)
    if (share.end_reason === null) this.pushEvent('expired', ended_at, share.id, share.process_id)
    this.change({ ...share, is_active: false, ended_at: share.ended_at ?? ended_at, end_reason: share.end_reason ?? 'expired', sweep_at: at + KEEP_ENDED_MS })
  }

  /** Ends a share, and with the last one the resource is free; else its end moves to the last one of those that are left. */
  protected end(share: ShareRow, how: EndReason, kind: EventKind, reason: string | null): void {
    this.endCounted(share, how, kind, reason)
    const { at, row } = this
    if (row.share_count === 0) Object.assign(row, { is_active: false, ended_at: at, end_reason: how, sweep_at: earlier(row.sweep_at, at + KEEP_ENDED_MS) })
    else this.moveEnd(share.expires_at, 0)
  }

  protected endCounted(share: ShareRow, end_reason: EndReason, kind: EventKind, reason: string | null): void {
    const { at } = this
    this.#uncount(share, () => {
      this.change({ ...share, is_active: false, ended_at: share.ended_at ?? at, end_reason: share.end_reason ?? end_reason, sweep_at: earlier(share.sweep_at, at + KEEP_ENDED_MS) })
      this.pushEvent(kind, at, share.id, share.process_id, reason)
    })
  }

  #uncount(share: ShareRow, mark: () => void): void {
    const { row } = this
    this.#slots.free(slotsFromText(share.slots))
    mark()
    row.share_count = (row.share_count ?? 0) - 1
    row.share_permits = (row.share_permits ?? 0) - share.permits
    if (row.share_count === 0) row.share_limit = null
    else if (share.allows !== null && share.allows === row.share_limit) row.share_limit = this.lowestLimit()
  }

  /** The share takes other permits, and keeps its number. */
  protected resize(share: ShareRow, { limit: allows, permits }: Sharing): ShareRow {
    const { row } = this
    this.#slots.free(slotsFromText(share.slots))
    const resized = { ...share, allows, permits, is_exclusive: false, slots: allows === null ? null : slotsToText(this.#slots.take(permits)) }
    this.change(resized)
    row.share_permits = (row.share_permits ?? 0) - share.permits + permits
    row.share_limit = this.lowestLimit()
    return resized
  }

  /** Moves the end of a lease, and of its delay. */
  protected moveLease(share: ShareRow, heldEnd: EpochMs | null, changes: Partial<ShareRow>): ShareRow {
    const moved = { ...share, ...changes, ...endsOf(heldEnd, share.delay_ms), sweep_at: earlier(share.sweep_at, heldEnd) }
    this.change(moved)
    this.moveEnd(share.expires_at, moved.expires_at)
    return moved
  }

  /** The share that ended last has changed: so may the end of all. */
  protected moveEnd(from: EpochMs | null, to: EpochMs | null): void {
    const { row } = this
    const end = from === row.expires_at ? this.#latestEnd() : row.expires_at
    row.expires_at = later(end, to)
    row.sweep_at = earlier(row.sweep_at, row.expires_at)
    row.share_check_at = to === 0 ? row.share_check_at : earlier(row.share_check_at, to)
  }

  #latestEnd(): EpochMs | null {
    const stored = this.stored.lastToEnd(this.shares.size + 1).find(({ process_id }) => !this.shares.has(process_id))
    let end: EpochMs | null = stored === undefined ? 0 : stored.expires_at
    for (const { is_active, expires_at } of this.shares.values()) if (is_active) end = later(end, expires_at)
    return end
  }

  /** @param except whose limit does not count. */
  protected lowestLimit(except?: string): number | null {
    const left = ({ process_id }: { process_id: string }): boolean => !this.shares.has(process_id) && process_id !== except
    let limit = this.stored.lowestLimits(this.shares.size + 2).find(left)?.allows ?? null
    for (const { is_active, allows, process_id } of this.shares.values()) if (is_active && process_id !== except) limit = earlier(limit, allows)
    return limit
  }

  protected change(share: ShareRow): void {
    this.shares.set(share.process_id, share)
    this.row.share_slots = this.#slots.toText()
    this.changed = true
  }

  protected tell(kind: EventKind, lockId: number, process: string, reason: string | null = null): void {
    this.pushEvent(kind, this.at, lockId, process, reason)
  }

  protected pushEvent(kind: EventKind, at: EpochMs, lock_id: number, process_id: string, reason: string | null = null): void {
    this.events.push({ at, kind, resource_name: this.row.resource_name, lock_id, process_id, reason })
  }
}
