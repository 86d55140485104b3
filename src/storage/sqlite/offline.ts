import { existsSync } from 'node:fs'
import Database from 'better-sqlite3'
import { Kysely, SqliteDialect, sql } from 'kysely'
import { StartupError } from '../../locks/errors.js'
import { SqlKeyStore, type OpenKeys } from '../api-keys.js'
import type { Tables } from '../tables.js'
import { target, type AdvancedTokens } from '../migrator.js'
import { asStartupError, locateFile, migrate, openSqlite, refuseReadOnly, toLockError } from './connection.js'

/** How long a change of the keys waits for the service's commits, in milliseconds; the service waits as long for this one commit. */
const BUSY_TIMEOUT_MS = 5000

/** Brings a file that no service has open to the newest version; resolves to the names of the migrations that were run. */
export async function migrateSqlite(file: string): Promise<readonly string[]> {
  using opened = openSqlite(file)
  return await migrate(opened)
}

/** Advances the tokens of a file that no service has open. */
export async function advanceSqliteTokens(file: string, above: number | undefined): Promise<AdvancedTokens> {
  using opened = openSqlite(file)
  const { db } = opened
  const { last_value: drawn } = await db.selectFrom('lock_numbers').select('last_value').executeTakeFirstOrThrow()
  const row = await db
    .selectFrom('resource_locks')
    .select(({ fn }) => fn.max('id').as('id'))
    .executeTakeFirst()
  const from = Math.max(drawn, row?.id ?? 0)
  const to = await target(db, from, Date.now(), above)
  await db.updateTable('lock_numbers').set({ last_value: to }).execute()
  return { from, to }
}

/**
 * Opens only the keys of a SQLite file, even while a service runs on it: locks, tokens and queues belong to that service,
 * and nothing here touches them. The write-ahead log lets a second program write a row.
 */
export async function sqliteKeys(file: string): Promise<OpenKeys> {
  if (file === ':memory:') {
    throw new StartupError('DATABASE_URL names a database in memory, whose keys would be gone at once; name a file or PostgreSQL.')
  }
  const path = locateFile(file)
  let database: Database.Database | undefined
  try {
    refuseReadOnly(path)
    // Migrating needs the owner lock: a running service of an older version must not find its tables changed.
    if (!hasKeys(path)) await migrateSqlite(path)
    const opened = new Database(path, { timeout: BUSY_TIMEOUT_MS, fileMustExist: true })
    database = opened
    opened.pragma('synchronous = full')
    // Only the service moves the log into the file.
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
  const database = new Database(file, { readonly: true, timeout: BUSY_TIMEOUT_MS })
  try {
    return database.prepare("select 1 from sqlite_master where type = 'table' and name = 'api_keys'").get() !== undefined
  } finally {
    database.close()
  }
}
