import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { sql, type Kysely } from 'kysely'
import pg from 'pg'
import { EVENT_BUCKET_BITS } from '../../../migrations/0005-lock-event-buckets.js'
import { LockError, StartupError } from '../../locks/errors.js'
import { SqlKeyStore, type OpenKeys } from '../api-keys.js'
import type { EventIndex } from '../history.js'
import { migrateToLatest, target, type AdvancedTokens } from '../migrator.js'
import { SqlReads } from '../reads.js'
import { KEEP_HISTORY_MS, type SqlBackend, type StoreOptions } from '../sql-store.js'
import type { Tables } from '../tables.js'
import { sqlStateOf, toLockError, asStartupError, openPostgres, type OpenPostgres } from './connection.js'
import { PostgresExecutor } from './executor.js'
import { CLOCK, CLOCK_ONCE, LIVE } from './sql.js'
import type { Wakeup } from './wait-queue.js'

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
    await Promise.all([listener[Symbol.asyncDispose](), opened[Symbol.asyncDispose]()])
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

/** The `application_name` of the connection. Each running instance has one. */
const LISTENER_NAME = 'resource-lock-manager listener'

const RECONNECT_MS = 250

interface ListenerOptions {
  readonly url: string
  readonly instance: string
  readonly onWakeup: (ticket: number) => void
  readonly onError: (error: Error) => void
}

/**
 * Sends wake-ups from the instance that freed a resource to the one where the head of its queue waits, by NOTIFY on a
 * connection of its own. Wake-ups are hints: while the connection is down none arrives, and waiters retry by themselves.
 */
class Listener implements AsyncDisposable {
  readonly #options: ListenerOptions
  #client: pg.Client | undefined
  #timer: NodeJS.Timeout | undefined
  #closed = false
  /** It is away, and its error was handed over. */
  #failing = false

  constructor(options: ListenerOptions) {
    this.#options = options
  }

  async start(): Promise<void> {
    const client = new pg.Client({
      connectionString: this.#options.url,
      connectionTimeoutMillis: 3000,
      keepAlive: true,
      // Wake-ups do not wait for each other, nor forever for a silent connection.
      pipeline: true,
      query_timeout: 5000,
      application_name: LISTENER_NAME
    })
    client.on('error', (error) => this.#fail(error))
    client.on('notification', ({ payload }) => this.#options.onWakeup(Number(payload)))
    client.on('end', () => {
      if (this.#client === client) this.#startAgain()
    })
    this.#client = client
    try {
      await client.connect()
      await client.query(`listen ${channelOf(this.#options.instance)}`)
      // A program that did not dispose of its locks ends all the same; a server has its own socket.
      unref(client)
      this.#failing = false
    } catch (error) {
      // Otherwise a connection that cannot listen would stay open beside the next one.
      client.end().catch(() => undefined)
      throw error
    }
  }

  send({ instance, ticket }: Wakeup): void {
    if (instance === this.#options.instance) {
      setImmediate(() => this.#options.onWakeup(ticket))
      return
    }
    this.#client?.query('select pg_notify($1, $2)', [channelOf(instance), String(ticket)]).catch((error: unknown) => this.#fail(error))
  }

  #fail(error: unknown): void {
    if (this.#failing || this.#closed) return
    this.#failing = true
    this.#options.onError(error instanceof Error ? error : new Error(String(error)))
  }

  #startAgain(): void {
    if (this.#closed || this.#timer !== undefined) return
    this.#timer = setTimeout(() => {
      this.#timer = undefined
      this.start().catch((error: unknown) => {
        this.#fail(error)
        this.#startAgain()
      })
    }, RECONNECT_MS)
    this.#timer.unref()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true
    clearTimeout(this.#timer)
    const awake = setInterval(() => undefined, 1000)
    await this.#client?.end().catch(() => undefined)
    clearInterval(awake)
  }
}

function channelOf(instance: string): string {
  return `rlm_${instance}`
}

/** The driver's types leave this method out. */
function unref(client: pg.Client): void {
  if ('unref' in client && typeof client.unref === 'function') client.unref()
}
