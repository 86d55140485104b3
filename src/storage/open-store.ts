import { StartupError } from '../locks/errors.js'
import type { StoreOptions } from './backend.js'
import { parseDatabaseUrl } from './database-url.js'
import { migratePostgres, postgresBackend } from './postgres/backend.js'
import { SqlLockStore } from './sql-lock-store.js'
import { migrateSqlite, sqliteBackend } from './sqlite/backend.js'

export type { StoreOptions } from './backend.js'

const MAX_BATCH = 256
const MAX_WAITING = 10_000

/**
 * Opens the database, brings it to the newest version and hands out its locks. Together with the next function the only
 * place that knows which databases there are.
 *
 * @throws StartupError with one sentence when the database cannot be used.
 */
export async function openStore(options: StoreOptions): Promise<SqlLockStore> {
  const location = parseDatabaseUrl(options.databaseUrl)
  refuseListenUrl(location.kind, options.listenUrl)
  const backend = await (location.kind === 'sqlite' ? sqliteBackend(location.file, options) : postgresBackend(location.url, options))
  return new SqlLockStore(backend, { maxBatch: MAX_BATCH, maxWaiting: options.maxWaiting ?? MAX_WAITING })
}

/** Brings the database to the newest version and closes it again; resolves to the names of the migrations that were run. */
export function migrateDatabase(databaseUrl: string): Promise<readonly string[]> {
  const location = parseDatabaseUrl(databaseUrl)
  return location.kind === 'sqlite' ? migrateSqlite(location.file) : migratePostgres(location.url)
}

function refuseListenUrl(kind: 'sqlite' | 'postgres', listenUrl: string | undefined): void {
  if (listenUrl === undefined) return
  if (kind === 'sqlite') throw new StartupError('DATABASE_LISTEN_URL is of no use with SQLite, which has no sessions; leave it out.')
  if (!/^postgres(?:ql)?:\/\//.test(listenUrl) || !URL.canParse(listenUrl)) {
    throw new StartupError('DATABASE_LISTEN_URL is not a well-formed PostgreSQL URL; expected postgres://USER:PASSWORD@HOST/DATABASE.')
  }
}
