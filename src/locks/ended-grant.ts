import type { NotHeldReason } from './commands.js'
import type { EpochMs, Grant, ProcessId } from './lock.js'

export type EndReason = 'released' | 'expired' | 'forced'

/** The latest grant of a resource as a store remembers it, valid or not. */
export interface LatestGrant extends Grant {
  /** How it ended, when somebody ended it; null while it is valid and also after it expired unseen. */
  readonly ended: EndReason | null
  /** The name of the key that it belongs to; null for nobody's. */
  readonly key: string | null
}

/** A grant is valid from being granted until `clock >= expiresAt` or until it was ended. */
export function isValid(latest: LatestGrant | undefined, at: EpochMs): latest is LatestGrant {
  return latest !== undefined && latest.ended === null && (latest.expiresAt === null || latest.expiresAt > at)
}

/** Who says to hold a resource: a process, with the name of its key. Null stands for whichever. */
export interface Claim {
  readonly processId: ProcessId | null
  readonly key: string | null
}

/** Whether the grant that a release or a renewal means is valid at that instant. */
export function isMeant(
  latest: LatestGrant | undefined,
  { processId, key, lockId }: Claim & { readonly lockId: number | null },
  at: EpochMs
): latest is LatestGrant {
  if (!isValid(latest, at)) return false
  return (processId ?? latest.processId) === latest.processId && (lockId ?? latest.lockId) === latest.lockId && (key ?? latest.key) === (latest.key ?? key)
}

/**
 * Why that process does not hold that resource at that instant; the same whether or not the sweeper has seen the expiry.
 * A grant that was taken away counts as released. Without a process: why nobody does. How the grant of another key ended is
 * not told.
 */
export function whyNotHeld(latest: LatestGrant | undefined, { processId, key }: Claim, at: EpochMs): NotHeldReason {
  if (latest === undefined) return 'not_locked'
  const valid: boolean = isValid(latest, at)
  if (valid) return 'held_by_other'
  if (processId !== null && latest.processId !== processId) return 'not_locked'
  if (key !== null && latest.key !== null && latest.key !== key) return 'not_locked'
  return (latest.ended ?? 'expired') === 'expired' ? 'expired' : 'released'
}
