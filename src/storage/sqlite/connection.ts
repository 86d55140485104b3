import { accessSync, chmodSync, chownSync, closeSync, constants, existsSync, openSync, readlinkSync, realpathSync, statSync, type Stats } from 'node:fs'
import { basename, dirname, join, resolve } from 'node:path'
import Database from 'better-sqlite3'
import { Kysely, SqliteDialect } from 'kysely'
import { LockError, StartupError } from '../../locks/errors.js'
import { migrateToLatest } from '../migrator.js'
import type { Tables } from '../tables.js'
import { DiskReserve, PRIVATE_MODE } from './disk-reserve.js'

export interface OpenSqlite extends Disposable {
  readonly database: Database.Database
  readonly db: Kysely<Tables>
  readonly reserve: DiskReserve | undefined
  /** What an operator should know about the files, in sentences. */
  readonly warnings: readonly string[]
}

/** How long a statement waits while another program writes, in milliseconds. */
const BUSY_TIMEOUT_MS = 250

/** Four times SQLite's default: a page that changes several times is moved into the database once. */
const CHECKPOINT_PAGES = 4000

/** Twice the length at which the log is moved into the database. It gets longer only while another program reads. */
const LOG_LIMIT_BYTES = 2 * CHECKPOINT_PAGES * 4096

/** The database itself, the files that SQLite keeps beside it, and the file that {@link lockFile} locks. */
const ENDINGS = ['', '-wal', '-shm', '-owner'] as const

/** Links that may follow each other; more are a circle. */
const MAX_LINKS = 40

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
    const database = new Database(path, { timeout: BUSY_TIMEOUT_MS })
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
  // SQLite opens a read-only file too, and reports it only at the first write.
  database.exec('begin immediate; rollback')
}

/** Shortens a log that got long while another program read the database. While one still reads, the log stays as it is until the next time. */
export function shortenLog(database: Database.Database): void {
  if (database.memory || (statSync(`${database.name}-wal`, { throwIfNoEntry: false })?.size ?? 0) <= LOG_LIMIT_BYTES) return
  database.pragma('busy_timeout = 0')
  try {
    database.pragma('wal_checkpoint(truncate)')
  } catch {
    // The disk has no room to move the log into the database; the next commits report that.
  } finally {
    database.pragma(`busy_timeout = ${BUSY_TIMEOUT_MS}`)
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
    // Kysely opens no transaction on SQLite: a process that is killed in between would leave half a migration.
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
 * Checks the structure of a small file; to check every page of a large one would take minutes. It opens the file read-only:
 * a connection that may write would move the log into a damaged file when it closes.
 */
function refuseDamaged(file: string): void {
  const database = new Database(file, { readonly: true, timeout: BUSY_TIMEOUT_MS })
  try {
    const large = (database.pragma('page_count', { simple: true }) as number) > 50_000
    const found = large ? 'ok' : database.pragma('quick_check(1)', { simple: true })
    if (found !== 'ok') throw damaged(file)
  } finally {
    database.close()
  }
}

/**
 * The absolute path behind every symbolic link, by which SQLite names the files beside the database. The database itself
 * need not exist yet.
 *
 * @throws StartupError when its folder does not exist, or when the file has a second name.
 */
export function locateFile(file: string): string {
  let path = resolve(file)
  for (let links = 0; ; links += 1) {
    const folder = realFolder(dirname(path), path)
    path = join(folder, basename(path))
    const target = links < MAX_LINKS ? targetOf(path) : undefined
    if (target === undefined) break
    path = resolve(folder, target)
  }
  const found = statOf(path)
  if (found === undefined) return path
  if (!found.isFile()) throw new StartupError(`DATABASE_URL names ${path}, which is not a file.`)
  if (found.nlink > 1) {
    // Each name would have its own log and its own owner.
    throw new StartupError(`The SQLite file ${path} has ${found.nlink} names (hard links), and its log belongs to one of them; copy the file or remove the other names.`)
  }
  return path
}

function realFolder(folder: string, file: string): string {
  try {
    return realpathSync.native(`${folder}/.`)
  } catch (error) {
    if (codeOf(error) === 'ENOENT' || codeOf(error) === 'ENOTDIR') throw new StartupError(`The folder of the SQLite file ${file} does not exist.`)
    throw accessError(error, folder)
  }
}

function statOf(path: string): Stats | undefined {
  try {
    return statSync(path, { throwIfNoEntry: false })
  } catch (error) {
    throw accessError(error, path)
  }
}

/** What a symbolic link points to; undefined for anything else. */
function targetOf(path: string): string | undefined {
  try {
    return readlinkSync(path)
  } catch {
    return undefined
  }
}

/** @throws StartupError when this user may not read and write the files, or create new ones beside them. */
export function refuseReadOnly(file: string): void {
  const { R_OK, W_OK, X_OK } = constants
  const existing = ENDINGS.map((ending) => file + ending).filter((path) => existsSync(path))
  for (const [path, mode] of [...existing.map((path) => [path, R_OK | W_OK] as const), [dirname(file), W_OK | X_OK] as const]) {
    try {
      accessSync(path, mode)
    } catch (error) {
      throw accessError(error, path)
    }
  }
}

/** Creates an empty file that only this user can read, whatever the umask says; leaves an existing one alone. */
function createPrivate(path: string): void {
  try {
    // An existing file must not be opened here: closing it again would drop the locks that this process has on it.
    closeSync(openSync(path, 'wx', PRIVATE_MODE))
  } catch (error) {
    if (codeOf(error) !== 'EEXIST') throw error
  }
}

/**
 * Makes this process the only server on a SQLite file, until the returned function is called or the process ends. It takes
 * the write lock of a second, empty database beside the file: the operating system releases that lock even if the process
 * is killed, so that no stale lock prevents a restart.
 *
 * @throws StartupError when another server has the file.
 */
function lockFile(file: string): () => void {
  const path = `${file}-owner`
  createPrivate(path)
  try {
    // A file of an earlier version may be open to every user.
    if ((statSync(path).mode & 0o077) !== 0) chmodSync(path, PRIVATE_MODE)
  } catch {
    // It belongs to another user.
  }
  // As SQLite does with its own files: what root creates beside another user's database must not keep that user out.
  const { uid, gid } = statSync(file, { throwIfNoEntry: false }) ?? { uid: 0, gid: 0 }
  if (process.getuid?.() === 0 && uid !== 0) chownSync(path, uid, gid)
  const owner = new Database(path, { timeout: 0 })
  try {
    owner.pragma('journal_mode = memory')
    owner.exec('begin immediate')
  } catch (error) {
    owner.close()
    if (!codeOf(error).startsWith('SQLITE_BUSY')) throw error
    throw new StartupError(`Another server is already running on the SQLite file ${file}; stop it, or use PostgreSQL to run several instances.`)
  }
  return () => owner.close()
}

function warningsOf(file: string): string[] {
  // Windows has no such modes.
  if (process.getuid === undefined) return []
  const open = ENDINGS.map((ending) => file + ending).filter((path) => ((statSync(path, { throwIfNoEntry: false })?.mode ?? 0) & 0o027) !== 0)
  if (open.length === 0) return []
  return [`Other users of this machine can read or change ${open.join(', ')}; run chmod 600 on ${open.length === 1 ? 'it' : 'them'}.`]
}

/** Translates an error from before the service listens into a sentence with its reason, if it is known. */
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

function damaged(file: string): StartupError {
  return new StartupError(`The SQLite file ${file} is damaged; restore it from a backup. It was left as it is.`)
}

function accessError(error: unknown, path: string): StartupError {
  const code = codeOf(error)
  if (code === 'EROFS') return new StartupError(`The file system of ${path} is read-only; the service needs to write to its SQLite file and to the folder.`)
  return new StartupError(`This user may not read and write ${path} (${code}); the service needs to write to its SQLite file and to the folder.`)
}

/** Translates an error of SQLite. Its text never leaves the service; it stays in `cause` for the log. */
export function toLockError(error: unknown): LockError | Error {
  const code = codeOf(error)
  if (code === 'SQLITE_FULL') return new LockError('STORAGE_FULL', { cause: error })
  // After a failed flush, what reached the disk is unknown.
  if (code === 'SQLITE_IOERR_FSYNC' || code === 'SQLITE_IOERR_DIR_FSYNC') return new LockError('OUTCOME_UNKNOWN', { cause: error })
  if (UNAVAILABLE.test(code)) return new LockError('STORAGE_UNAVAILABLE', { cause: error })
  return error instanceof Error ? error : new Error(String(error))
}

const UNAVAILABLE = /^SQLITE_(?:IOERR|BUSY|LOCKED|CANTOPEN|CORRUPT|NOTADB|READONLY|PERM|PROTOCOL)/

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : ''
}
