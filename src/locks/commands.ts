import type { EpochMs, Grant, Metadata, NotHeldReason, ProcessId, ResourceName, TtlMs } from './lock.js'

/** Identifies a request, so that its repetition is answered with the same grants: the caller's id and a digest of the content. */
export interface IdempotencyKey {
  readonly id: string
  readonly fingerprint: string
}

/** Take all of the named resources if all are free at the database's clock, or none. A holder's own second request is refused too. */
export interface AcquireCommand {
  readonly kind: 'acquire'
  /** At least one, all different. They share one transaction; the caller of the engine bounds their number. */
  readonly resourceNames: readonly ResourceName[]
  readonly processId: ProcessId
  readonly ttlMs: TtlMs
  readonly metadata: Metadata | null
  readonly idempotencyKey: IdempotencyKey | null
  /** The request's place in the queues; null is behind every waiter. */
  readonly ticket: number | null
  /** The name of the API key to which the grants will belong; null for none. */
  readonly key: string | null
}

/** What prevents a grant: a valid grant, or a free resource that is kept for its first waiter (`lockId` 0). */
export interface Conflict {
  readonly resourceName: ResourceName
  /** The holder or the first waiter. */
  readonly processId: ProcessId
  readonly lockId: number
  readonly lockedAt: EpochMs | null
  readonly expiresAt: EpochMs | null
}

export type AcquireOutcome =
  /** In the order of the names. `replayed`: an earlier request with this idempotency key was granted them, and they are still held. */
  | { readonly kind: 'granted'; readonly grants: readonly Grant[]; readonly replayed: boolean }
  /** Nothing was granted. At least one conflict; `waiters` is the length of the first one's queue. */
  | { readonly kind: 'held'; readonly conflicts: readonly Conflict[]; readonly at: EpochMs; readonly waiters: number }
  /** The request's id is saved for other content, or for grants that have ended since. */
  | { readonly kind: 'request-id-reused' }
  /** The ticket's process has left all queues, see {@link DequeueAllCommand}; nothing was granted. */
  | { readonly kind: 'dequeued' }

/** Look for an earlier request with that idempotency key, and claim its grants as a repetition does. */
export interface FindRequestCommand {
  readonly kind: 'find-request'
  readonly idempotencyKey: IdempotencyKey
}

export interface FindRequestOutcome {
  readonly kind: 'request-found'
  /** The answer to a repetition; null where no such request is saved. */
  readonly before: Extract<AcquireOutcome, { kind: 'granted' | 'request-id-reused' }> | null
}

/** End a valid grant; with a lock id, exactly that grant and no later one. */
export interface ReleaseCommand {
  readonly kind: 'release'
  readonly resourceName: ResourceName
  /** Only a grant of this process; null takes it away from any holder. */
  readonly processId: ProcessId | null
  readonly lockId: number | null
  /** Why a grant is taken away, for the history. */
  readonly reason: string | null
  /** The request that it was granted for: the grant stays if a repetition of that request has been answered with it. */
  readonly unlessClaimed?: IdempotencyKey | undefined
  /** Only a grant that belongs to the API key of this name, or to none; null: any grant. */
  readonly key: string | null
}

export type ReleaseOutcome =
  | { readonly kind: 'released'; readonly grant: Grant; readonly releasedAt: EpochMs }
  | { readonly kind: 'not-held'; readonly reason: NotHeldReason }

/** End several grants in one transaction, with the outcomes in their order; one that is not held does not prevent the others. */
export interface ReleaseManyCommand {
  readonly kind: 'release-many'
  readonly releases: readonly ReleaseCommand[]
}

export interface ReleaseManyOutcome {
  readonly kind: 'released-many'
  readonly outcomes: readonly ReleaseOutcome[]
}

/** Move the end of a valid grant; an ended grant stays ended. The number stays. */
export interface RenewCommand {
  readonly kind: 'renew'
  readonly resourceName: ResourceName
  readonly processId: ProcessId
  /** From now; undefined takes the lease with which the grant was made. */
  readonly ttlMs: TtlMs | undefined
  readonly lockId: number | null
  /** As in {@link ReleaseCommand}. */
  readonly key: string | null
  /** Replaces the grant's metadata; null, or left out, keeps it. */
  readonly metadata?: Metadata | null | undefined
  /** Count the grant from now on: `lockedAt` and the lease with which it was made become those of the renewal. */
  readonly restartLease?: boolean | undefined
}

export type RenewOutcome =
  | { readonly kind: 'renewed'; readonly grant: Grant; readonly renewedAt: EpochMs }
  | { readonly kind: 'not-held'; readonly reason: NotHeldReason }

/** Renew several grants of different resources, with the outcomes in their order; one that is not held does not prevent the others. */
export interface RenewManyCommand {
  readonly kind: 'renew-many'
  readonly renewals: readonly RenewCommand[]
}

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
  /** The length of its queue. */
  readonly waiters: number
}

/**
 * Enter the queues of all of the named resources. A request whose idempotency key left a place a short while ago gets that
 * place back. The waiter then retries with its ticket: at once, since the resource may have become free meanwhile, and
 * whenever it is woken.
 */
export interface EnqueueCommand {
  readonly kind: 'enqueue'
  readonly resourceNames: readonly ResourceName[]
  readonly processId: ProcessId
  readonly idempotencyKey: IdempotencyKey | null
  /** The name of the caller's API key; null for none. */
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

/** Leave the queues, or keep the places for {@link KEEP_PLACE_MS}. */
export interface DequeueCommand {
  readonly kind: 'dequeue'
  readonly tickets: readonly number[]
  /** The request that will come back. No place is kept for it where it has another one. */
  readonly keepFor: IdempotencyKey | null
}

export interface DequeueOutcome {
  readonly kind: 'dequeued'
  /** The first ticket's position in its longest queue, 1 being the next to be served; 0 where it had none. */
  readonly position: number
}

/** Give up every place of this instance that is neither one of these nor kept for a request that may come back. */
export interface PurgeTicketsCommand {
  readonly kind: 'purge-tickets'
  readonly tickets: readonly number[]
}

export interface PurgeTicketsOutcome {
  readonly kind: 'purged-tickets'
}

/**
 * Remove a process from the queues, on all instances. Kept places go at once. A waiting request is woken; its next attempt
 * is answered with `dequeued`, and nothing is granted to its ticket any more. What such a request was granted before is
 * committed when this is answered.
 */
export interface DequeueAllCommand {
  readonly kind: 'dequeue-all'
  readonly processId: ProcessId
  /** Only requests of which every name begins with this text; empty takes all. */
  readonly prefix: string
  /** Only requests that were made with the API key of this name, or with none; null: any request. */
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
  /** The tickets of this instance's waiters whose places were removed, since the wake-up that says so may be lost. */
  readonly dequeued: readonly number[]
}

/**
 * Mark some expired grants as ended; remove some rows that ended a while ago, old saved requests and old history; all in one
 * short transaction. Expiry is checked again under the row's lock, so that a grant renewed meanwhile survives.
 */
export interface SweepCommand {
  readonly kind: 'sweep'
  /** At most that many rows of each sort. */
  readonly limit: number
}

/** `more`: the limit was reached and another sweep is due at once. */
export interface SweepOutcome {
  readonly kind: 'swept'
  readonly expired: number
  readonly removed: number
  readonly more: boolean
}

/** Each kind of command with its outcome. A new one also needs a row in {@link COMMAND_TRAITS}. */
interface Commands {
  acquire: [AcquireCommand, AcquireOutcome]
  'find-request': [FindRequestCommand, FindRequestOutcome]
  release: [ReleaseCommand, ReleaseOutcome]
  'release-many': [ReleaseManyCommand, ReleaseManyOutcome]
  renew: [RenewCommand, RenewOutcome]
  'renew-many': [RenewManyCommand, RenewManyOutcome]
  'renew-all': [RenewAllCommand, RenewAllOutcome]
  inspect: [InspectCommand, InspectOutcome]
  sweep: [SweepCommand, SweepOutcome]
  enqueue: [EnqueueCommand, EnqueueOutcome]
  dequeue: [DequeueCommand, DequeueOutcome]
  'dequeue-all': [DequeueAllCommand, DequeueAllOutcome]
  'purge-tickets': [PurgeTicketsCommand, PurgeTicketsOutcome]
  heartbeat: [HeartbeatCommand, HeartbeatOutcome]
}

export type Command = Commands[keyof Commands][0]
export type OutcomeOf<C extends Command> = Commands[C['kind']][1]

interface CommandTraits<C extends Command> {
  /** The resources whose commands keep their order; none for a command that only reads or relies on its own row locks. */
  resources(command: C): readonly ResourceName[]
  /** Whether commands of this kind for one resource may share a batch: they are concurrent, and one decides for all. */
  sharesBatch?(command: C): boolean
  /** Under overload, releases and renewals are rejected last: a release frees a lock, and a rejected renewal could let a second holder start. */
  readonly shedLast: boolean
}

const COMMAND_TRAITS: { readonly [Kind in keyof Commands]: CommandTraits<Commands[Kind][0]> } = {
  acquire: { resources: (command) => command.resourceNames, sharesBatch: (command) => command.resourceNames.length === 1, shedLast: false },
  'find-request': { resources: () => [], shedLast: false },
  release: { resources: (command) => [command.resourceName], sharesBatch: () => true, shedLast: true },
  'release-many': { resources: (command) => command.releases.map(({ resourceName }) => resourceName), shedLast: true },
  renew: { resources: (command) => [command.resourceName], shedLast: true },
  'renew-many': { resources: (command) => command.renewals.map(({ resourceName }) => resourceName), shedLast: true },
  'renew-all': { resources: () => [], shedLast: true },
  inspect: { resources: () => [], shedLast: false },
  sweep: { resources: () => [], shedLast: false },
  enqueue: { resources: () => [], shedLast: false },
  dequeue: { resources: () => [], shedLast: true },
  'dequeue-all': { resources: () => [], shedLast: true },
  'purge-tickets': { resources: () => [], shedLast: true },
  heartbeat: { resources: () => [], shedLast: true }
}

export function traitsOf(command: Command): CommandTraits<Command> {
  return COMMAND_TRAITS[command.kind]
}
