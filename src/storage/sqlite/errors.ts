import { LockError } from '../../locks/errors.js'

/** Translates what SQLite threw. Nothing of the text leaves the service; it stays in `cause` for the log. */
export function toLockError(error: unknown): LockError | Error {
  const code = codeOf(error)
  if (code === 'SQLITE_FULL') return new LockError('STORAGE_FULL', { cause: error })
  // After a failed flush nobody knows what reached the disk.
  if (code === 'SQLITE_IOERR_FSYNC' || code === 'SQLITE_IOERR_DIR_FSYNC') return new LockError('OUTCOME_UNKNOWN', { cause: error })
  if (UNAVAILABLE.test(code)) return new LockError('STORAGE_UNAVAILABLE', { cause: error })
  return error instanceof Error ? error : new Error(String(error))
}

const UNAVAILABLE = /^SQLITE_(?:IOERR|BUSY|LOCKED|CANTOPEN|CORRUPT|NOTADB|READONLY|PERM|PROTOCOL)/

export function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : ''
}
