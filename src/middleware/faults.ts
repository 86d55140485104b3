import { LockRequestError, LockServiceUnavailableError } from '../client/errors.js'
import { LockError } from '../locks/errors.js'

/** How a request is refused. */
export interface Refusal {
  readonly status: number
  readonly body: { readonly error: string; readonly lockedBy?: string }
}

/**
 * What a request is told when asking for its lock failed.
 *
 * @throws the error itself when it is no fault of the request and says nothing about the service: a bug, or a key that is refused.
 */
export function refusalFor(error: unknown): Refusal {
  // A name from the request that no lock can have.
  if (error instanceof RangeError) return { status: 400, body: { error: error.message } }
  if (error instanceof LockRequestError && error.code === 'INVALID_REQUEST') return { status: 400, body: { error: 'No lock can have such a name' } }
  if (error instanceof LockServiceUnavailableError || error instanceof LockError) return { status: 503, body: { error: 'The lock service is not available' } }
  throw error
}
