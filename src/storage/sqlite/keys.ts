import { existsSync } from 'node:fs'
import Database from 'better-sqlite3'
import { Kysely, SqliteDialect, sql } from 'kysely'
import { StartupError } from '../../locks/errors.js'
import { SqlKeyStore, type OpenKeys } from '../api-keys.js'
import type { Tables } from '../tables.js'
import { migrateSqlite } from './store.js'
import { toLockError } from './errors.js'
import { locateFile, refuseReadOnly } from './files.js'
import { asStartupError } from './connection.js'

/** How long to wait for the service's own commits, in milliseconds; the service waits as patiently for the one commit here. */
const PATIENCE_MS = 5000

/**
 * Opens only the keys of a SQLite file, also while a service has it: what belongs to one server alone are the locks, their
 * numbers and their lines, of which nothing is touched here. The write-ahead log lets a second program write a row.
 */
export async function sqliteKeys(file: string): Promise<OpenKeys> {
  if (file === ':memory:') {
    throw new StartupError('DATABASE_URL names a database in memory, whose keys would be gone at once; name a file or PostgreSQL.')
  }
  const path = locateFile(file)
  let database: Database.Database | undefined
  try {
    refuseReadOnly(path)
    // Only by whoever may be the one server: a running one of an older version must not find its tables changed.
    if (!hasKeys(path)) await migrateSqlite(path)
    const opened = new Database(path, { timeout: PATIENCE_MS, fileMustExist: true })
    database = opened
    opened.pragma('synchronous = full')
    // The service moves the log into the file when it suits it.
    opened.pragma('wal_autocheckpoint = 0')
    const db = new Kysely<Tables>({ dialect: new SqliteDialect({ database: opened }) })
    const keys = new SqlKeyStore({ db, now: () => sql.val(Date.now()), toLockError })
    return { keys, [Symbol.asyncDispose]: () => Promise.resolve(void opened.close()) }
  } catch (error) {
    database?.close()
    throw asStartupError(error, path)
  }
}

function hasKeys(file: string): boolean {
  if (!existsSync(file)) return false
  const database = new Database(file, { readonly: true, timeout: PATIENCE_MS })
  try {
    return database.prepare("select 1 from sqlite_master where type = 'table' and name = 'api_keys'").get() !== undefined
  } finally {
    database.close()
  }
}
