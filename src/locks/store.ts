import type { Command, OutcomeOf } from './commands.js'
import type { Histogram } from './metrics.js'
import type { EpochMs, Grant, ProcessId, ResourceName, Sharing, TtlMs } from './lock.js'

/** The longest page of a list. */
export const LIST_LIMIT = 1000

/** Which valid grants to list, and from where. */
export interface ListQuery {
  /** Only names that begin with this text; empty lists all. Compared bytewise. */
  readonly prefix: string
  readonly processId: ProcessId | null
  /** Only grants of this resource; null lists all. */
  readonly resourceName?: ResourceName | null | undefined
  /** Only grants after this one, in the order of the page; null begins at the start. */
  readonly after: ListPlace | null
  /** 1 to {@link LIST_LIMIT}. */
  readonly limit: number
}

/** A place in the list: after the grant of that number. */
export interface ListPlace {
  readonly name: string
  readonly lockId: number
}

/** Where the list goes on after these grants; null if there are none. */
export function placeAfter(grants: readonly Grant[]): ListPlace | null {
  const last = grants.at(-1)
  return last === undefined ? null : { name: last.resourceName, lockId: last.lockId }
}

/** Which valid grants to count. */
export interface CountQuery extends Pick<ListQuery, 'prefix' | 'processId' | 'resourceName'> {
  /** Only exclusive grants, or only shares. */
  readonly mode?: 'exclusive' | 'shared' | undefined
  /** Only grants that belong to this key. */
  readonly key?: string | undefined
}

/** A grant as a list shows it. */
export interface ListedGrant extends Grant {
  /** The lease with which it was made. */
  readonly ttlMs: TtlMs
  readonly renewals: number
  /** The length of the queue for its resource. */
  readonly waiters: number
}

export interface ListPage {
  /** The instant that the page shows. */
  readonly at: EpochMs
  /** In bytewise order of their names, those of one name by number. */
  readonly grants: readonly ListedGrant[]
  /** Whether grants follow after the last one of this page. */
  readonly more: boolean
}

/** Which queue to read: that of one resource, or those of all whose names begin with a text. */
export interface QueueQuery {
  readonly resourceName: ResourceName | null
  /** Empty reads all. */
  readonly prefix?: string | undefined
  /** 1 to {@link LIST_LIMIT}. */
  readonly limit: number
}

export interface QueuedRequest {
  readonly resourceName: ResourceName
  /** Its place in the queue of the resource; 1 is the next to be served. */
  readonly position: number
  readonly processId: ProcessId
  /** What share it waits for; null for all of the resource. */
  readonly sharing: Sharing | null
  /** Null where an older version did not write it down. */
  readonly queuedAt: EpochMs | null
  /** Until when the place is kept for a request that is to come back; null while the request waits. */
  readonly keptUntil: EpochMs | null
}

export interface QueuePage {
  readonly at: EpochMs
  /** In bytewise order of the names, and for one name the next to be served first. */
  readonly waiters: readonly QueuedRequest[]
  /** How many wait in all. */
  readonly total: number
}

/** `converted`: an exclusive grant became a share and kept its number. `revoked`: its holder was asked to end it. */
export type EventKind = 'granted' | 'renewed' | 'converted' | 'revoked' | 'released' | 'expired' | 'force_released'

/** One entry of the history. */
export interface LockEvent {
  /** Grows with every event. */
  readonly eventId: number
  readonly kind: EventKind
  readonly at: EpochMs
  readonly resourceName: string
  readonly lockId: number
  readonly processId: string
  /** Why a grant was taken away. */
  readonly reason: string | null
}

/** Which events to read, newest first. */
export interface HistoryQuery {
  /** Only names that begin with this text; empty reads all. */
  readonly prefix: string
  readonly resourceName: string | null
  readonly processId: string | null
  /** Only events with a smaller id; null begins with the newest. */
  readonly before: number | null
  /** 1 to {@link LIST_LIMIT}. */
  readonly limit: number
}

/** One grant, valid or not. */
export interface GrantNumber {
  readonly resourceName: ResourceName
  readonly processId: ProcessId
  readonly lockId: number
}

/** What a read is about: resources whose names begin with `prefix`, or one resource. {@link ScopedLocks} narrows it to what a key may see. */
export interface ReadQuery {
  readonly prefix?: string | undefined
  readonly resourceName?: string | null | undefined
}

/** What callers may read. Each takes one {@link ReadQuery}. */
export interface LockReads {
  /** One page of the valid grants. */
  list(query: ListQuery): Promise<ListPage>

  /** How many valid grants match. Grants that come or go while a large count runs may or may not be counted. */
  count(query: CountQuery): Promise<number>

  /** How many places in queues are taken, of requests that wait and of those that may come back for theirs. */
  countWaiters(query: Pick<ListQuery, 'prefix'>): Promise<number>

  /** For how many milliseconds the oldest request that waits now has waited; null when none waits, or when none says since when. */
  longestWait(query: Pick<ListQuery, 'prefix'>): Promise<number | null>

  /** The first waiters, in the order in which they will be served. */
  queue(query: QueueQuery): Promise<QueuePage>

  /** One page of the history; empty where none is kept. */
  history(query: HistoryQuery): Promise<HistoryPage>

  /** When the holder itself released that grant; null where the newest tens of thousands of events do not say. */
  releasedAt(grant: GrantNumber): Promise<EpochMs | null>
}

/** The reads of the event feed, which sees every event and filters for its watchers. */
export interface StoreReads extends LockReads {
  /** Where to begin with what happens from now on. */
  feedStart(): Promise<FeedStart>

  /** Whether events after that one may have been removed for their age. */
  isForgotten(eventId: number): Promise<boolean>

  /**
   * The events that follow after one, oldest first.
   *
   * @param until `settled` stops before an event that another transaction may still precede, so that a reader that goes on
   * from the last one misses nothing; only one reader at a time may ask so.
   */
  eventsAfter(eventId: number, limit: number, until?: 'settled'): Promise<HistoryPage>
}

type Names<Methods> = Readonly<Record<keyof Methods, true>>

export const LOCK_READS: Names<LockReads> = { list: true, count: true, countWaiters: true, longestWait: true, queue: true, history: true, releasedAt: true }
export const STORE_READS: Names<StoreReads> = { ...LOCK_READS, feedStart: true, isForgotten: true, eventsAfter: true }

/** An object with those methods, which all go through `call`: what concerns every read is written once. */
export function forwardAll<Methods extends object>(names: Names<Methods>, call: (name: keyof Methods & string, args: readonly unknown[]) => unknown): Methods {
  const methods = Object.keys(names).map((name) => [name, (...args: unknown[]) => call(name as keyof Methods & string, args)])
  return Object.fromEntries(methods) as Methods
}

/** How a store uses its database. */
export interface StoreFigures {
  /** How many commands were handed to the database together. */
  readonly batchCommands: Histogram
  /** Seconds that a batch took, from handing it over until it was committed. */
  readonly batchSeconds: Histogram
  /** The connections at this moment, where there are several. */
  readonly pools: () => readonly PoolUse[]
}

export interface PoolUse {
  readonly pool: string
  readonly busy: number
  readonly idle: number
  /** How many statements wait for a connection. */
  readonly waiting: number
}

export interface HistoryPage {
  readonly events: readonly LockEvent[]
  readonly more: boolean
}

/** Where reading what happens from now on begins. */
export interface FeedStart {
  /** Every event up to this id can be read now; events follow after it. */
  readonly after: number
  /** Larger ids of events that happened before now: an event with an id between them may still be committed. */
  readonly earlier: readonly number[]
}

/**
 * The port to the database. Its promises hold across all instances on one database, are decided by the database's clock,
 * and do not depend on whether the sweeper has run. Every rejection is a LockError, unless it is a bug.
 */
export interface LockStore extends AsyncDisposable {
  /**
   * Carries out one command and resolves once its effect, and the history of it, is durable. Commands that arrive together
   * are committed together; commands for one name take effect in the order in which they were submitted.
   *
   * - `acquire` grants only what the statements of all valid holders admit, all or none; each new grant's number is drawn while nobody else
   *   can touch the resource and is larger than every earlier one of it; its lease starts at that moment. An idempotency key never
   *   yields two sets of grants while it is saved: for ten minutes, for the length of the lease, and while held.
   * - `release` and `renew` touch only a grant that is valid, of that process and, where a lock id is given, of that number;
   *   where a key is given, only one that was taken with it or without any.
   * - `inspect` never reports an expired grant.
   * - `acquire` without a ticket is refused while another request waits for one of its resources, with a ticket while one
   *   with a smaller ticket waits; only a share without limit passes waiters for such shares. A grant ends the ticket.
   * - `convert` waits for nobody, and no other grant comes between the old one and the new one.
   * - `sweep` skips rows that another transaction has locked.
   */
  submit<C extends Command>(command: C): Promise<OutcomeOf<C>>

  /**
   * Calls with the ticket of a waiter of this instance when it may be granted now. A hint: it may be wrong, and it may be
   * lost, so that the first waiter of a queue also retries by itself about once a second.
   */
  onWakeup(listener: (ticket: number) => void): void

  readonly figures?: StoreFigures

  readonly reads: StoreReads

  /** Whether a history is kept at all. */
  readonly keepsHistory: boolean

  /** Resolves when the database answers a query and can take writes. */
  ping(): Promise<void>
}
