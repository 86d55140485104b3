import { existsSync } from 'node:fs'
import { dirname } from 'node:path'
import Database from 'better-sqlite3'
import { Kysely, SqliteDialect } from 'kysely'
import { StartupError } from '../../locks/errors.js'
import { migrateToLatest } from '../migrator.js'
import type { Tables } from '../tables.js'
import { codeOf } from './errors.js'
import { ownFile } from './owner.js'
import { Reserve } from './reserve.js'

export interface OpenSqlite extends Disposable {
  readonly database: Database.Database
  readonly db: Kysely<Tables>
  readonly reserve: Reserve | undefined
}

/**
 * Opens a SQLite file for this process alone, durably: write-ahead log, each commit flushed to the disk.
 *
 * @throws StartupError when it cannot be opened, is no SQLite database, is damaged or belongs to another server.
 */
export function openSqlite(file: string): OpenSqlite {
  const inMemory = file === ':memory:'
  if (!inMemory && !existsSync(dirname(file))) {
    throw new StartupError(`The folder of the SQLite file ${file} does not exist.`)
  }
  const cleanUps: (() => void)[] = []
  const close = (): void => {
    for (const cleanUp of cleanUps.toReversed()) cleanUp()
  }
  try {
    if (!inMemory) cleanUps.push(ownFile(file))
    if (existsSync(file)) refuseDamaged(file)
    const database = new Database(file, { timeout: 250 })
    cleanUps.push(() => database.close())
    database.pragma('journal_mode = wal')
    database.pragma('synchronous = full')
    // Four times the usual: pages that change again meanwhile are moved once.
    database.pragma('wal_autocheckpoint = 4000')
    const reserve = inMemory ? undefined : new Reserve(file)
    const db = new Kysely<Tables>({ dialect: new SqliteDialect({ database }) })
    return { database, db, reserve, [Symbol.dispose]: close }
  } catch (error) {
    close()
    throw asStartupError(error, file)
  }
}

/** Opens a file and brings it to the newest version. */
export async function openMigrated(file: string): Promise<OpenSqlite> {
  const opened = openSqlite(file)
  try {
    await migrate(opened, file)
    return opened
  } catch (error) {
    opened[Symbol.dispose]()
    throw error
  }
}

/** Resolves to the names of the migrations that were run. */
export async function migrate({ db }: OpenSqlite, file: string): Promise<readonly string[]> {
  try {
    return await migrateToLatest(db, 'sqlite')
  } catch (error) {
    throw asStartupError(error, file)
  }
}

/**
 * A look at every page would take minutes on a large file; the structure of what is read at start is checked at least.
 * A connection that may write would move its log into a damaged file as soon as it is closed.
 */
function refuseDamaged(file: string): void {
  const database = new Database(file, { readonly: true, timeout: 250 })
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
  if (code === 'SQLITE_NOTADB') return new StartupError(`The file ${file} is not a SQLite database; it was left as it is.`)
  if (code.startsWith('SQLITE_CORRUPT')) return damaged(file)
  if (code.startsWith('SQLITE_BUSY')) return new StartupError(`The SQLite file ${file} is in use by another program.`)
  if (code === 'SQLITE_FULL') return new StartupError(`The disk of the SQLite file ${file} is full.`)
  if (/^SQLITE_(?:CANTOPEN|PERM|READONLY|IOERR)/.test(code)) {
    return new StartupError(`The SQLite file ${file} cannot be opened for writing.`)
  }
  return error
}
