

/* What the service says, as the client passes it on. */



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
/** The grant that ends last, and every one that the call concerned: several where the resource was shared and no `lockId` was named. */
interface Concerned {
  readonly grant: Grant
  readonly all: readonly Grant[]
}

export type RevokeOutcome =
  | (Concerned & { readonly kind: 'revoked'; /** When they end at the latest. */ readonly revokeAt: Date })
  | NotHeld
  /** Another grant than the one that was named is valid by now. */
  | { readonly kind: 'changed' }
export type ForceReleaseOutcome =
  | (Concerned & { readonly kind: 'released'; readonly releasedAt: Date })
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

/** What to take of a resource. */
export interface Sharing {
  /** `exclusive` takes all of it, `shared` lets others share it; `shared` where `limit` is given, else `exclusive`. */
  readonly mode?: 'exclusive' | 'shared' | undefined
  /** So many permits at most may be held at the same time, 1 to 100,000. */
  readonly limit?: number | undefined
  /** How many of them this takes, 1 to `limit`; 1 if left out. */
  readonly permits?: number | undefined
}
