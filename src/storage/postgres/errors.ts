import pg from 'pg'
import { LockError } from '../../locks/errors.js'

/** The SQLSTATE of an error that PostgreSQL returned; undefined for every other error, such as one of the connection. */
export function sqlStateOf(error: unknown): string | undefined {
  // The form of the code does not decide: EPIPE has five capitals too.
  return error instanceof pg.DatabaseError ? error.code : undefined
}

/** The statement lost a race; nothing was changed, and it may run again. */
export function isTransient(error: unknown): boolean {
  const state = sqlStateOf(error)
  // 23505: another transaction saved the same request id.
  return state === '40001' || state === '40P01' || state === '23505' || state === STALE
}

/** One of several requested resources was taken while the statement ran; see `acquireParts`. */
export const INCOMPLETE = '2201E'

/** A grant has the token and the clock of before a wait; its statement divides by zero to fail. */
const STALE = '22012'

/** An error in the program or in the data that it reads: Node and the driver report faults of the database by other classes. */
export function isBug(error: unknown): boolean {
  return !(error instanceof Error) || [TypeError, RangeError, SyntaxError, ReferenceError].some((kind) => error instanceof kind)
}

/** The connection broke, or the server ended it (`admin_shutdown` and others of class 57, or a time limit). */
export function isConnectionLost(error: unknown): boolean {
  const state = sqlStateOf(error)
  return state === undefined ? !isBug(error) : state.startsWith('08') || /^(?:57P0[1-5]|25P0[34])$/.test(state)
}

/** The database as a whole failed, so that every command of the batch would fail in the same way. */
export function isOfDatabase(error: unknown): boolean {
  return isConnectionLost(error) || /^(?:53|57|58|25006)/.test(sqlStateOf(error) ?? '')
}

/**
 * Translates an error of the database; its text stays in `cause` for the log. Other errors are returned as they are.
 *
 * @param mayHaveCommitted whether a change was sent whose commit the database did not confirm.
 */
export function toLockError(error: unknown, mayHaveCommitted: boolean): Error {
  if (error instanceof LockError) return error
  if (isConnectionLost(error)) return new LockError(mayHaveCommitted ? 'OUTCOME_UNKNOWN' : 'STORAGE_UNAVAILABLE', { cause: error })
  const state = sqlStateOf(error) ?? ''
  if (state === '53100') return new LockError('STORAGE_FULL', { cause: error })
  // The server refuses connections now: the password changed (28), the database was dropped (3D000) or is closed (55000).
  if (/^(?:28|3D000|55000)/.test(state)) return new LockError('STORAGE_UNAVAILABLE', { cause: error })
  // Out of resources, cancelled by an operator or a time limit, a lock timeout, a standby that cannot write.
  if (/^(?:53|57|55P03|40|25006|58|22012)/.test(state)) return new LockError('STORAGE_UNAVAILABLE', { cause: error })
  return error instanceof Error ? error : new Error(String(error))
}
