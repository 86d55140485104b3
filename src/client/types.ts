import type { CallOptions } from './api.js'
import type { Sharing } from '../embedded/lock-api.js'
import type { Clock } from './clock.js'
import type { HeldLock } from './held-lock.js'

/** One acquisition of a resource. */
export interface Grant {
  /** Each grant of a resource has a larger one than every earlier grant of it, forever. */
  readonly lockId: number
  /** The same number, under the name by which the resource itself should check it. */
  readonly fencingToken: number
  readonly resourceName: string
  readonly processId: string
  /** By the database's clock, as all times here. */
  readonly lockedAt: Date
  /** Null never ends by itself. */
  readonly expiresAt: Date | null
  readonly metadata: Metadata | null
  /** What a grant has that is not exclusive; an exclusive one has none of these. */
  readonly mode?: 'shared' | undefined
  /** Null where it states none. */
  readonly limit?: number | null | undefined
  readonly permits?: number | undefined
  /** The numbers of its permits, from 1 to `limit`; each later holder of one has a larger `lockId`. Empty without a limit. */
  readonly slots?: readonly number[] | undefined
}

export type { Sharing } from '../embedded/lock-api.js'

/** All of a resource, or a share of it beside others. */
export type LockMode = 'exclusive' | 'shared'

/** One of several resources, and what to take of it. */
export interface ResourceShare extends Sharing {
  readonly resourceName: string
}

/** A JSON object of at most 4 KiB to find again beside the lock; never interpreted. */
export type Metadata = Readonly<Record<string, unknown>>

/** What stands in the way of a request. */
export interface Conflict {
  readonly resourceName: string
  /** The holder, or, where `lockId` is null, the next in the queue. */
  readonly lockedBy: string
  readonly lockId: number | null
  readonly lockedAt: Date | null
  readonly expiresAt: Date | null
  /** Seconds until it ends by itself; null if it never does. */
  readonly retryAfterSeconds: number | null
  /** How many wait in the queue. */
  readonly waiters: number
  /** Where it is shared: how many hold it, how many permits they have, and the smallest of their limits. */
  readonly holders?: number | undefined
  readonly used?: number | undefined
  readonly limit?: number | null | undefined
  /** The position in the queue that the wait reached, 1 being the next to get the lock; null for a call that did not wait. */
  readonly queuePosition: number | null
  /** Nobody holds it any longer, and nobody gets it before `expiresAt`. */
  readonly kept?: true
}

/** No process holds it; another grant is valid; the process held it and it expired, or was released or taken away. */
export type NotHeldReason = 'not_locked' | 'held_by_other' | 'expired' | 'released'

export interface NotHeld {
  readonly kind: 'not-held'
  readonly reason: NotHeldReason
}

export interface NotReleased extends NotHeld {
  /** An earlier try, whose answer was lost, may have released it. */
  readonly repeated: boolean
  /** When the process itself released that very grant; null where the service does not know of that, undefined where it does not say. */
  readonly releasedAt: Date | null | undefined
}

export type ReleaseOutcome =
  | { readonly kind: 'released'; readonly releasedAt: Date; /** Until when nobody gets it, where it is kept. */ readonly freeAt?: Date }
  | NotReleased
export type RenewOutcome =
  | {
      readonly kind: 'renewed'
      readonly grant: Grant
      readonly renewedAt: Date
      /** How many wait for it. An older service does not say. */
      readonly waiters?: number
      /** The lock ends at that time at the latest, whatever is renewed; null where nobody asked for that. */
      readonly revoked?: { readonly at: Date; readonly reason: string } | null
    }
  | NotHeld
export type RevokeOutcome =
  | { readonly kind: 'revoked'; readonly grant: Grant; /** When it ends at the latest. */ readonly revokeAt: Date }
  | NotHeld
  /** Another grant than the one that was named is valid by now. */
  | { readonly kind: 'changed' }
export type ForceReleaseOutcome =
  | { readonly kind: 'released'; readonly grant: Grant; readonly releasedAt: Date }
  | NotHeld
  /** Another grant than the one that was named is valid by now. */
  | { readonly kind: 'changed' }

export interface Status {
  readonly resourceName: string
  readonly isLocked: boolean
  readonly lockedBy: string | null
  readonly lockedAt: Date | null
  readonly expiresAt: Date | null
  readonly lockId: number | null
  readonly fencingToken: number | null
  /** Null if it is free or never ends by itself. */
  readonly remainingSeconds: number | null
  readonly metadata: Metadata | null
  readonly waiters: number
  /** Where it is shared, the rest tells of the holder that ends last. */
  readonly mode?: 'shared' | undefined
  readonly limit?: number | null | undefined
  readonly used?: number | undefined
  readonly totalHolders?: number | undefined
  /** The first hundred, by number. */
  readonly holders?: readonly Grant[] | undefined
  /** Nobody holds it any longer, and nobody gets it before `expiresAt`. */
  readonly kept?: true
}

export interface ListQuery {
  /** Only names that begin with this. */
  readonly prefix?: string
  readonly processId?: string
  readonly resourceName?: string
  /** 1 to 1,000, which is also the default. */
  readonly limit?: number
  /** The `nextCursor` of the page before. */
  readonly cursor?: string
}

/** A lock in a list. */
export interface ListedLock extends Grant {
  /** The lease with which it was granted; null never ends. */
  readonly ttlSeconds: number | null
  readonly renewals: number
  /** How many wait for it. */
  readonly waiters: number
}

export interface LockPage {
  /** The instant that the page shows. */
  readonly asOf: Date
  /** Sorted by name. */
  readonly locks: readonly ListedLock[]
  /** How many match altogether. */
  readonly totalLocks: number
  readonly nextCursor: string | null
}

export type EventKind = 'granted' | 'renewed' | 'converted' | 'revoked' | 'released' | 'expired' | 'force_released'

export interface LockEvent {
  /** Grows with every event. */
  readonly eventId: number
  readonly event: EventKind
  readonly at: Date
  readonly resourceName: string
  readonly processId: string
  readonly lockId: number
  /** Why a lock was taken away. */
  readonly reason: string | null
}

export interface HistoryQuery {
  readonly resourceName?: string
  readonly processId?: string
  /** 1 to 1,000; 100 if left out. */
  readonly limit?: number
  readonly cursor?: string
}

export interface HistoryPage {
  /** Newest first. */
  readonly events: readonly LockEvent[]
  readonly nextCursor: string | null
}

export interface Stats {
  /** Of the whole database, as `waiters`; the others count what the instance that answered has seen since it started. */
  readonly held: number
  readonly waiters: number
  readonly grants: number
  readonly conflicts: number
  readonly releases: number
  readonly renewals: number
  readonly forcedReleases: number
  readonly expiries: number
  /** Of requests that waited recently, 19 of 20 waited no longer; null when none did. */
  readonly waitSecondsP95: number | null
  /** Which instance answered: a random name, new at each start. */
  readonly instance: string
  /** Since when that instance counts, by its own clock. */
  readonly countedSince: Date
  /** The kind and name of the database; null where the service does not tell. */
  readonly database: string | null
  /** What the client's own key may do; null where none is needed. */
  readonly key: { readonly name: string; readonly scopes: readonly string[]; readonly prefix: string } | null
  readonly topContended: readonly { readonly resourceName: string; readonly conflicts: number }[]
}

export interface Waiter {
  /** 1 is the next to get the lock. */
  readonly position: number
  readonly processId: string
  /** Null where that was not recorded. */
  readonly waitingSince: Date | null
  /** Until when the position is kept for a request that may come back; null while the request waits. */
  readonly keptUntil: Date | null
  /** What it asks for. */
  readonly mode?: 'exclusive' | 'shared' | undefined
  readonly limit?: number | null | undefined
  readonly permits?: number | undefined
}

export interface Queue {
  readonly resourceName: string
  /** In the order in which they will get the lock. */
  readonly waiters: readonly Waiter[]
  /** How many wait altogether. */
  readonly totalWaiters: number
}

export interface Queues {
  readonly waiters: readonly (Waiter & { readonly resourceName: string })[]
  /** How many wait altogether. */
  readonly totalWaiters: number
}

export interface Health {
  readonly healthy: boolean
  readonly service: string
  readonly database: string
}

export interface HttpLocksOptions {
  /** Where the service is; `http://127.0.0.1:8000` if left out. */
  readonly url?: string | undefined
  /** Sent as `Authorization: Bearer`. */
  readonly apiKey?: string | undefined
  /** Who holds what is acquired: 1 to 255 characters. In Node `HOST/PID/RANDOM`, in a page a random one if left out. */
  readonly processId?: string | undefined
  /**
   * For how long calls are repeated while the service is away; 10 if left out, 0 tries once. No call that the service does
   * not answer takes longer than this and `timeoutSeconds`, whichever is longer.
   */
  readonly retrySeconds?: number | undefined
  /** How long one try may take, with its wait in the queue: a longer wait takes several. At most a day; 10 if left out. */
  readonly timeoutSeconds?: number | undefined
  /** Whether the client listens, by one stream, for what happens to locks that are held for longer than a second; true if left out. */
  readonly listen?: boolean | undefined
  readonly fetch?: typeof globalThis.fetch
  readonly clock?: Clock
  /** 0 to 1; spreads repetitions. */
  readonly random?: () => number
}

export interface TryAcquireOptions extends Sharing {
  /** Whether to take the lock away from its holders, past everybody who waits; takes a key with the scope `admin`. */
  readonly steal?: boolean | undefined
  /** The lease, greater than 0; 30 if left out, null never ends. A lock that renews itself lasts longer. */
  readonly ttlSeconds?: number | null | undefined
  /** Whether the lock renews itself until it is released or lost; true if left out. */
  readonly autoRenew?: boolean | undefined
  readonly metadata?: Metadata | undefined
  /** A release keeps everybody out until so many seconds after the grant; not above `ttlSeconds`. */
  readonly holdAtLeastSeconds?: number | undefined
  /** Nobody gets it for so many seconds after it has expired or was taken away. */
  readonly lockDelaySeconds?: number | undefined
  /** Whether the lock's `yieldSignal` also fires when others wait for it; false if left out. */
  readonly yieldWhenWaited?: boolean | undefined
  /** Instead of the client's own, to which a share adds a number: a process has at most one lock of a resource, and one client may hold several shares. */
  readonly processId?: string | undefined
  /** That of an earlier request whose answer was lost, as its error says: resumes what it was granted. All else must be the same. */
  readonly requestId?: string | undefined
  /** Stops the acquisition: the call rejects with its reason and leaves no lock behind. Does not concern the lock once it is held. */
  readonly signal?: AbortSignal | undefined
}

export interface AcquireOptions extends TryAcquireOptions {
  /** How long to wait in the queue; as long as it takes if left out. */
  readonly waitSeconds?: number | undefined
  /** Called with who has the lock, and the position in the queue, after half a second and then every five. */
  readonly onWaiting?: ((conflict: Conflict) => void) | undefined
}

export interface WithLockOptions extends AcquireOptions {
  /** Whether a flow that has the lock already works under it, instead of getting an error; in Node only. */
  readonly reentrant?: boolean | undefined
}

export interface RenewAllOptions extends CallOptions {
  readonly processId?: string | undefined
  /** From now, null for no end; left out, the lease with which each lock was granted. */
  readonly ttlSeconds?: number | null | undefined
}

export interface WatchOptions {
  /** Only names that begin with this. */
  readonly prefix?: string | undefined
  /** Only what happens to the locks of this process. */
  readonly processId?: string | undefined
  /** Only what happens to the locks of processes whose ids begin with this. */
  readonly processPrefix?: string | undefined
  /** The id of the last event that was seen: the stream resumes after it. Left out, it begins with what happens from now on. */
  readonly after?: number | undefined
  /** Ends the watching, without an error. */
  readonly signal?: AbortSignal | undefined
  /** Called when a connection is open: from now on, every event arrives as it happens. */
  readonly onOpen?: (() => void) | undefined
  /** Called when a connection breaks or cannot be opened, and the watching goes on with another one. */
  readonly onBroken?: ((error: unknown) => void) | undefined
}

/** What a process can do while it leads. */
export interface Leadership {
  /** The lock by which it leads; `held` looks at the clock. */
  readonly lock: HeldLock
  /** Fires when the process no longer leads: it lost the lock, it resigned, or the campaign was ended. */
  readonly signal: AbortSignal
  /** The term: each leader has a larger one than every earlier leader. */
  readonly fencingToken: number
  /** Replaces the value that observers see. @throws LockLostError when another process may lead by now. */
  readonly proclaim: (value: unknown) => Promise<void>
  /** Lets the next candidate lead at once; this process is the last of the queue then. */
  readonly resign: () => Promise<void>
}

export interface ElectOptions {
  /** What observers see beside the name of the leader: anything that JSON holds, at most about 4 KiB. */
  readonly value?: unknown
  /** How soon another process leads after one that was lost without a word; 10 if left out. */
  readonly ttlSeconds?: number | undefined
  /** Instead of the client's own. */
  readonly processId?: string | undefined
  /** Ends the campaign, and the leadership if there is one; then the call resolves. */
  readonly signal?: AbortSignal | undefined
  /** Whether to lead only once; false if left out. */
  readonly once?: boolean | undefined
  /** The work of the leader. When it returns, or is no longer the leader's to do, the process campaigns again from the end of the queue; an error ends the campaign. */
  readonly onElected: (leadership: Leadership) => Promise<void> | void
}

export interface OnceOptions extends TryAcquireOptions {
  /** The period: the work runs at most once in it, on however many machines. */
  readonly everySeconds: number
  /** Whether work that throws does not count, so that the next call tries again; false if left out. */
  readonly retryFailed?: boolean | undefined
}

export type OnceOutcome<Result> =
  | { readonly ran: true; readonly result: Result }
  /** It runs, or has run, in this period. */
  | { readonly ran: false }

export interface RevokeOptions extends CallOptions {
  /** For so long the lock may still be held. */
  readonly graceSeconds: number
  /** Only if that is still the valid grant. Left out, the call is made once, whatever comes of it. */
  readonly lockId?: number | undefined
}

/** A leader as others see it. */
export interface LeaderState {
  /** Its process id. */
  readonly leader: string
  readonly value: unknown
  readonly fencingToken: number
}

export interface ObserveOptions {
  /** Ends the observing, without an error. */
  readonly signal?: AbortSignal | undefined
}

export interface DocumentLockOptions extends Pick<AcquireOptions, 'signal' | 'onWaiting'> {
  /** Who edits; what the service and other users see as the holder. */
  readonly userId: string
  readonly username?: string | undefined
  /** How long the document stays locked after a page that ended without a word; 300 if left out. */
  readonly ttlSeconds?: number | undefined
  /** How long to wait for it in the queue; 2 if left out. */
  readonly waitSeconds?: number | undefined
  /** Called when a page that was left, and so has released the document, is shown again; the lock's signal has fired then. */
  readonly onReturn?: (() => void) | undefined
  /** What emits `pagehide` and `pageshow`; the window if left out. */
  readonly page?: EventTarget | undefined
}
