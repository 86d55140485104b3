import type { NotHeldReason } from './commands.js'
import type { EpochMs, Grant, ProcessId } from './lock.js'

export type EndReason = 'released' | 'expired' | 'forced'

/** The latest grant of a resource as a store remembers it, valid or not. */
export interface LatestGrant extends Grant {
  /** How it ended, when somebody ended it; null while it is valid and also after it expired unseen. */
  readonly ended: EndReason | null
}

/** A grant is valid from being granted until `clock >= expiresAt` or until it was ended. */
export function isValid(latest: LatestGrant | undefined, at: EpochMs): latest is LatestGrant {
  return latest !== undefined && latest.ended === null && (latest.expiresAt === null || latest.expiresAt > at)
}

/**
 * Why that process does not hold that resource at that instant; the same whether or not the sweeper has seen the expiry.
 * A grant that was taken away counts as released. Without a process: why nobody does.
 */
export function whyNotHeld(latest: LatestGrant | undefined, processId: ProcessId | null, at: EpochMs): NotHeldReason {
  if (latest === undefined) return 'not_locked'
  const valid: boolean = isValid(latest, at)
  if (valid) return 'held_by_other'
  if (processId !== null && latest.processId !== processId) return 'not_locked'
  return (latest.ended ?? 'expired') === 'expired' ? 'expired' : 'released'
}
