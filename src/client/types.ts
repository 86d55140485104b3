import type { Conflict, Metadata, Sharing } from './answers.js'
import type { CallOptions } from './api.js'
import type { Clock } from './clock.js'
import type { HeldLock } from './held-lock.js'

export type * from './answers.js'

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
