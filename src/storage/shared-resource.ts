import { NEVER } from '../../migrations/0013-lock-shares.js'
import type { AcquireCommand, ConvertCommand, ReleaseCommand, RenewCommand, RevokeCommand, Usage, ConvertOutcome, ReleaseOutcome, RenewOutcome, RevokeOutcome } from '../locks/commands.js'
import { fitsClaim, isMeant, isValid, type EndReason, type EpochMs, type Grant, type LatestGrant, type ProcessId, type Sharing, whyNotHeld, type NotHeldReason, type Revocation } from '../locks/lock.js'
import { ShareLedger, type Lease } from './share-ledger.js'
import { earlier, endsOf, fits, grantFromShare, hasPassed, heldEndOf, isHeldShare, NO_TERMS, sharingOf, takesPermits, type ShareRow, lastToEnd, whyNoShare } from './share-rows.js'
import { grantFromRow, latestFromRow, leaseEnd, metadataToText, NOBODY, RENEWAL_EVENT_INTERVAL_MS } from './tables.js'

/** Why a grant was ended by {@link SharedResource.steal}, for the history. */
const STOLEN = 'stolen'

type ShareRequest = Pick<AcquireCommand, 'processId' | 'ttlMs' | 'metadata' | 'key' | 'terms'>

/** How a release treats what the grant's terms say about its end. */
interface Ending {
  /** Keeps the resource for that long, in milliseconds. */
  readonly keepMs?: number | undefined
  /** Whatever the terms say. */
  readonly freesAtOnce?: boolean | undefined
}

/**
 * One resource at one instant, with the shares that hold it. Decides what is granted, released, renewed, revoked and converted. Nobody
 * else may change the resource between reading and writing.
 */
export class SharedResource extends ShareLedger {
  /** The valid exclusive grant, where it is in the row. */
  get holder(): LatestGrant | undefined {
    const latest = this.row.process_id === NOBODY ? undefined : latestFromRow(this.row)
    return isValid(latest, this.at) ? latest : undefined
  }

  /** What the shares amount to, kept ones included; undefined where the resource is not shared. */
  get usage(): Usage | undefined {
    this.settle()
    const { share_count, share_permits, share_limit } = this.row
    return this.isShared ? { holders: share_count ?? 0, used: share_permits ?? 0, limit: share_limit } : undefined
  }

  /** The latest share of that process. */
  shareOf(processId: string): ShareRow | undefined {
    return this.shares.get(processId) ?? this.stored.of(processId)
  }

  /** The share of that process that is valid, or kept. */
  validShareOf(processId: string): ShareRow | undefined {
    const share = this.isShared ? this.shareOf(processId) : undefined
    return takesPermits(share, this.row, this.at) ? share : undefined
  }

  /** Whether the holders admit it. Null asks for all of the resource. */
  admits(processId: string, sharing: Sharing | null): boolean {
    if (this.holder !== undefined || this.validShareOf(processId) !== undefined) return false
    const { usage } = this
    return usage === undefined || fits(sharing, usage)
  }

  /** Grants what {@link admits} admitted. @param number was drawn for it; a larger one is taken where the resource has reached that. */
  grant({ processId, ttlMs, metadata, key, terms }: ShareRequest, sharing: Sharing | null, number: number): Grant {
    const { lockDelayMs = 0, holdAtLeastMs = 0 } = terms ?? {}
    const delay_ms = lockDelayMs === 0 ? null : lockDelayMs
    const { held_until, expires_at } = endsOf(leaseEnd(this.at, ttlMs), delay_ms)
    const lease: Lease = {
      process_id: processId, expires_at, ttl_ms: ttlMs, metadata: metadataToText(metadata), renewals: 0, api_key: key,
      held_until, delay_ms, hold_at_least_ms: holdAtLeastMs === 0 ? null : holdAtLeastMs, revoke_at: null, revoke_reason: null
    }
    return this.grantAnew(lease, sharing, number)
  }

  /** Ends every valid grant and makes one of all of the resource. @param number as in {@link grant}. */
  steal(request: ShareRequest, number: number): { readonly grant: Grant; readonly stolen: readonly Grant[] } {
    const { holder, row, at } = this
    const shares = holder === undefined ? this.allShares() : []
    const stolen = holder === undefined ? shares.filter((share) => isHeldShare(share, row, at)).map(grantFromShare) : [grantFromRow(row)]
    for (const share of shares) this.release(share, 'forced', STOLEN, { freesAtOnce: true })
    if (holder !== undefined) {
      row.is_active = false
      this.pushEvent('force_released', at, holder.lockId, holder.processId, STOLEN)
    }
    return { grant: this.grant(request, null, number), stolen }
  }

  /** The valid share that a command means; one that is kept too where the command takes it from anybody. */
  meant(command: ReleaseCommand | RenewCommand | RevokeCommand | ConvertCommand): ShareRow | undefined {
    const { lockId } = command
    const processId = command.kind === 'revoke' ? null : command.processId
    const process = processId ?? ('holder' in command ? command.holder : undefined)
    const share = process !== undefined ? this.shareOf(process) : lockId === null ? undefined : this.stored.numbered(lockId)
    const latest = share === undefined ? undefined : (this.shares.get(share.process_id) ?? share)
    if (latest === undefined || !this.isShared || !takesPermits(latest, this.row, this.at)) return undefined
    const { process_id, id, api_key } = latest
    if (!isHeldShare(latest, this.row, this.at)) return command.kind === 'release' && processId === null && id === (lockId ?? id) ? latest : undefined
    const claim = { processId, lockId, key: 'key' in command ? command.key : null }
    return fitsClaim({ processId: process_id as ProcessId, lockId: id, key: api_key }, claim) ? latest : undefined
  }

  /** All shares that are valid or kept, by number. */
  allShares(): ShareRow[] {
    const changed = [...this.shares.values()]
    const stored = this.isShared ? this.stored.endingBy(NEVER).filter(({ process_id }) => !this.shares.has(process_id)) : []
    return [...stored, ...changed].filter((share) => takesPermits(share, this.row, this.at)).toSorted((a, b) => a.id - b.id)
  }

  /** Returns until when the resource is kept, or null. */
  release(share: ShareRow, how: EndReason, reason: string | null, { keepMs = 0, freesAtOnce = false }: Ending = {}): EpochMs | null {
    this.settle()
    const { at } = this
    const kind = how === 'forced' ? 'force_released' : 'released'
    const until = how === 'forced' ? at + (share.delay_ms ?? 0) : Math.max(at + keepMs, share.locked_at + (share.hold_at_least_ms ?? 0))
    if (until > at && !freesAtOnce && isHeldShare(share, this.row, at)) {
      this.keep(share, until, how)
      this.tell(kind, share.id, share.process_id, reason)
      return until
    }
    // Taken away within its lock delay, its lease has ended before, whether or not the sweeper has been there.
    this.end(hasPassed(share, at) ? this.noteExpiry(share) : share, how, kind, reason)
    return null
  }

  /** Makes a share of the exclusive grant in the row, so that terms can be added to it. */
  adopt(): ShareRow {
    const { holder, row } = this
    if (holder === undefined) throw new Error(`'${row.resource_name}' is not held`)
    const { told_at } = row
    const lease: Lease = { ...row, ...NO_TERMS }
    row.is_active = false
    this.begin()
    this.place(lease, null, holder.lockId, holder.lockedAt, true)
    const share = this.shares.get(holder.processId)
    if (share === undefined) throw new Error(`'${row.resource_name}' has no share`)
    share.told_at = told_at
    return share
  }

  /** From now on no renewal moves the end past that of the grace. A second one may only shorten it. */
  revoke(share: ShareRow, reason: string, graceMs: number): ShareRow {
    this.settle()
    const revoke_at = Math.min(this.at + graceMs, share.revoke_at ?? Infinity)
    this.tell('revoked', share.id, share.process_id, reason)
    return this.moveLease(share, earlier(heldEndOf(share), revoke_at), { revoke_at, revoke_reason: reason })
  }

  /** Writes down that the leases of these have ended. */
  expire(shares: readonly ShareRow[]): void {
    this.settle()
    // Shares of an earlier period are not counted in the row.
    for (const share of shares) {
      if (this.shares.has(share.process_id)) continue
      if (share.expires_at !== null && share.expires_at > this.at) this.noteExpiry(share)
      else this.pass(share)
    }
  }

  renew(share: ShareRow, { ttlMs, metadata = null, restartLease = false }: Pick<RenewCommand, 'ttlMs' | 'metadata' | 'restartLease'>): ShareRow {
    this.settle()
    const ttl_ms = ttlMs === undefined ? share.ttl_ms : ttlMs
    // New metadata is always recorded; a lease that restarts is a heartbeat, whatever it brings.
    const isTold = (metadata === null || restartLease) && share.told_at !== null && share.told_at > this.at - RENEWAL_EVENT_INTERVAL_MS && share.told_at <= this.at
    if (!isTold) this.tell('renewed', share.id, share.process_id)
    return this.moveLease(share, earlier(leaseEnd(this.at, ttl_ms), share.revoke_at), {
      renewals: share.renewals + 1,
      told_at: isTold ? share.told_at : this.at,
      metadata: metadataToText(metadata) ?? share.metadata,
      ...(restartLease ? { locked_at: this.at, ttl_ms } : {})
    })
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
    if (share.is_exclusive ? sharing === null : sharing !== null && sharing.limit === limit && sharing.permits === permits) return grantFromShare(share)
    this.settle()
    if (share.is_exclusive && sharing !== null) {
      this.tell('converted', share.id, share.process_id)
      return grantFromShare(this.resize(share, sharing))
    }
    const { share_count, share_permits } = this.row
    const others = { holders: (share_count ?? 0) - 1, used: (share_permits ?? 0) - permits, limit: this.lowestLimit(share.process_id) }
    if (!fits(sharing, others)) return undefined
    this.endCounted(share, 'released', 'released', 'converted')
    if (sharing === null) this.row.is_active = false
    return this.grantAnew(share, sharing, number)
  }

  #convertExclusive(sharing: Sharing | null): Grant {
    const { holder, row } = this
    if (holder === undefined) throw new Error(`'${row.resource_name}' is not held`)
    if (sharing === null) return grantFromRow(row)
    const lease: Lease = { ...row, ...NO_TERMS }
    row.is_active = false
    this.begin()
    this.tell('converted', holder.lockId, holder.processId)
    return this.place(lease, sharing, holder.lockId, holder.lockedAt)
  }
}

/* What both databases decide about a resource that was read, and is written afterwards where nobody else has changed it. */

/** Releases shares, or a grant of all of the resource that is to be kept. */
export function decideRelease(resource: SharedResource, command: ReleaseCommand, isClaimed: boolean): ReleaseOutcome {
  const { processId, lockId, reason } = command
  const { holder, at } = resource
  const isHolder = isMeant(holder, command, at)
  const all = processId === null && lockId === null
  const share = isHolder || all ? undefined : resource.meant(command)
  const shares = isClaimed ? [] : isHolder ? [resource.adopt()] : all ? resource.allShares() : share === undefined ? [] : [share]
  if (shares.length === 0) return { kind: 'not-held', reason: reasonFor(resource, command) }
  const kept = shares.map((one) => resource.release(one, processId === null ? 'forced' : 'released', reason, command)).filter((until) => until !== null)
  return {
    kind: 'released',
    grant: grantFromShare(lastToEnd(shares)),
    releasedAt: at,
    ...(processId === null && !shares.some(({ is_exclusive }) => is_exclusive) ? { all: shares.map(grantFromShare) } : {}),
    ...(kept.length === 0 ? {} : { freeAt: Math.max(...kept) })
  }
}

/** @param waiters is known once it is written. */
export function decideRenewal(resource: SharedResource, command: RenewCommand, waiters: number): RenewOutcome {
  const share = resource.meant(command)
  if (share === undefined) return { kind: 'not-held', reason: reasonFor(resource, command) }
  const renewed = resource.renew(share, command)
  return { kind: 'renewed', grant: grantFromShare(renewed), renewedAt: resource.at, waiters, revoked: revocationOf(renewed) }
}

export function decideRevocation(resource: SharedResource, command: RevokeCommand): RevokeOutcome {
  const { lockId, reason, graceMs } = command
  const { holder, row, at } = resource
  const isHolder = isMeant(holder, { ...command, processId: null, key: null }, at)
  const share = isHolder || lockId === null ? undefined : resource.meant(command)
  const shares = isHolder ? [resource.adopt()] : lockId === null ? resource.allShares().filter((one) => isHeldShare(one, row, at)) : share === undefined ? [] : [share]
  const revoked = shares.map((one) => resource.revoke(one, reason, graceMs))
  if (revoked.length === 0) return { kind: 'not-held', reason: reasonFor(resource, { ...command, processId: null, key: null }) }
  const last = lastToEnd(revoked)
  return { kind: 'revoked', grant: grantFromShare(last), revocation: revocationOf(last) ?? { at, reason }, all: revoked.map(grantFromShare) }
}

/** @param number draws one. @returns undefined if the other holders do not admit it. */
export function decideConversion(resource: SharedResource, command: ConvertCommand, number: () => number): ConvertOutcome | undefined {
  const { holder, at } = resource
  if (!isMeant(holder, command, at) && resource.meant(command) === undefined) return { kind: 'not-held', reason: reasonFor(resource, command) }
  const grant = resource.convert(command, number())
  return grant === undefined ? undefined : { kind: 'converted', grant }
}

function revocationOf({ revoke_at, revoke_reason }: ShareRow): Revocation | null {
  return revoke_at === null ? null : { at: revoke_at, reason: revoke_reason ?? '' }
}

function reasonFor(resource: SharedResource, command: Pick<ReleaseCommand, 'processId' | 'key'>): NotHeldReason {
  const { row, at } = resource
  if (row.process_id !== NOBODY) return whyNotHeld(latestFromRow(row), command, at)
  return whyNoShare(row, resource.shareOf(command.processId ?? ''), command, at)
}
