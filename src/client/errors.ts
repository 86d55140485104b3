import type { Conflict, NotHeldReason } from './answers.js'

/** Another process has the lock, and kept it for as long as the client waited. */
export class LockNotAcquiredError extends Error {
  override readonly name = 'LockNotAcquiredError'
  declare readonly resourceName: string
  /** What stood in the way at the last try. */
  declare readonly conflict: Conflict

  constructor(resourceName: string, conflict: Conflict) {
    super(`Resource '${resourceName}' is locked by process '${conflict.lockedBy}'`)
    Object.assign(this, { resourceName, conflict })
  }
}

/** `unconfirmed`: the lease may have run out by the client's own count, since no renewal was confirmed in time. */
export type LossReason = NotHeldReason | 'unconfirmed'

const LOSSES: Readonly<Record<LossReason, string>> = {
  unconfirmed: 'no renewal was confirmed before its lease could run out',
  expired: 'its lease ran out',
  released: 'it was released or taken away',
  held_by_other: 'another grant is valid now',
  not_locked: 'nobody holds it'
}

/** The lock is no longer held, or may no longer be. Whatever it protects must be left alone from now on. */
export class LockLostError extends Error {
  override readonly name = 'LockLostError'
  declare readonly resourceName: string
  declare readonly lockId: number
  declare readonly reason: LossReason

  /** @param options `cause`: what kept the last renewal from being confirmed. */
  constructor(resourceName: string, lockId: number, reason: LossReason, options?: { cause?: unknown }) {
    super(`Lock ${lockId} of resource '${resourceName}' is lost: ${LOSSES[reason]}`, options)
    Object.assign(this, { resourceName, lockId, reason })
  }
}

export interface Unavailability {
  /** The service's own code (`STORAGE_UNAVAILABLE`, `DRAINING`, …); undefined when none of its answers was read. */
  readonly code?: string | undefined
  /** Undefined when there was no answer at all. */
  readonly status?: number | undefined
  /** Whether the call may have taken effect all the same. */
  readonly outcomeUnknown: boolean
  /** What the service said about it. */
  readonly detail?: unknown
  /** How long the service asks to be left alone, in milliseconds. */
  readonly retryAfterMs?: number | undefined
  readonly requestId?: string | undefined
  readonly processId?: string | undefined
  readonly cause?: unknown
}

/** The service, or its database, could not be reached or refused to work: that says neither "locked" nor "free". */
export class LockServiceUnavailableError extends Error {
  override readonly name = 'LockServiceUnavailableError'
  declare readonly code: string | undefined
  declare readonly status: number | undefined
  declare readonly outcomeUnknown: boolean
  declare readonly detail: unknown
  declare readonly retryAfterMs: number | undefined
  /** Of a request for a lock that may have been granted: `acquire` with the same `requestId`, `processId` and options resumes it. */
  declare readonly requestId: string | undefined
  declare readonly processId: string | undefined

  constructor(message: string, what: Unavailability) {
    super(message)
    Object.assign(this, what)
  }
}

/** The call itself was refused, and would be again: a fault of form, a key that does not allow it, an id that was used before. */
export class LockRequestError extends Error {
  override readonly name = 'LockRequestError'
  declare readonly status: number
  /** `INVALID_REQUEST`, `REDIRECTED`, `UNAUTHORIZED`, `FORBIDDEN`, `REQUEST_ID_REUSED`, … */
  declare readonly code: string
  /** A sentence, or for `INVALID_REQUEST` the list of faults. */
  declare readonly detail: unknown

  constructor(status: number, code: string, detail: unknown) {
    super(`${code}: ${typeof detail === 'string' ? detail : JSON.stringify(detail)}`)
    Object.assign(this, { status, code, detail })
  }
}

/** A flow asked `withLock` for a lock that it has: it would wait for itself. */
export class LockReentryError extends Error {
  override readonly name = 'LockReentryError'
  declare readonly resourceName: string

  constructor(resourceName: string) {
    super(`This flow has the lock of resource '${resourceName}' already and would wait for itself; with reentrant: true it works under that lock`)
    this.resourceName = resourceName
  }
}

/** Events were missed for good: why the service ended the stream. */
export class LockWatchEndedError extends Error {
  override readonly name = 'LockWatchEndedError'
  /** `too_old`: the history no longer reaches back so far. `no_history`: the service keeps none. */
  declare readonly reason: string

  constructor(reason: string) {
    super(reason === 'no_history' ? 'The service keeps no history to watch' : `The stream of events ended: ${reason}`)
    this.reason = reason
  }
}
