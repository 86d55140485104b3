/** Faults that are not the caller's. Refusals (held, not held) are outcomes, not errors. */
export type LockErrorCode =
  /** The database cannot be reached or refuses to work; nothing was changed. */
  | 'STORAGE_UNAVAILABLE'
  /** The connection broke around the commit: the change may or may not have happened. */
  | 'OUTCOME_UNKNOWN'
  /** No room on the disk; nothing was changed. Releasing still works. */
  | 'STORAGE_FULL'
  /** More requests are waiting for the database than the service keeps; nothing was changed. */
  | 'OVERLOADED'
  /** The caller, or everybody at that resource, takes up as much as is allowed; nothing was changed. */
  | 'TOO_MANY_REQUESTS'
  /** The service is shutting down; nothing was changed. */
  | 'DRAINING'

/** The message of each fault for callers: no SQL, no path, no host name. */
const SENTENCES: Record<LockErrorCode, string> = {
  STORAGE_UNAVAILABLE: 'The database is not available; nothing was changed',
  OUTCOME_UNKNOWN: 'The connection to the database broke before it confirmed the change; it may or may not have happened',
  STORAGE_FULL: 'The disk of the database is full; nothing was changed',
  OVERLOADED: 'Too many requests are waiting for the database; nothing was changed',
  TOO_MANY_REQUESTS: 'Too many requests; nothing was changed',
  DRAINING: 'The service is shutting down; nothing was changed'
}

/** A fault of storage or of the service itself. `message` is safe to send to a caller; `cause` is for the log only. */
export class LockError extends Error {
  override readonly name = 'LockError'
  readonly code: LockErrorCode

  /** @param options `detail` says more than the sentence of the code, and is as safe to send. */
  constructor(code: LockErrorCode, options?: { cause?: unknown; detail?: string }) {
    super(options?.detail ?? SENTENCES[code], options)
    this.code = code
  }
}

/**
 * What the log may show of an error that came from outside: a driver attaches whole connections, with their secrets, to its
 * errors.
 */
export function briefOf(error: unknown): { readonly code?: string; readonly message: string } {
  if (!(error instanceof Error)) return { message: String(error) }
  return 'code' in error && typeof error.code === 'string' ? { code: error.code, message: error.message } : { message: error.message }
}

/** The caller's key does not allow what it asked for; `message` is safe to send. Nothing was changed. */
export class ForbiddenError extends Error {
  override readonly name = 'ForbiddenError'
}

/** The message for a caller without a key. */
export const KEY_NEEDED = 'This call needs an API key, sent as Authorization: Bearer KEY'

/** The caller has no key, or none that is valid; `message` is safe to send. */
export class UnauthorizedError extends Error {
  override readonly name = 'UnauthorizedError'

  constructor(message = 'The API key is not valid: it is unknown, revoked or expired') {
    super(message)
  }
}

/** A fault of set-up: the service cannot start, and `message` is the one sentence that says why. */
export class StartupError extends Error {
  override readonly name = 'StartupError'
}
