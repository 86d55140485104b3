import { closeSync, existsSync, openSync, statSync } from 'node:fs'
import { Worker } from 'node:worker_threads'
import Database from 'better-sqlite3'
import { Kysely, SqliteDialect, sql } from 'kysely'
import { LockError, StartupError } from '../../locks/errors.js'
import { SqlKeyStore, type OpenKeys } from '../api-keys.js'
import { migrateToLatest, target, type AdvancedTokens } from '../migrator.js'
import type { Tables } from '../tables.js'
import { codeOf, createPrivate, DiskReserve, locateFile, lockFile, refuseReadOnly, warningsOf } from './files.js'
import { CheckpointState, type CheckpointOptions } from './protocol.js'

export interface OpenSqlite extends Disposable {
  readonly database: Database.Database
  readonly db: Kysely<Tables>
  readonly reserve: DiskReserve | undefined
  /** Of the database file; undefined for a database in memory. */
  readonly handle: number | undefined
  /** What an operator should know about the files, in sentences. */
  readonly warnings: readonly string[]
}

/** How long a statement waits while another program writes, in milliseconds. */
const BUSY_TIMEOUT_MS = 250

/** Four times SQLite's default: a page that changes several times is moved into the database once. */
const CHECKPOINT_PAGES = 4000

/** From this length on a commit moves the log itself: the {@link Checkpointer} is slow or gone, or another program reads. */
const MOST_PAGES = 2 * CHECKPOINT_PAGES

/** It gets longer only while another program reads. */
const LOG_LIMIT_BYTES = MOST_PAGES * 4096

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
    const handle = inMemory ? undefined : openSync(path, 'r+')
    // After the database: closing any handle of a file drops all locks that the process has on it.
    if (handle !== undefined) cleanUps.push(() => closeSync(handle))
    const database = new Database(path, { timeout: BUSY_TIMEOUT_MS })
    cleanUps.push(() => database.close())
    setUp(database, path)
    const reserve = inMemory ? undefined : new DiskReserve(path)
    const db = new Kysely<Tables>({ dialect: new SqliteDialect({ database }) })
    return { database, db, reserve, handle, warnings: inMemory ? [] : warningsOf(path), [Symbol.dispose]: close }
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
  database.pragma(`wal_autocheckpoint = ${MOST_PAGES}`)
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

/**
 * Moves the log of a SQLite file into the database in a thread of its own, and flushes that, while commits go on. What is
 * committed meanwhile, a small rest, is moved between two commits: only when all is moved, the log begins anew. The thread
 * starts when the log is long for the first time.
 */
export class Checkpointer implements AsyncDisposable {
  readonly #options: CheckpointOptions
  readonly #readLog: Database.Statement
  readonly #move: Database.Statement
  #thread: Worker | undefined
  /** The length of the log at which it is moved next, in pages. */
  #nextAt = CHECKPOINT_PAGES

  constructor(database: Database.Database, handle: number) {
    this.#options = { checkpoints: database.name, handle, state: new Int32Array(new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT)) }
    this.#readLog = database.prepare('pragma wal_checkpoint(noop)').raw()
    this.#move = database.prepare('pragma wal_checkpoint(passive)')
  }

  /** Call it after each commit. */
  committed(): void {
    const { state } = this.#options
    // A message of the thread would wait until nothing more is to be executed.
    const now = Atomics.load(state, 0)
    if (now === CheckpointState.moving) return
    try {
      if (now === CheckpointState.moved) this.#move.all()
      Atomics.store(state, 0, CheckpointState.idle)
      const [, pages] = this.#readLog.get() as [busy: number, pages: number, moved: number]
      if (pages < this.#nextAt - CHECKPOINT_PAGES) this.#nextAt = CHECKPOINT_PAGES
      if (pages < this.#nextAt) return
      // While another program reads, nothing can be moved: it is tried again after as many pages more.
      this.#nextAt = pages + CHECKPOINT_PAGES
      Atomics.store(state, 0, CheckpointState.moving)
      this.#thread ??= this.#start()
      this.#thread.postMessage(null)
    } catch {
      // The disk is full or broken: the log stays as long as it is, and the next commits report it.
    }
  }

  #start(): Worker {
    const thread = new Worker(new URL('worker.js', import.meta.url), { workerData: this.#options, execArgv: [] })
    thread.unref()
    // If it has ended, commits move the log themselves.
    thread.on('error', () => undefined)
    return thread
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#thread?.terminate()
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

/** How long a change of the keys waits for the service's commits, in milliseconds; the service waits as long for this one commit. */
const KEYS_BUSY_TIMEOUT_MS = 5000

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
    const opened = new Database(path, { timeout: KEYS_BUSY_TIMEOUT_MS, fileMustExist: true })
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
  const database = new Database(file, { readonly: true, timeout: KEYS_BUSY_TIMEOUT_MS })
  try {
    return database.prepare("select 1 from sqlite_master where type = 'table' and name = 'api_keys'").get() !== undefined
  } finally {
    database.close()
  }
}
