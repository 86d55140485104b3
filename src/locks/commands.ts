import type { EpochMs, Grant, Metadata, NotHeldReason, ProcessId, ResourceName, Revocation, Sharing, Terms, TtlMs, IdempotencyKey } from './lock.js'
import type { DequeueAllCommand, DequeueAllOutcome, DequeueCommand, DequeueOutcome, EnqueueCommand, EnqueueOutcome, HeartbeatCommand, HeartbeatOutcome, PurgeTicketsCommand, PurgeTicketsOutcome } from './queue-commands.js'

/**
 * Take all of the named resources, or none. A grant is made if, with it, no holder's statement about the permits of the resource
 * becomes false. A holder's own second request is refused too.
 */
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
  /** For each name in their order what share of it is asked for, null for all of it; undefined where all are exclusive. */
  readonly sharing?: readonly (Sharing | null)[] | undefined
  /** Ends every grant of the resources and passes every waiter. Its `sharing` has null for each name. */
  readonly steal?: boolean | undefined
  /** What each of the grants says about its end. */
  readonly terms?: Terms | undefined
}

/**
 * What prevents a grant: a valid grant, or a resource that is kept for a waiter (`lockId` 0). Of several holders it is the one
 * whose end, if all leases just end, makes the grant possible.
 */
export interface Conflict {
  readonly resourceName: ResourceName
  /** The holder or the first waiter. */
  readonly processId: ProcessId
  readonly lockId: number
  readonly lockedAt: EpochMs | null
  readonly expiresAt: EpochMs | null
  /** The process holds it no longer, but nobody is granted it before `expiresAt`. */
  readonly kept?: true | undefined
  /** Where shares are held. */
  readonly usage?: Usage | undefined
}

/** What the valid shares of a resource amount to. */
export interface Usage {
  readonly holders: number
  /** The permits that they take. */
  readonly used: number
  /** The smallest of their limits; null where none has one. */
  readonly limit: number | null
}

export type AcquireOutcome =
  /** In the order of the names. `replayed`: an earlier request with this idempotency key was granted them, and they are still held. */
  | { readonly kind: 'granted'; readonly grants: readonly Grant[]; readonly replayed: boolean; /** What was ended for them, where they were stolen. */ readonly stolen?: readonly Grant[] | undefined }
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

/** End a valid grant; with a lock id, exactly that grant and no later one. Taken from any process, all shares of a resource end. */
export interface ReleaseCommand {
  readonly kind: 'release'
  readonly resourceName: ResourceName
  /** Only a grant of this process; null takes it away from any holder. */
  readonly processId: ProcessId | null
  /** Where the process is null: whose grant has that lock id, if that is known. */
  readonly holder?: ProcessId | undefined
  readonly lockId: number | null
  /** Why a grant is taken away, for the history. */
  readonly reason: string | null
  /** The request that it was granted for: the grant stays if a repetition of that request has been answered with it. */
  readonly unlessClaimed?: IdempotencyKey | undefined
  /** Only a grant that belongs to the API key of this name, or to none; null: any grant. */
  readonly key: string | null
  /** Keep the resource for that long, in milliseconds; where left out, as the terms of the grant say. */
  readonly keepMs?: number | undefined
  /** Nothing is kept after it, whatever the terms of the grant say. */
  readonly freesAtOnce?: boolean | undefined
}

export type ReleaseOutcome =
  /** `all`: the shares that were taken away, by number; `grant` is the one that would have ended last. */
  | { readonly kind: 'released'; readonly grant: Grant; readonly releasedAt: EpochMs; readonly all?: readonly Grant[] | undefined; /** Until when the resource is kept. */ readonly freeAt?: EpochMs | undefined }
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

export interface Renewal {
  readonly grant: Grant
  readonly renewedAt: EpochMs
  /** The length of the queue for its resource. */
  readonly waiters: number
  readonly revoked: Revocation | null
}

export type RenewOutcome =
  | ({ readonly kind: 'renewed' } & Renewal)
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
  readonly renewals: readonly Renewal[]
  /** The name after which to go on; null at the end. */
  readonly next: string | null
}

/** Ask a valid grant to end: from now on no renewal moves its end past that of the grace. Without a lock id, all shares. */
export interface RevokeCommand {
  readonly kind: 'revoke'
  readonly resourceName: ResourceName
  readonly lockId: number | null
  readonly reason: string
  readonly graceMs: number
}

export type RevokeOutcome =
  /** The last of the grants to end, as it ends now, and all of them by number. */
  | { readonly kind: 'revoked'; readonly grant: Grant; readonly revocation: Revocation; readonly all: readonly Grant[] }
  | { readonly kind: 'not-held'; readonly reason: NotHeldReason }

/**
 * Turn a valid grant into an exclusive one, a share, or a share of another kind, at once or not at all: it does not wait, and passes
 * those that do. An exclusive grant that becomes a share keeps its number. Otherwise a new one is drawn, and the grant is made only
 * if the other holders admit it. The end of the lease stays.
 */
export interface ConvertCommand {
  readonly kind: 'convert'
  readonly resourceName: ResourceName
  readonly processId: ProcessId
  readonly lockId: number | null
  /** As in {@link ReleaseCommand}. */
  readonly key: string | null
  /** Null for an exclusive grant. */
  readonly sharing: Sharing | null
}

export type ConvertOutcome =
  /** The grant has been of that kind before where nothing was changed. */
  | { readonly kind: 'converted'; readonly grant: Grant }
  | { readonly kind: 'held'; readonly conflicts: readonly Conflict[]; readonly at: EpochMs; readonly waiters: number }
  | { readonly kind: 'not-held'; readonly reason: NotHeldReason }

/** Read one resource. */
export interface InspectCommand {
  readonly kind: 'inspect'
  readonly resourceName: ResourceName
}

/** How many of the holders of a shared resource are told, by number. */
export const MAX_HOLDERS_SHOWN = 100

/** `grant` is null when the resource is free at the instant `at` of the database's clock; of several shares it is the last to end. */
export interface InspectOutcome {
  readonly kind: 'inspected'
  readonly at: EpochMs
  readonly grant: Grant | null
  /** Where shares are held: what they amount to, and the first {@link MAX_HOLDERS_SHOWN} of them. */
  readonly shares?: { readonly usage: Usage; readonly grants: readonly Grant[] } | undefined
  /** Where nobody holds it and it is kept: the latest grant, with the end of that. */
  readonly kept?: Grant | undefined
  /** The length of its queue. */
  readonly waiters: number
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
  convert: [ConvertCommand, ConvertOutcome]
  revoke: [RevokeCommand, RevokeOutcome]
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
  convert: { resources: (command) => [command.resourceName], shedLast: false },
  revoke: { resources: (command) => [command.resourceName], shedLast: true },
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
