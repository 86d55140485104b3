import type { NotHeldReason } from '../../../src/locks/lock.js'

/*
 * The words of a history: what clients asked of one resource, what they were told, and when.
 *
 * `called` and `answered` are stamps of one counter, which gives the order in which the client saw things happen. The
 * instants beside them are milliseconds since 1970 by the client's clock, which has to agree with the database's to
 * within a tolerance (see `Tolerance`).
 */

export type Ask =
  /** `together` names the call for several resources that this is a part of. */
  | {
      readonly kind: 'request'
      readonly process: string
      readonly ttlMs: number | null
      readonly waits: boolean
      readonly requestId: string | null
      readonly together?: string
    }
  /** `ttlMs` undefined takes the lease with which the grant was made. */
  | { readonly kind: 'renew'; readonly process: string; readonly lockId: number | null; readonly ttlMs: number | null | undefined }
  /** Without a process: taken away from its holder. */
  | { readonly kind: 'release'; readonly process: string | null; readonly lockId: number | null }
  | { readonly kind: 'look' }
  /** Not a client's: the service gives back what a waiter was granted whose connection is gone. */
  | { readonly kind: 'give-back'; readonly of: number; readonly process: string }

/** A grant as an answer describes it; times are the database's. */
export interface Told {
  readonly process: string
  readonly lockId: number
  readonly lockedAt: number
  readonly expiresAt: number | null
}

export type Answer =
  | { readonly kind: 'granted'; readonly grant: Told; readonly replayed: boolean }
  /** `by` is null where the resource is kept for the first in line. */
  | { readonly kind: 'held'; readonly by: Omit<Told, 'lockedAt'> | null }
  | { readonly kind: 'reused' }
  | { readonly kind: 'renewed'; readonly grant: Told; readonly at: number }
  | { readonly kind: 'released'; readonly at: number; readonly process: string; readonly lockId: number | null }
  /** A null reason: it was not among those that the process holds. */
  | { readonly kind: 'not-held'; readonly reason: NotHeldReason | null }
  | { readonly kind: 'changed' }
  | { readonly kind: 'free' }
  /** Nobody was told: it may have happened, may happen later, or never. */
  | { readonly kind: 'unknown' }

export interface Operation {
  readonly id: number
  readonly resource: string
  readonly ask: Ask
  readonly answer: Answer
  readonly called: number
  /** Infinity while it may still take effect. */
  readonly answered: number
  readonly calledAt: number
  readonly answeredAt: number
}

/** How far the client's clock and the database's may be apart, in milliseconds; infinite where the database's was set meanwhile. */
export interface Tolerance {
  readonly clocksMs: number
}

/** An operation in one line, for messages. */
export function describe({ id, called, answered, ask, answer }: Operation): string {
  return `#${id} [${called}, ${answered}] ${JSON.stringify(ask)} -> ${JSON.stringify(answer)}`
}
