import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { sql, type Kysely } from 'kysely'
import { EVENT_BUCKET_BITS } from '../../../migrations/0005-lock-event-buckets.js'
import { LockError, StartupError } from '../../locks/errors.js'
import { KEEP_HISTORY_MS, type SqlBackend, type StoreOptions } from '../sql-store.js'
import type { EventIndex } from '../history.js'
import { SqlKeyStore, type OpenKeys } from '../api-keys.js'
import { migrateToLatest, target, type AdvancedTokens } from '../migrator.js'
import { SqlReads } from '../reads.js'
import type { Tables } from '../tables.js'
import { sqlStateOf, toLockError } from './errors.js'
import { PostgresExecutor } from './executor.js'
import { Listener, LISTENER_NAME } from './listener.js'
import { asStartupError, openPostgres, type OpenPostgres } from './connection.js'
import { CLOCK, CLOCK_ONCE, LIVE } from './sql.js'

const CONCURRENCY = 2

/** The table has an index on the buckets. */
const INDEXED_EVENTS: EventIndex = {
  newestBucket: () => Promise.resolve(Number.POSITIVE_INFINITY),
  among: (_query, buckets) => sql`(id >> ${sql.lit(EVENT_BUCKET_BITS)}) in (${sql.join(buckets)})`
}

export async function postgresBackend(url: string, options: StoreOptions): Promise<SqlBackend> {
  const { concurrency = CONCURRENCY, random = Math.random, keepHistoryMs = KEEP_HISTORY_MS, onConnectionError = () => undefined } = options
  const opened = await openPostgres(url, concurrency, onConnectionError)
  const { batches, db, pools, warnings } = opened
  const wakeups = { listener: (_ticket: number) => {} }
  const instance = randomUUID().replaceAll('-', '')
  const listener = new Listener({ url: options.listenUrl ?? url, instance, onWakeup: (ticket) => wakeups.listener(ticket), onError: onConnectionError })
  const close = async (): Promise<void> => {
    await listener[Symbol.asyncDispose]()
    await opened[Symbol.asyncDispose]()
  }
  try {
    await migrate(opened, url)
    await listen(listener, options.listenUrl)
    return {
      reads: new SqlReads({
        db,
        now: () => CLOCK_ONCE,
        live: () => LIVE,
        countAtOnce: Number.MAX_SAFE_INTEGER,
        events: INDEXED_EVENTS,
        mayHaveGaps: true
      }),
      keys: new SqlKeyStore({ db, now: () => CLOCK_ONCE, toLockError: (error) => toLockError(error, true) }),
      wakeups,
      warnings,
      pools,
      keepsHistory: keepHistoryMs > 0,
      executor: new PostgresExecutor(batches, db, { concurrency, keepHistoryMs, random, instance, wake: (wakeup) => listener.send(wakeup) }),
      toLockError: (error) => toLockError(error, false),
      ping: () => ping(db),
      [Symbol.asyncDispose]: close
    }
  } catch (error) {
    await close()
    throw error
  }
}

async function listen(listener: Listener, listenUrl: string | undefined): Promise<void> {
  try {
    await listener.start()
  } catch (error) {
    throw listenUrl === undefined ? error : asStartupError(error, listenUrl, 'DATABASE_LISTEN_URL')
  }
}

/** Migrates a database to the newest version; resolves to the names of the migrations that ran. */
export async function migratePostgres(url: string): Promise<readonly string[]> {
  await using opened = await openPostgres(url, 1, () => undefined)
  return await migrate(opened, url)
}

/** Advances the tokens of a database that no instance uses. */
export async function advancePostgresTokens(url: string, above: number | undefined): Promise<AdvancedTokens> {
  await using opened = await openPostgres(url, 1, () => undefined)
  const { db } = opened
  const { rows } = await sql<{ from: number; now: number; instances: number }>`
    select
      greatest((select last_value from lock_numbers), (select max(id) from resource_locks)) as from,
      ${CLOCK} as now,
      (select count(*) from pg_stat_activity where datname = current_database() and application_name = ${LISTENER_NAME}) as instances`.execute(db)
  const [{ from, now, instances } = { from: 0, now: 0, instances: 0 }] = rows
  // A running instance may draw a larger token at this moment.
  if (instances > 0) throw new StartupError(`The service runs on this database (${instances} instances are connected); stop it first.`)
  const to = await target(db, from, now, above)
  await sql`select setval('lock_numbers', ${to})`.execute(db)
  return { from, to }
}

/** Opens only the API keys. */
export async function postgresKeys(url: string): Promise<OpenKeys> {
  const opened = await openPostgres(url, 1, () => undefined)
  try {
    await migrate(opened, url)
    const keys = new SqlKeyStore({ db: opened.db, now: () => CLOCK_ONCE, toLockError: (error) => toLockError(error, true) })
    return { keys, [Symbol.asyncDispose]: () => opened[Symbol.asyncDispose]() }
  } catch (error) {
    await opened[Symbol.asyncDispose]()
    throw error
  }
}

async function migrate({ db }: OpenPostgres, url: string): Promise<readonly string[]> {
  try {
    return await migrateToLatest(db, 'postgres')
  } catch (error) {
    throw sqlStateOf(error) === undefined ? error : asStartupError(error, url)
  }
}

/** A health check must not hang while the server is silent. */
const PING_WITHIN_MS = 3000

async function ping(db: Kysely<Tables>): Promise<void> {
  try {
    const answer = sql<{ readonly: string }>`select current_setting('transaction_read_only') as readonly`.execute(db)
    const late = sleep(PING_WITHIN_MS, undefined, { ref: false }).then(() => {
      throw new Error(`no answer within ${PING_WITHIN_MS} ms`)
    })
    const { rows } = await Promise.race([answer, late])
    if (rows[0]?.readonly !== 'off') throw new Error('the server takes no writes')
  } catch (cause) {
    throw new LockError('STORAGE_UNAVAILABLE', { cause })
  }
}
