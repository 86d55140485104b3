import { existsSync, statSync } from 'node:fs'
import Database from 'better-sqlite3'
import { Kysely, SqliteDialect } from 'kysely'
import { StartupError } from '../../locks/errors.js'
import { migrateToLatest } from '../migrator.js'
import type { Tables } from '../tables.js'
import { codeOf } from './errors.js'
import { createPrivate, locateFile, lockFile, refuseReadOnly, warningsOf } from './files.js'
import { DiskReserve } from './disk-reserve.js'

export interface OpenSqlite extends Disposable {
  readonly database: Database.Database
  readonly db: Kysely<Tables>
  readonly reserve: DiskReserve | undefined
  /** What an operator should know about the files, in sentences. */
  readonly warnings: readonly string[]
}

/** How long to wait for another program that writes, in milliseconds. */
const PATIENCE_MS = 250

/** Four times the usual: pages that change again meanwhile are moved once. */
const CHECKPOINT_PAGES = 4000

/** Twice what a log has when it is moved into the database. It gets longer only while another program reads. */
const LOG_LIMIT_BYTES = 2 * CHECKPOINT_PAGES * 4096

/**
 * Opens a SQLite file for this process alone, durably: write-ahead log, each commit flushed to the disk.
 *
 * @throws StartupError when it cannot be opened, is no SQLite database, is damaged or belongs to another server.
 */
export function openSqlite(file: string): OpenSqlite {
  const inMemory = file === ':memory:'
  const path = inMemory ? file : locateFile(file)
  const cleanUps: (() => void)[] = []
  const close = (): void => {
    for (const cleanUp of cleanUps.toReversed()) cleanUp()
  }
  try {
    if (!inMemory) {
      refuseReadOnly(path)
      cleanUps.push(lockFile(path))
      if (existsSync(path)) refuseDamaged(path)
      else createPrivate(path)
    }
    const database = new Database(path, { timeout: PATIENCE_MS })
    cleanUps.push(() => database.close())
    setUp(database, path)
    const reserve = inMemory ? undefined : new DiskReserve(path)
    const db = new Kysely<Tables>({ dialect: new SqliteDialect({ database }) })
    return { database, db, reserve, warnings: inMemory ? [] : warningsOf(path), [Symbol.dispose]: close }
  } catch (error) {
    close()
    throw asStartupError(error, path)
  }
}

function setUp(database: Database.Database, path: string): void {
  const mode = database.pragma('journal_mode = wal', { simple: true })
  if (mode !== 'wal' && mode !== 'memory') {
    throw new StartupError(`The file system of the SQLite file ${path} cannot do what a write-ahead log needs; use a local disk.`)
  }
  database.pragma('synchronous = full')
  database.pragma(`wal_autocheckpoint = ${CHECKPOINT_PAGES}`)
  database.pragma(`journal_size_limit = ${LOG_LIMIT_BYTES}`)
  // SQLite opens a file that it may not write to as well, and says so only when something is written.
  database.exec('begin immediate; rollback')
}

/**
 * Shortens a log that got long while another program read the database. It does not wait: while somebody still reads,
 * the log is left as it is until the next time.
 */
export function shortenLog(database: Database.Database): void {
  if (database.memory || (statSync(`${database.name}-wal`, { throwIfNoEntry: false })?.size ?? 0) <= LOG_LIMIT_BYTES) return
  database.pragma('busy_timeout = 0')
  try {
    database.pragma('wal_checkpoint(truncate)')
  } catch {
    // No room in the database for what the log holds; the commits find that out too.
  } finally {
    database.pragma(`busy_timeout = ${PATIENCE_MS}`)
  }
}

/** Opens a file and brings it to the newest version. */
export async function openMigrated(file: string): Promise<OpenSqlite> {
  const opened = openSqlite(file)
  try {
    await migrate(opened)
    return opened
  } catch (error) {
    opened[Symbol.dispose]()
    throw error
  }
}

/** Runs all migrations that are due, or none of them; resolves to their names. */
export async function migrate({ database, db }: OpenSqlite): Promise<readonly string[]> {
  try {
    // Kysely has none for SQLite: a process that was killed in between would leave half a migration.
    database.exec('begin immediate')
    const names = await migrateToLatest(db, 'sqlite')
    database.exec('commit')
    return names
  } catch (error) {
    if (database.inTransaction) database.exec('rollback')
    throw asStartupError(error, database.name)
  }
}

/**
 * A look at every page would take minutes on a large file; the structure of what is read at start is checked at least.
 * A connection that may write would move its log into a damaged file as soon as it is closed.
 */
function refuseDamaged(file: string): void {
  const database = new Database(file, { readonly: true, timeout: PATIENCE_MS })
  try {
    const large = (database.pragma('page_count', { simple: true }) as number) > 50_000
    const found = large ? 'ok' : database.pragma('quick_check(1)', { simple: true })
    if (found !== 'ok') throw damaged(file)
  } finally {
    database.close()
  }
}

function damaged(file: string): StartupError {
  return new StartupError(`The SQLite file ${file} is damaged; restore it from a backup. It was left as it is.`)
}

/** Turns what went wrong before the service could listen into the sentence that says why, where there is one. */
export function asStartupError(error: unknown, file: string): unknown {
  const code = codeOf(error)
  if (code === 'ERR_DLOPEN_FAILED' || (error instanceof Error && error.message.startsWith('Could not locate the bindings file'))) {
    return new StartupError(`The package better-sqlite3 was not built for this Node (${process.version}, ${process.platform} ${process.arch}); run npm rebuild better-sqlite3.`)
  }
  if (code === 'SQLITE_NOTADB') return new StartupError(`The file ${file} is not a SQLite database; it was left as it is.`)
  if (code.startsWith('SQLITE_CORRUPT')) return damaged(file)
  if (code.startsWith('SQLITE_BUSY')) return new StartupError(`The SQLite file ${file} is in use by another program.`)
  if (code === 'SQLITE_FULL') return new StartupError(`The disk of the SQLite file ${file} is full.`)
  if (/^SQLITE_(?:CANTOPEN|PERM|READONLY|IOERR)/.test(code)) {
    return new StartupError(`The SQLite file ${file} cannot be opened for writing.`)
  }
  return error
}
