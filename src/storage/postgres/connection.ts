import { Kysely, PostgresDialect } from 'kysely'
import pg from 'pg'
import { StartupError, LockError } from '../../locks/errors.js'
import type { PoolUse } from '../../locks/store.js'
import type { Tables } from '../tables.js'

export interface OpenPostgres extends AsyncDisposable {
  /** For batches: statements are sent without waiting for the results of earlier ones. */
  readonly batches: pg.Pool
  /** For lists, counts, migrations. */
  readonly db: Kysely<Tables>
  /** The connections at this moment. */
  readonly pools: () => readonly PoolUse[]
  /** What an operator should know about this database, in sentences. */
  readonly warnings: readonly string[]
}

// Fencing tokens stay below 2^53, so that a bigint fits into a number.
const types = new pg.TypeOverrides()
types.setTypeParser(pg.types.builtins.INT8, Number)

/**
 * The statements of a batch take arrays of any length: the plan for one row is right for a thousand, and a plan for the
 * length at hand could read the whole table. The timeouts limit how long a statement waits for a row of another instance.
 */
const BATCH_SETTINGS = [
  'set plan_cache_mode = force_generic_plan',
  'set enable_seqscan = off',
  'set enable_hashjoin = off',
  'set enable_mergejoin = off',
  // Up to version 17 a plan that needs a disabled node has such high costs that each run would compile it.
  'set jit = off',
  'set statement_timeout = 10000',
  'set lock_timeout = 5000',
  'set idle_in_transaction_session_timeout = 5000'
].join('; ')

/** A list may take longer. A migration is one transaction: an instance that is paused in it must not keep rows locked for long. */
const QUERY_SETTINGS = 'set statement_timeout = 55000; set idle_in_transaction_session_timeout = 10000'

/**
 * Opens the pools. The settings are sent after connecting, since a connection pooler refuses them as startup parameters.
 *
 * @param concurrency how many batches may be in flight at once.
 * @param onError called when an idle connection breaks; not for one that is being closed, which the server may end first.
 * @throws StartupError when the server cannot be reached or cannot be used.
 */
export async function openPostgres(url: string, concurrency: number, onError: (error: Error) => void): Promise<OpenPostgres> {
  const common = { connectionString: url, connectionTimeoutMillis: 3000, keepAlive: true, types, application_name: 'resource-lock-manager', allowExitOnIdle: true }
  const batches = new pg.Pool({ ...common, max: concurrency, idleTimeoutMillis: 0, query_timeout: 15_000, pipeline: true, onConnect: setting(BATCH_SETTINGS) })
  const queries = new pg.Pool({ ...common, max: 4, query_timeout: 60_000, onConnect: setting(QUERY_SETTINGS) })
  let isClosing = false
  const report = (error: Error): void => {
    if (!isClosing) onError(error)
  }
  for (const pool of [batches, queries]) {
    // Without a listener on the pool and on each client a lost server would end the process.
    pool.on('error', (error) => {
      // The driver attaches the connection, with the key that cancels its queries.
      if ('client' in error) delete error.client
      report(error)
    })
    pool.on('connect', (client) => client.on('error', report))
  }
  const db = new Kysely<Tables>({ dialect: new PostgresDialect({ pool: queries }) })
  const close = async (): Promise<void> => {
    isClosing = true
    // Kysely would not close a pool that it has not used. Idle connections do not keep the process alive, even while they close.
    // The timer does.
    const awake = setInterval(() => undefined, 1000)
    await Promise.all([batches.end(), queries.end()]).finally(() => clearInterval(awake))
  }
  try {
    const pools = (): PoolUse[] => [useOf('batches', batches), useOf('queries', queries)]
    return { batches, db, pools, warnings: await examine(queries), [Symbol.asyncDispose]: close }
  } catch (error) {
    await close()
    throw asStartupError(error, url)
  }
}

/** The pool awaits this before it hands out a connection, although its types do not say so. */
function setting(settings: string): (client: pg.ClientBase) => unknown {
  return (client) => client.query(settings)
}

function useOf(pool: string, { totalCount, idleCount, waitingCount }: pg.Pool): PoolUse {
  return { pool, busy: totalCount - idleCount, idle: idleCount, waiting: waitingCount }
}

/** A standby follows this server now. Subscribers to tables and backups do not count: they cannot take over. */
const FOLLOWED = `exists (
  select from pg_stat_replication r
  where coalesce(r.state, '') <> 'backup'
    and not exists (select from pg_replication_slots s where s.active_pid = r.pid and s.slot_type = 'logical')
)`

async function examine(pool: pg.Pool): Promise<string[]> {
  const { rows } = await pool.query<Record<'fsync' | 'commit' | 'encoding' | 'readonly' | 'awaited', string> & { followed: boolean }>(
    `select current_setting('fsync') as fsync, current_setting('synchronous_commit') as commit,
       current_setting('server_encoding') as encoding, current_setting('transaction_read_only') as readonly,
       current_setting('synchronous_standby_names') as awaited, ${FOLLOWED} as followed`
  )
  const { fsync, commit, encoding, readonly, awaited, followed } = rows[0] ?? {}
  if (encoding !== 'UTF8') throw new StartupError(`The PostgreSQL database has the encoding ${encoding}; create it with the encoding UTF8.`)
  if (readonly === 'on') throw new StartupError('The PostgreSQL server takes no writes (a standby?); connect to the primary.')
  const warnings: string[] = []
  if (fsync === 'off') warnings.push('PostgreSQL runs with fsync = off: locks that were acknowledged can be lost in a crash.')
  if (commit === 'off') warnings.push('PostgreSQL runs with synchronous_commit = off: locks that were acknowledged can be lost in a crash.')
  if (followed === true && (awaited === '' || commit === 'local')) {
    warnings.push('PostgreSQL has a standby that it does not wait for: locks that were acknowledged can be lost when that takes over; set synchronous_standby_names.')
  }
  return warnings
}

/** Where the driver looks for the database of a URL, without user and password. */
export function describePostgres(url: string): string {
  return `the PostgreSQL database '${postgresDatabaseName(url)}' at ${whereOf(url)}`
}

export function postgresDatabaseName(url: string): string {
  return String(new pg.Client({ connectionString: url }).database)
}

function whereOf(url: string): string {
  const { host, port } = new pg.Client({ connectionString: url })
  return host.startsWith('/') ? `the socket folder ${host}, port ${port}` : `${host}:${port}`
}

/** Turns an error at start into a sentence that says why, where there is one. */
export function asStartupError(error: unknown, url: string, variable = 'DATABASE_URL'): unknown {
  if (error instanceof StartupError) return error
  const where = whereOf(url)
  const { database = '' } = new pg.Client({ connectionString: url })
  switch (sqlStateOf(error)) {
    case undefined:
      if (isBug(error)) return error
      return new StartupError(`PostgreSQL cannot be reached at ${where} (${reasonOf(error)}).`)
    case '08P01':
      return new StartupError(
        `PostgreSQL at ${where} refuses the way in which the service connects (${reasonOf(error)}); ` +
          'if that is a connection pooler, see PgBouncer in docs/operations.md.'
      )
    case '3D000':
      return new StartupError(`PostgreSQL at ${where} has no database '${database}'; create it with the encoding UTF8.`)
    case '28P01':
    case '28000':
      return new StartupError(`PostgreSQL at ${where} refused the user or password in ${variable}.`)
    case '42501':
      return new StartupError(`PostgreSQL at ${where} does not let this user make tables in the database '${database}'; grant it CREATE on the schema.`)
    case '57P03':
      return new StartupError(`PostgreSQL at ${where} is still starting up or is shutting down.`)
    case '53300':
      return new StartupError(`PostgreSQL at ${where} has no connection left for this service.`)
    default:
      return error
  }
}

function reasonOf(error: unknown): string {
  if (error instanceof Error && !(error instanceof pg.DatabaseError) && 'code' in error && typeof error.code === 'string') return error.code
  return error instanceof Error ? error.message : String(error)
}

/** The SQLSTATE of an error that PostgreSQL returned; undefined for every other error, such as one of the connection. */
export function sqlStateOf(error: unknown): string | undefined {
  // The form of the code does not decide: EPIPE has five capitals too.
  return error instanceof pg.DatabaseError ? error.code : undefined
}

/** The statement lost a race; nothing was changed, and it may run again. */
export function isTransient(error: unknown): boolean {
  const state = sqlStateOf(error)
  // 23505: another transaction saved the same request id.
  return state === '40001' || state === '40P01' || state === '23505' || state === STALE
}

/** One of several requested resources was taken while the statement ran; see `acquireParts`. */
export const INCOMPLETE = '2201E'

/** A grant has the token and the clock of before a wait; its statement divides by zero to fail. */
const STALE = '22012'

/** An error in the program or in the data that it reads: Node and the driver report faults of the database by other classes. */
export function isBug(error: unknown): boolean {
  return !(error instanceof Error) || [TypeError, RangeError, SyntaxError, ReferenceError].some((kind) => error instanceof kind)
}

/** The connection broke, or the server ended it (`admin_shutdown` and others of class 57, or a time limit). */
export function isConnectionLost(error: unknown): boolean {
  const state = sqlStateOf(error)
  return state === undefined ? !isBug(error) : state.startsWith('08') || /^(?:57P0[1-5]|25P0[34])$/.test(state)
}

/** The database as a whole failed, so that every command of the batch would fail in the same way. */
export function isOfDatabase(error: unknown): boolean {
  return isConnectionLost(error) || /^(?:53|57|58|25006)/.test(sqlStateOf(error) ?? '')
}

/**
 * Translates an error of the database; its text stays in `cause` for the log. Other errors are returned as they are.
 *
 * @param mayHaveCommitted whether a change was sent whose commit the database did not confirm.
 */
export function toLockError(error: unknown, mayHaveCommitted: boolean): Error {
  if (error instanceof LockError) return error
  if (isConnectionLost(error)) return new LockError(mayHaveCommitted ? 'OUTCOME_UNKNOWN' : 'STORAGE_UNAVAILABLE', { cause: error })
  const state = sqlStateOf(error) ?? ''
  if (state === '53100') return new LockError('STORAGE_FULL', { cause: error })
  // The server refuses connections now: the password changed (28), the database was dropped (3D000) or is closed (55000).
  if (/^(?:28|3D000|55000)/.test(state)) return new LockError('STORAGE_UNAVAILABLE', { cause: error })
  // Out of resources, cancelled by an operator or a time limit, a lock timeout, a standby that cannot write.
  if (/^(?:53|57|55P03|40|25006|58|22012)/.test(state)) return new LockError('STORAGE_UNAVAILABLE', { cause: error })
  return error instanceof Error ? error : new Error(String(error))
}
