import type { IdempotencyKey, ProcessId, ResourceName, Sharing } from './lock.js'

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
  /** As in an acquire command. */
  readonly sharing?: readonly (Sharing | null)[] | undefined
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
