import type { NotHeldReason, Sharing, Terms } from '../../../src/locks/lock.js'

/*
 * The words of a history: what clients asked of one resource, what they were told, and when.
 *
 * `called` and `answered` are stamps of one counter, which gives the order in which the client saw things happen. The
 * instants beside them are milliseconds since 1970 by the client's clock, which has to agree with the database's to
 * within a tolerance (see `Tolerance`).
 */

export type Ask =
  /** `sharing` null or left out asks for all of it; `together` names the call for several resources that this is a part of. */
  | {
      readonly kind: 'request'
      readonly process: string
      readonly ttlMs: number | null
      readonly waits: boolean
      readonly requestId: string | null
      readonly sharing?: Sharing | null
      readonly terms?: Terms
      readonly together?: string
    }
  /** `ttlMs` undefined takes the lease with which the grant was made. */
  | { readonly kind: 'renew'; readonly process: string; readonly lockId: number | null; readonly ttlMs: number | null | undefined }
  /** Without a process: taken away from its holder, or from all that share it. */
  | { readonly kind: 'release'; readonly process: string | null; readonly lockId: number | null; readonly keepMs?: number; readonly freesAtOnce?: boolean }
  | { readonly kind: 'convert'; readonly process: string; readonly lockId: number | null; readonly sharing: Sharing | null }
  | { readonly kind: 'revoke'; readonly process: null; readonly lockId: number | null; readonly graceMs: number }
  | { readonly kind: 'look' }
  /** Not a client's: the service gives back what a waiter was granted whose connection is gone. */
  | { readonly kind: 'give-back'; readonly of: number; readonly process: string }

/** A grant as an answer describes it; times are the database's. */
export interface Told {
  readonly process: string
  readonly lockId: number
  readonly lockedAt: number
  readonly expiresAt: number | null
  /** Null or left out for all of the resource. */
  readonly sharing?: Sharing | null
  /** Of a share with a limit; left out where nobody was told. */
  readonly slots?: readonly number[]
}

/** A holder that stands in the way, or is seen. */
export interface Holder extends Pick<Told, 'process' | 'lockId' | 'expiresAt'> {
  /** It holds the resource no longer, which is kept until `expiresAt`. */
  readonly kept?: boolean
}

/** What the shares of a resource amount to. */
export interface UsageTold {
  readonly holders: number
  readonly used: number
  readonly limit: number | null
}

export type Answer =
  | { readonly kind: 'granted'; readonly grant: Told; readonly replayed: boolean }
  /**
   * `by` is null where the resource is kept for the first in line. To a request it says when the resource may be free, to a look
   * when the lease ends. `all`: those who share it, to a look.
   */
  | { readonly kind: 'held'; readonly by: Holder | null; readonly usage?: UsageTold; readonly all?: readonly Told[] }
  | { readonly kind: 'reused' }
  /** `revokedAt`: no renewal moves its end past that; left out where nobody was told. */
  | { readonly kind: 'renewed'; readonly grant: Told; readonly at: number; readonly revokedAt?: number | null }
  /** `all`: the shares that were taken away. `freeAt`: until when it is kept, null for not at all, left out where nobody was told. */
  | { readonly kind: 'released'; readonly at: number; readonly process: string; readonly lockId: number | null; readonly all?: readonly Told[]; readonly freeAt?: number | null }
  | { readonly kind: 'converted'; readonly grant: Told }
  /** All that were revoked, as they end now; `revokeAt` is said of the one of that number. */
  | { readonly kind: 'revoked'; readonly all: readonly Told[]; readonly lockId: number; readonly revokeAt: number }
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
