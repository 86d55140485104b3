import pg from 'pg'
import { LockError } from '../../locks/errors.js'

/** The SQLSTATE of what PostgreSQL answered; undefined when it was the connection that failed. */
export function sqlStateOf(error: unknown): string | undefined {
  // Not by the look of the code: EPIPE has five capitals too.
  return error instanceof pg.DatabaseError ? error.code : undefined
}

/** Lost a race that nobody is to blame for; nothing was changed and the statement may simply run again. */
export function isTransient(error: unknown): boolean {
  const state = sqlStateOf(error)
  // 23505: another transaction was remembering the same request id.
  return state === '40001' || state === '40P01' || state === '23505' || state === BELATED
}

/** Some resource of a request for several was taken while its statement ran; see `acquireParts`. */
export const INCOMPLETE = '2201E'

/** A grant would have borne the number and the clock of before a wait; its statement divides by zero to be undone. */
const BELATED = '22012'

/** A mistake in the program or in what it reads, not a fault of the database: neither Node nor the driver report those so. */
export function isBug(error: unknown): boolean {
  return !(error instanceof Error) || [TypeError, RangeError, SyntaxError, ReferenceError].some((kind) => error instanceof kind)
}

/** The connection is of no more use: it broke, or the server ended it (class 57, `admin_shutdown` and its like, or a time limit). */
export function isConnectionLost(error: unknown): boolean {
  const state = sqlStateOf(error)
  return state === undefined ? !isBug(error) : state.startsWith('08') || /^(?:57P0[1-5]|25P0[34])$/.test(state)
}

/** Whether the database as a whole is to blame, so that it would answer every command of a batch in the same way. */
export function isOfDatabase(error: unknown): boolean {
  return isConnectionLost(error) || /^(?:53|57|58|25006)/.test(sqlStateOf(error) ?? '')
}

/**
 * Translates what went wrong; the text stays in `cause` for the log.
 *
 * @param mayHaveCommitted whether a change was under way whose commit the database did not confirm.
 */
export function toLockError(error: unknown, mayHaveCommitted: boolean): Error {
  if (error instanceof LockError) return error
  if (isConnectionLost(error)) return new LockError(mayHaveCommitted ? 'OUTCOME_UNKNOWN' : 'STORAGE_UNAVAILABLE', { cause: error })
  const state = sqlStateOf(error) ?? ''
  if (state === '53100') return new LockError('STORAGE_FULL', { cause: error })
  // The server lets nobody in any more: the password changed (28), the database was dropped (3D000) or is closed (55000).
  if (/^(?:28|3D000|55000)/.test(state)) return new LockError('STORAGE_UNAVAILABLE', { cause: error })
  // Out of resources, stopped by an operator or a time limit, a lock that never came, a standby that cannot write.
  if (/^(?:53|57|55P03|40|25006|58|22012)/.test(state)) return new LockError('STORAGE_UNAVAILABLE', { cause: error })
  return error instanceof Error ? error : new Error(String(error))
}
