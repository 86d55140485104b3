import type { EpochMs, Grant, Metadata, NotHeldReason, ProcessId, ResourceName, TtlMs } from './lock.js'

/** Marks a request so that its repetition is recognised: the caller's own id, and a digest of all that was asked for. */
export interface IdempotencyKey {
  readonly id: string
  readonly fingerprint: string
}

/** Take all of the named resources if all are free at the database's clock, or none. A holder's own second request is refused too. */
export interface AcquireCommand {
  readonly kind: 'acquire'
  /** At least one, all different. They share one transaction: who takes them from a caller bounds their number. */
  readonly resourceNames: readonly ResourceName[]
  readonly processId: ProcessId
  readonly ttlMs: TtlMs
  readonly metadata: Metadata | null
  readonly idempotencyKey: IdempotencyKey | null
  /** The place in line from which it asks; null asks from behind everybody who waits. */
  readonly ticket: number | null
  /** The name of the key to which the grants will belong; null for nobody's. */
  readonly key: string | null
}

/** What stands in the way of a request: a valid grant, or a free resource that is kept for the first in line (`lockId` 0). */
export interface Conflict {
  readonly resourceName: ResourceName
  /** Who holds it, or whose turn it is. */
  readonly processId: ProcessId
  readonly lockId: number
  readonly lockedAt: EpochMs | null
  readonly expiresAt: EpochMs | null
}

export type AcquireOutcome =
  /** In the order of the names. `replayed`: an earlier request with this mark was granted them, and they are still held. */
  | { readonly kind: 'granted'; readonly grants: readonly Grant[]; readonly replayed: boolean }
  /** What stood in the way, at least one; nothing was granted. `waiters`: how many wait for the first of them. */
  | { readonly kind: 'held'; readonly conflicts: readonly Conflict[]; readonly at: EpochMs; readonly waiters: number }
  /** The request's id is remembered for other content, or for grants that have ended since. */
  | { readonly kind: 'request-id-reused' }
  /** The place of the ticket was given up on behalf of its process, see {@link DequeueAllCommand}; nothing was granted. */
  | { readonly kind: 'dequeued' }

/** Look for an earlier request with that mark, and claim its grants as a repetition does. */
export interface FindRequestCommand {
  readonly kind: 'find-request'
  readonly idempotencyKey: IdempotencyKey
}

export interface FindRequestOutcome {
  readonly kind: 'request-found'
  /** What a repetition is answered; null where the mark is not remembered. */
  readonly before: Extract<AcquireOutcome, { kind: 'granted' | 'request-id-reused' }> | null
}

/** End a valid grant; with a lock id, exactly that grant and no later one. */
export interface ReleaseCommand {
  readonly kind: 'release'
  readonly resourceName: ResourceName
  /** Only a grant of this process; null takes it away from whoever holds it. */
  readonly processId: ProcessId | null
  readonly lockId: number | null
  /** Why a grant is taken away, for the history. */
  readonly reason: string | null
  /** The request that it was granted for: it stays when a repetition of that was answered with it meanwhile. */
  readonly unlessClaimed?: IdempotencyKey | undefined
  /** Only a grant that belongs to the key of this name, or to nobody; null: whoever's it is. */
  readonly key: string | null
}

export type ReleaseOutcome =
  | { readonly kind: 'released'; readonly grant: Grant; readonly releasedAt: EpochMs }
  | { readonly kind: 'not-held'; readonly reason: NotHeldReason }

/** End several grants in one transaction, each as its own command says; what is not held does not keep the others from ending. */
export interface ReleaseManyCommand {
  readonly kind: 'release-many'
  readonly releases: readonly ReleaseCommand[]
}

/** In the order of the releases. */
export interface ReleaseManyOutcome {
  readonly kind: 'released-many'
  readonly outcomes: readonly ReleaseOutcome[]
}

/** Move the end of a valid grant; never brings an ended one back. The number stays. */
export interface RenewCommand {
  readonly kind: 'renew'
  readonly resourceName: ResourceName
  readonly processId: ProcessId
  /** From now; undefined takes the lease with which the grant was made. */
  readonly ttlMs: TtlMs | undefined
  readonly lockId: number | null
  /** As in {@link ReleaseCommand}. */
  readonly key: string | null
  /** Count the grant from now on: `lockedAt` and the lease with which it was made become those of the renewal. */
  readonly restartLease?: LeaseRestart | undefined
}

export interface LeaseRestart {
  /** Takes the place of what the grant has; null keeps that. */
  readonly metadata: Metadata | null
}

export type RenewOutcome =
  | { readonly kind: 'renewed'; readonly grant: Grant; readonly renewedAt: EpochMs }
  | { readonly kind: 'not-held'; readonly reason: NotHeldReason }

/** Renew several grants together, each as its own command says; what is not held does not keep the others from being renewed. */
export interface RenewManyCommand {
  readonly kind: 'renew-many'
  /** For different names. */
  readonly renewals: readonly RenewCommand[]
}

/** In the order of the renewals. */
export interface RenewManyOutcome {
  readonly kind: 'renewed-many'
  readonly outcomes: readonly RenewOutcome[]
}

/** Move the ends of the next grants of a process, in name order. */
export interface RenewAllCommand {
  readonly kind: 'renew-all'
  readonly processId: ProcessId
  readonly ttlMs: TtlMs | undefined
  /** Only names after this one, bytewise; empty begins at the start. */
  readonly after: string
  /** At most that many grants. */
  readonly limit: number
  /** Only names that begin with this text; empty takes all. */
  readonly prefix: string
  /** As in {@link ReleaseCommand}. */
  readonly key: string | null
}

export interface RenewAllOutcome {
  readonly kind: 'renewed-all'
  readonly renewals: readonly { readonly grant: Grant; readonly renewedAt: EpochMs }[]
}

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
  /** How many wait in line for it. */
  readonly waiters: number
}

/**
 * Take a place in line for all of the named resources. A request whose mark left a place a short while ago gets that place
 * back. Whoever waits asks again with its ticket: at once, since the resource may have become free meanwhile, and whenever
 * it is woken.
 */
export interface EnqueueCommand {
  readonly kind: 'enqueue'
  readonly resourceNames: readonly ResourceName[]
  readonly processId: ProcessId
  readonly idempotencyKey: IdempotencyKey | null
  /** The name of the key of whoever asks; null for nobody's. */
  readonly key: string | null
  /** Takes a kept place again, and no new one. */
  readonly onlyKept: boolean
}

export interface EnqueueOutcome {
  readonly kind: 'enqueued'
  /** Smaller tickets are served first. Null where only a kept place was wanted and there is none. */
  readonly ticket: number | null
}

/** How long a place is kept for a request that may come back, in milliseconds. */
export const KEEP_PLACE_MS = 10_000

/** Leave the line, or keep the places for {@link KEEP_PLACE_MS}. */
export interface DequeueCommand {
  readonly kind: 'dequeue'
  readonly tickets: readonly number[]
  /** The request that will come back. No place is kept for it where it has another one. */
  readonly keepFor: IdempotencyKey | null
}

export interface DequeueOutcome {
  readonly kind: 'dequeued'
  /** The place in line that was left, 1 being the next to be served: of the first ticket and its longest line. 0 where there was none. */
  readonly position: number
}

/** Give up every place of this instance that is neither one of these nor kept for a request that is to come back. */
export interface PurgeTicketsCommand {
  readonly kind: 'purge-tickets'
  readonly tickets: readonly number[]
}

export interface PurgeTicketsOutcome {
  readonly kind: 'purged-tickets'
}

/**
 * Remove a process from the queues, on all instances: kept places go at once, and a request that waits is called, is told
 * `dequeued` when it asks, and is never granted anything from that place again. What such a request was granted before is
 * committed when this is answered.
 */
export interface DequeueAllCommand {
  readonly kind: 'dequeue-all'
  readonly processId: ProcessId
  /** Only requests of which every name begins with this text; empty takes all. */
  readonly prefix: string
  /** Only requests that were made with the key of this name, or with none; null: whoever's. */
  readonly key: string | null
}

export interface DequeueAllOutcome {
  readonly kind: 'dequeued-all'
  /** How many requests lost their places. */
  readonly requests: number
}

/** Say that this instance lives, so that its waiters keep their places. */
export interface HeartbeatCommand {
  readonly kind: 'heartbeat'
}

export interface HeartbeatOutcome {
  readonly kind: 'heartbeat-sent'
}

/**
 * Mark some expired grants as ended; remove some rows that ended a while ago, requests remembered long enough and history
 * past its age; all in one short transaction. Expiry is checked again under the row's lock, so that a grant renewed
 * meanwhile survives.
 */
export interface SweepCommand {
  readonly kind: 'sweep'
  /** At most that many rows of each sort. */
  readonly limit: number
}

/** `more`: a bite was full and another one is due at once. */
export interface SweepOutcome {
  readonly kind: 'swept'
  readonly expired: number
  readonly removed: number
  readonly more: boolean
}

/** Which outcome belongs to which command; a new command does not compile before it has a row here. */
interface Outcomes {
  acquire: AcquireOutcome
  'find-request': FindRequestOutcome
  release: ReleaseOutcome
  'release-many': ReleaseManyOutcome
  renew: RenewOutcome
  'renew-many': RenewManyOutcome
  'renew-all': RenewAllOutcome
  inspect: InspectOutcome
  sweep: SweepOutcome
  enqueue: EnqueueOutcome
  dequeue: DequeueOutcome
  'dequeue-all': DequeueAllOutcome
  'purge-tickets': PurgeTicketsOutcome
  heartbeat: HeartbeatOutcome
}

export type Command =
  | AcquireCommand
  | FindRequestCommand
  | ReleaseCommand
  | ReleaseManyCommand
  | RenewCommand
  | RenewManyCommand
  | RenewAllCommand
  | InspectCommand
  | SweepCommand
  | EnqueueCommand
  | DequeueCommand
  | DequeueAllCommand
  | PurgeTicketsCommand
  | HeartbeatCommand

export type OutcomeOf<C extends Command> = Outcomes[C['kind']]
