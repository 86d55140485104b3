import { randomUUID } from 'node:crypto'
import { sql } from 'kysely'
import { LockError } from '../locks/errors.js'
import { parseDatabaseUrl, type DatabaseLocation } from './database-url.js'
import { migrateToLatest } from './migrator.js'
import { toLockError as postgresError } from './postgres/errors.js'
import { PostgresExecutor } from './postgres/executor.js'
import { Listener } from './postgres/listener.js'
import { openPostgres } from './postgres/open-postgres.js'
import { CLOCK_ONCE, LIVE } from './postgres/sql.js'
import { countWaiters } from './list.js'
import { SqlLockStore, type SqlBackend } from './sql-lock-store.js'
import { toLockError as sqliteError } from './sqlite/errors.js'
import { SqliteExecutor } from './sqlite/executor.js'
import { openSqlite } from './sqlite/open-sqlite.js'

export interface StoreOptions {
  /** See {@link parseDatabaseUrl}. */
  readonly databaseUrl: string
  /** SQLite's clock, in milliseconds since 1970; PostgreSQL has its own. */
  readonly clock?: () => number
  /** How long the history is kept, in milliseconds; 0 keeps none. Seven days if left out. */
  readonly keepHistoryMs?: number
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
const KEEP_HISTORY_MS = 7 * 86_400_000

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
    return await migrateToLatest(opened.db, 'sqlite')
  }
  await using opened = await openPostgres(location.url, 1, () => undefined)
  return await migrateToLatest(opened.db, 'postgres')
}

function openBackend(location: DatabaseLocation, options: StoreOptions): Promise<SqlBackend> {
  return location.kind === 'sqlite' ? sqliteBackend(location.file, options) : postgresBackend(location.url, options)
}

async function sqliteBackend(file: string, { clock = Date.now, keepHistoryMs = KEEP_HISTORY_MS }: StoreOptions): Promise<SqlBackend> {
  const opened = openSqlite(file, clock)
  const { database, db, reserve } = opened
  const turns = { listener: (_ticket: number) => {} }
  try {
    await migrateToLatest(db, 'sqlite')
    return {
      db,
      turns,
      countWaiters: () => countWaiters(db, sql`lease_until is null or lease_until > ${clock()}`),
      keepsHistory: keepHistoryMs > 0,
      executor: new SqliteExecutor(database, db, {
        clock,
        keepHistoryMs,
        makeRoom: () => reserve?.giveUp() ?? false,
        onTurn: (ticket) => turns.listener(ticket)
      }),
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
  const { lanes = LANES, random = Math.random, keepHistoryMs = KEEP_HISTORY_MS, onConnectionError = () => undefined } = options
  const opened = await openPostgres(url, lanes, onConnectionError)
  const { batches, db, warnings } = opened
  const turns = { listener: (_ticket: number) => {} }
  const instance = randomUUID().replaceAll('-', '')
  const listener = new Listener({ url, instance, onTurn: (ticket) => turns.listener(ticket), onError: onConnectionError })
  try {
    await migrateToLatest(db, 'postgres')
    await listener.start()
    return {
      db,
      turns,
      countWaiters: () => countWaiters(db, LIVE),
      keepsHistory: keepHistoryMs > 0,
      executor: new PostgresExecutor(batches, db, { lanes, keepHistoryMs, random, instance, call: (turn) => listener.call(turn) }),
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
      async [Symbol.asyncDispose]() {
        await listener[Symbol.asyncDispose]()
        await opened[Symbol.asyncDispose]()
      }
    }
  } catch (error) {
    await listener[Symbol.asyncDispose]()
    await opened[Symbol.asyncDispose]()
    throw error
  }
}
