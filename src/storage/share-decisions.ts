import type { ConvertCommand, ConvertOutcome, ReleaseCommand, ReleaseOutcome, RenewCommand, RenewOutcome, RevokeCommand, RevokeOutcome } from '../locks/commands.js'
import { isMeant, whyNotHeld, type NotHeldReason, type Revocation } from '../locks/lock.js'
import { grantFromShare, isHeldShare, lastToEnd, whyNoShare, type ShareRow } from './share-rows.js'
import type { SharedResource } from './shared-resource.js'
import { latestFromRow, NOBODY } from './tables.js'

/* What both databases decide about a resource that was read, and is written afterwards where nobody else has changed it. */

/** Releases shares, or a grant of all of the resource that is to be kept. */
export function decideRelease(resource: SharedResource, command: ReleaseCommand, isClaimed: boolean): ReleaseOutcome {
  const { processId, lockId, reason, keepMs, freesAtOnce, unlessClaimed } = command
  const { holder, at } = resource
  const isHolder = isMeant(holder, command, at)
  const all = processId === null && lockId === null
  const share = isHolder || all ? undefined : resource.meant(command)
  const shares = isClaimed ? [] : isHolder ? [resource.adopt()] : all ? resource.allShares() : share === undefined ? [] : [share]
  if (shares.length === 0) return { kind: 'not-held', reason: reasonFor(resource, command) }
  // Who was never told of a grant has done nothing with it.
  const ending = { keepMs, freesAtOnce: freesAtOnce === true || unlessClaimed !== undefined }
  const kept = shares.map((one) => resource.release(one, processId === null ? 'forced' : 'released', reason, ending)).filter((until) => until !== null)
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
