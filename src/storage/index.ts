import { existsSync } from 'node:fs'
import { basename, resolve } from 'node:path'
import { StartupError } from '../locks/errors.js'
import type { OpenKeys } from './api-keys.js'
import { BATCHER_LIMITS } from './batcher.js'
import { SqlLockStore, type StoreOptions } from './sql-store.js'
import type { AdvancedTokens } from './migrator.js'

export type { StoreOptions } from './sql-store.js'

/** Loaded when one is needed: a service has one database, and starts sooner without the driver of the other. */
const sqlite = () => import('./sqlite/store.js')
const sqliteConnection = () => import('./sqlite/connection.js')
const postgres = () => import('./postgres/store.js')
const postgresConnection = () => import('./postgres/connection.js')

/**
 * Opens the database, migrates it to the newest version and returns its locks. Only this file knows which databases there are.
 *
 * @throws StartupError with one sentence when the database cannot be used.
 */
export async function openStore(options: StoreOptions): Promise<SqlLockStore> {
  const location = parseDatabaseUrl(options.databaseUrl)
  refuseListenUrl(location.kind, options.listenUrl)
  const backend = await (location.kind === 'sqlite' ? (await sqlite()).sqliteBackend(location.file, options) : (await postgres()).postgresBackend(location.url, options))
  return new SqlLockStore(backend, { ...BATCHER_LIMITS, maxWaiting: options.maxWaiting ?? BATCHER_LIMITS.maxWaiting })
}

/**
 * Opens only the keys of the database, beside a service that may be running on it. A database that is not there yet is made.
 *
 * @throws StartupError with one sentence when the database cannot be used.
 */
export async function openKeys(databaseUrl: string): Promise<OpenKeys> {
  const location = parseDatabaseUrl(databaseUrl)
  return await (location.kind === 'sqlite' ? (await sqliteConnection()).sqliteKeys(location.file) : (await postgres()).postgresKeys(location.url))
}

/** Brings the database to the newest version and closes it again; resolves to the names of the migrations that were run. */
export async function migrateDatabase(databaseUrl: string): Promise<readonly string[]> {
  const location = parseDatabaseUrl(databaseUrl)
  return await (location.kind === 'sqlite' ? (await sqliteConnection()).migrateSqlite(location.file) : (await postgres()).migratePostgres(location.url))
}

/**
 * Raises the numbers of a database that was restored from a backup, so that they go on above every one that was given since
 * it was made; see {@link target}. To be done before the service is started on it.
 *
 * @param above the largest number that is known to have been given; undefined reckons how many may have been.
 * @throws StartupError when the database cannot be used or the service runs on it.
 */
export async function advanceTokens(databaseUrl: string, above: number | undefined): Promise<AdvancedTokens> {
  const location = parseDatabaseUrl(databaseUrl)
  if (location.kind === 'sqlite' && location.file === ':memory:') throw new StartupError('A database in memory is never restored from a backup.')
  if (location.kind === 'sqlite' && !existsSync(location.file)) throw new StartupError(`There is no SQLite file ${resolve(location.file)}; restore the backup first.`)
  await migrateDatabase(databaseUrl)
  if (location.kind === 'sqlite') return await (await sqliteConnection()).advanceSqliteTokens(location.file, above)
  return await (await postgres()).advancePostgresTokens(location.url, above)
}

/** Where a database is, for people: without user and password. */
export async function describeDatabase(databaseUrl: string): Promise<string> {
  const location = parseDatabaseUrl(databaseUrl)
  if (location.kind === 'postgres') return (await postgresConnection()).describePostgres(location.url)
  return location.file === ':memory:' ? 'memory, and end with the process' : `the SQLite file ${resolve(location.file)}`
}

/** The name of a database for its users, who learn neither its host nor its folder. */
export async function databaseName(databaseUrl: string): Promise<string> {
  const location = parseDatabaseUrl(databaseUrl)
  if (location.kind === 'postgres') return `PostgreSQL ${(await postgresConnection()).postgresDatabaseName(location.url)}`
  return location.file === ':memory:' ? 'SQLite in memory' : `SQLite ${basename(location.file)}`
}

function refuseListenUrl(kind: 'sqlite' | 'postgres', listenUrl: string | undefined): void {
  if (listenUrl === undefined) return
  if (kind === 'sqlite') throw new StartupError('DATABASE_LISTEN_URL is of no use with SQLite, which has no sessions; leave it out.')
  if (!isPostgresUrl(listenUrl)) {
    throw new StartupError(`DATABASE_LISTEN_URL is not a well-formed PostgreSQL URL; ${ENCODE}; expected postgres://USER:PASSWORD@HOST/DATABASE.`)
  }
}

/** Where the locks are kept, read from a `DATABASE_URL`. */
export type DatabaseLocation =
  | { readonly kind: 'sqlite'; readonly file: string }
  | { readonly kind: 'postgres'; readonly url: string }

const POSTGRES = /^postgres(?:ql)?:\/\//
export const ENCODE = 'percent-encode the password (@ is %40, / is %2F, ? is %3F, # is %23, % is %25)'
const EXPECTED = 'expected sqlite:///./FILE.db, sqlite:FILE.db, sqlite::memory: or postgres://USER:PASSWORD@HOST/DATABASE'

/**
 * Reads a database URL. SQLite is written as SQLAlchemy does, `sqlite:///./x.db` (relative) and `sqlite:////var/x.db`
 * (absolute), or short, `sqlite:x.db`; `sqlite::memory:` and `sqlite://` live in memory and end with the process.
 *
 * @throws StartupError when it is neither; the sentence does not repeat a URL that may hold a password.
 */
export function parseDatabaseUrl(url: string): DatabaseLocation {
  if (POSTGRES.test(url)) {
    if (!isPostgresUrl(url)) throw new StartupError(`DATABASE_URL is not a well-formed PostgreSQL URL; ${ENCODE}; ${EXPECTED}.`)
    return { kind: 'postgres', url }
  }
  const sqlite = /^sqlite:(?:\/\/\/?)?(?<file>.*)$/s.exec(url)
  if (sqlite === null) {
    const scheme = /^[a-z0-9+.-]+(?=:)/i.exec(url)?.[0]
    const found = scheme === undefined ? 'has no scheme' : `has the scheme '${scheme}'`
    throw new StartupError(`DATABASE_URL ${found}; ${EXPECTED}.`)
  }
  const text = sqlite.groups?.['file'] ?? ''
  // The driver leaves out spaces around a name: it must not have another name here.
  const file = decodeFile(text).trim()
  if (file === '' || file === ':memory:') return { kind: 'sqlite', file: ':memory:' }
  if (file.includes('\0') || /[?#]/.test(text)) throw new StartupError(`DATABASE_URL names no usable SQLite file; ${EXPECTED}.`)
  return { kind: 'sqlite', file }
}

/**
 * Whether each part of the URL can be read as it was meant. A character of the password that ends the host's part too early
 * leaves an `@` or a `#` behind; what stands before it would then be taken for the host and shown.
 */
export function isPostgresUrl(url: string): boolean {
  if (/^[^/]*\/\/[^/?#]*[/?#].*@|#/s.test(url)) return false
  try {
    // No host stands before the socket folder that the query names.
    const { username, password, pathname } = new URL(url.replace('@/', '@localhost/'))
    for (const part of [username, password, pathname]) decodeURIComponent(part)
    return POSTGRES.test(url)
  } catch {
    return false
  }
}

function decodeFile(file: string): string {
  try {
    return decodeURIComponent(file)
  } catch {
    return file
  }
}
