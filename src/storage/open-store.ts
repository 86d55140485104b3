import type { StoreOptions } from './backend.js'
import { parseDatabaseUrl } from './database-url.js'
import type { OpenKeys } from './keys.js'
import { migratePostgres, postgresBackend, postgresKeys } from './postgres/backend.js'
import { SqlLockStore } from './sql-lock-store.js'
import { migrateSqlite, sqliteBackend } from './sqlite/backend.js'
import { sqliteKeys } from './sqlite/keys.js'

export type { StoreOptions } from './backend.js'

const MAX_BATCH = 256
const MAX_WAITING = 10_000

/**
 * Opens the database, brings it to the newest version and hands out its locks. Together with the next functions the only
 * place that knows which databases there are.
 *
 * @throws StartupError with one sentence when the database cannot be used.
 */
export async function openStore(options: StoreOptions): Promise<SqlLockStore> {
  const location = parseDatabaseUrl(options.databaseUrl)
  const backend = await (location.kind === 'sqlite' ? sqliteBackend(location.file, options) : postgresBackend(location.url, options))
  return new SqlLockStore(backend, { maxBatch: MAX_BATCH, maxWaiting: options.maxWaiting ?? MAX_WAITING })
}

/**
 * Opens only the keys of the database, beside a service that may be running on it. A database that is not there yet is made.
 *
 * @throws StartupError with one sentence when the database cannot be used.
 */
export function openKeys(databaseUrl: string): Promise<OpenKeys> {
  const location = parseDatabaseUrl(databaseUrl)
  return location.kind === 'sqlite' ? sqliteKeys(location.file) : postgresKeys(location.url)
}

/** Brings the database to the newest version and closes it again; resolves to the names of the migrations that were run. */
export function migrateDatabase(databaseUrl: string): Promise<readonly string[]> {
  const location = parseDatabaseUrl(databaseUrl)
  return location.kind === 'sqlite' ? migrateSqlite(location.file) : migratePostgres(location.url)
}
