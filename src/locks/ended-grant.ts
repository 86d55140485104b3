import type { NotHeldReason } from './commands.js'
import type { EpochMs, Grant, ProcessId } from './lock.js'

/** The latest grant of a resource as a store remembers it, valid or not. */
export interface LatestGrant extends Grant {
  /** How it ended, when somebody ended it; null while it is valid and also after it expired unseen. */
  readonly ended: 'released' | 'expired' | null
}

/** A grant is valid from being granted until `clock >= expiresAt` or until it was ended. */
export function isValid(latest: LatestGrant, at: EpochMs): boolean {
  return latest.ended === null && (latest.expiresAt === null || latest.expiresAt > at)
}

/** Why that process does not hold that resource at that instant; the same whether or not the sweeper has seen the expiry. */
export function whyNotHeld(latest: LatestGrant | undefined, processId: ProcessId, at: EpochMs): NotHeldReason {
  if (latest === undefined) return 'not_locked'
  if (isValid(latest, at)) return 'held_by_other'
  if (latest.processId !== processId) return 'not_locked'
  return latest.ended ?? 'expired'
}
