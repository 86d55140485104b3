import type { EpochMs, Grant, Metadata, ProcessId, ResourceName, TtlMs } from './lock.js'

/** Take a resource if it is free at the database's clock. The holder's own second request is refused like anybody's. */
export interface AcquireCommand {
  readonly kind: 'acquire'
  readonly resourceName: ResourceName
  readonly processId: ProcessId
  readonly ttlMs: TtlMs
  readonly metadata: Metadata | null
}

export type AcquireOutcome =
  | { readonly kind: 'granted'; readonly grant: Grant }
  | { readonly kind: 'held'; readonly by: Grant; readonly at: EpochMs }

/** End a valid grant of that process; with a lock id, exactly that grant and no later one. */
export interface ReleaseCommand {
  readonly kind: 'release'
  readonly resourceName: ResourceName
  readonly processId: ProcessId
  readonly lockId: number | null
}

export type ReleaseOutcome =
  | { readonly kind: 'released'; readonly grant: Grant; readonly releasedAt: EpochMs }
  | { readonly kind: 'not-held'; readonly reason: NotHeldReason }

/**
 * Why a process does not hold what it named. `expired` and `released` speak of the latest grant of the resource,
 * as long as it was that process's and is still remembered; `held_by_other` says that some other grant is valid now.
 */
export type NotHeldReason = 'not_locked' | 'held_by_other' | 'expired' | 'released'

/** Read one resource. */
export interface InspectCommand {
  readonly kind: 'inspect'
  readonly resourceName: ResourceName
}

/** `grant` is null when the resource is free at the instant `at` of the database's clock. */
export interface InspectOutcome {
  readonly kind: 'inspected'
  readonly at: EpochMs
  readonly grant: Grant | null
}

/**
 * Mark some expired grants as ended and remove some rows that ended a while ago, in one short transaction.
 * Expiry is checked again under the row's lock, so that a grant renewed meanwhile survives.
 */
export interface SweepCommand {
  readonly kind: 'sweep'
  /** At most that many rows. */
  readonly bite: number
}

/** `more`: the bite was full and another one is due at once. */
export interface SweepOutcome {
  readonly kind: 'swept'
  readonly expired: number
  readonly removed: number
  readonly more: boolean
}

export type Command = AcquireCommand | ReleaseCommand | InspectCommand | SweepCommand

/** Which outcome belongs to which command; a new command does not compile before it has a row here. */
interface Outcomes {
  acquire: AcquireOutcome
  release: ReleaseOutcome
  inspect: InspectOutcome
  sweep: SweepOutcome
}

export type OutcomeOf<C extends Command> = Outcomes[C['kind']]
