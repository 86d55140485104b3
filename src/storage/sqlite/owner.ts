import Database from 'better-sqlite3'
import { StartupError } from '../../locks/errors.js'
import { codeOf } from './errors.js'

/**
 * Makes this process the only server on a SQLite file, until the returned function is called or the process ends in
 * whatever way. The mark is an exclusive transaction on a second, empty database beside it: the operating system takes
 * its locks back even from a process that was killed, so that no stale mark can keep a restart out.
 *
 * @throws StartupError when another server has the file.
 */
export function ownFile(file: string): () => void {
  const owner = new Database(`${file}-owner`, { timeout: 0 })
  try {
    owner.pragma('journal_mode = memory')
    owner.exec('begin exclusive')
  } catch (error) {
    owner.close()
    if (!codeOf(error).startsWith('SQLITE_BUSY')) throw error
    throw new StartupError(
      `Another server is already running on the SQLite file ${file}; stop it, or use PostgreSQL to run several instances.`
    )
  }
  return () => owner.close()
}
