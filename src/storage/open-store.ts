import { sql } from 'kysely'
import { LockError } from '../locks/errors.js'
import { parseDatabaseUrl, type DatabaseLocation } from './database-url.js'
import { migrateToLatest } from './migrator.js'
import { sqlStateOf, toLockError as postgresError } from './postgres/errors.js'
import { PostgresExecutor } from './postgres/executor.js'
import { asStartupError as postgresStartupError, openPostgres, type OpenPostgres } from './postgres/open-postgres.js'
import { CLOCK_ONCE } from './postgres/statements.js'
import { SqlLockStore, type SqlBackend } from './sql-lock-store.js'
import { toLockError as sqliteError } from './sqlite/errors.js'
import { SqliteExecutor } from './sqlite/executor.js'
import { asStartupError as sqliteStartupError, openSqlite, type OpenSqlite } from './sqlite/open-sqlite.js'

export interface StoreOptions {
  /** See {@link parseDatabaseUrl}. */
  readonly databaseUrl: string
  /** SQLite's clock, in milliseconds since 1970; PostgreSQL has its own. */
  readonly clock?: () => number
  /** 0 to 1, for jitter. */
  readonly random?: () => number
  /** PostgreSQL batches under way at once. More is not faster: batches become smaller. */
  readonly lanes?: number
  /** Commands that may wait for the database before more are refused. */
  readonly maxWaiting?: number
  /** Told of database connections that break while nobody uses them. */
  readonly onConnectionError?: (error: Error) => void
}

const MAX_BATCH = 256
const MAX_WAITING = 10_000
const LANES = 2
const COUNT_AT_ONCE = 2000

/**
 * Opens the database, brings it to the newest version and hands out its locks. The only place that knows which database
 * there is.
 *
 * @throws StartupError with one sentence when the database cannot be used.
 */
export async function openStore(options: StoreOptions): Promise<SqlLockStore> {
  const backend = await openBackend(parseDatabaseUrl(options.databaseUrl), options)
  return new SqlLockStore(backend, { maxBatch: MAX_BATCH, maxWaiting: options.maxWaiting ?? MAX_WAITING })
}

/** Brings the database to the newest version and closes it again; resolves to the names of the migrations that were run. */
export async function migrateDatabase(databaseUrl: string): Promise<readonly string[]> {
  const location = parseDatabaseUrl(databaseUrl)
  if (location.kind === 'sqlite') {
    using opened = openSqlite(location.file, Date.now)
    return await migrateSqlite(opened, location.file)
  }
  await using opened = await openPostgres(location.url, 1, () => undefined)
  return await migratePostgres(opened, location.url)
}

function migrateSqlite({ db }: OpenSqlite, file: string): Promise<readonly string[]> {
  return migrateToLatest(db, 'sqlite').catch((error: unknown) => {
    throw sqliteStartupError(error, file)
  })
}

function migratePostgres({ db }: OpenPostgres, url: string): Promise<readonly string[]> {
  return migrateToLatest(db, 'postgres').catch((error: unknown) => {
    throw sqlStateOf(error) === undefined ? error : postgresStartupError(error, url)
  })
}

function openBackend(location: DatabaseLocation, options: StoreOptions): Promise<SqlBackend> {
  return location.kind === 'sqlite' ? sqliteBackend(location.file, options) : postgresBackend(location.url, options)
}

async function sqliteBackend(file: string, { clock = Date.now }: StoreOptions): Promise<SqlBackend> {
  const opened = openSqlite(file, clock)
  const { database, db, reserve } = opened
  try {
    await migrateSqlite(opened, file)
    return {
      db,
      executor: new SqliteExecutor(database, db, clock, reserve),
      now: () => sql.val(clock()),
      countAtOnce: COUNT_AT_ONCE,
      warnings: [],
      toLockError: sqliteError,
      // eslint-disable-next-line @typescript-eslint/require-await -- the contract is asynchronous, SQLite is not
      async ping() {
        try {
          database.prepare('select 1 from lock_numbers').get()
        } catch (error) {
          throw sqliteError(error)
        }
        if (reserve !== undefined && !reserve.lay()) throw new LockError('STORAGE_FULL')
      },
      [Symbol.asyncDispose]: () => Promise.resolve(opened[Symbol.dispose]())
    }
  } catch (error) {
    opened[Symbol.dispose]()
    throw error
  }
}

async function postgresBackend(url: string, options: StoreOptions): Promise<SqlBackend> {
  const { lanes = LANES, random = Math.random, onConnectionError = () => undefined } = options
  const opened = await openPostgres(url, lanes, onConnectionError)
  const { batches, db, warnings } = opened
  try {
    await migratePostgres(opened, url)
    return {
      db,
      executor: new PostgresExecutor(batches, db, lanes, random),
      now: () => CLOCK_ONCE,
      countAtOnce: Number.MAX_SAFE_INTEGER,
      warnings,
      toLockError: (error) => postgresError(error, false),
      async ping() {
        const failed = await sql<{ readonly: string }>`select current_setting('transaction_read_only') as readonly`
          .execute(db)
          .then(({ rows }) => (rows[0]?.readonly === 'off' ? undefined : new Error('the server takes no writes')), (error: unknown) => error)
        if (failed !== undefined) throw new LockError('STORAGE_UNAVAILABLE', { cause: failed })
      },
      [Symbol.asyncDispose]: () => opened[Symbol.asyncDispose]()
    }
  } catch (error) {
    await opened[Symbol.asyncDispose]()
    throw error
  }
}
