import type { FastifyInstance } from 'fastify'
import type { Logger } from 'pino'
import { buildApp, type AppOptions } from './app.js'
import { isLoopback, letsAnybodyIn, listenedAt, listOf, loadEnvFile, readConfig, refuseStrangers, warningOfRebinding, type Config } from './config.js'
import { StartupError } from './locks/errors.js'
import { ApiKeyCache } from './locks/api-keys.js'
import type { Limits } from './locks/quotas.js'
import { ttlFromSeconds } from './locks/lock.js'
import { LockService } from './locks/lock-service.js'
import { Sweeper } from './locks/cleanup.js'
import { Availability, fail, openLog } from './log.js'
import { databaseName, describeDatabase, openStore } from './storage/index.js'
import { VERSION } from './version.js'

/** How long requests under way may take once the service was told to stop. */
const GRACE_MS = 10_000

/** How long of that a client may take to finish sending its request. */
const PATIENCE_MS = 5000

const STOP_SIGNALS = ['SIGHUP', 'SIGINT', 'SIGQUIT', 'SIGTERM'] as const

/** Ctrl-C reaches npm and the service, and npm forwards its own signal: within this time a repetition is the same signal. */
const SAME_SIGNAL_MS = 1000

async function main(): Promise<void> {
  loadEnvFile()
  const config = readConfig(process.env)
  const log = openLog(config.LOG_LEVEL)
  log.info({ version: VERSION }, 'Resource Lock Manager')
  const started = start(config, log)
  stopOnSignal(log, async () => (await started)())
  await started
}

/**
 * Stops the service on the first signal, with exit code 0, or after an error that nothing caught, with exit code 1. A signal
 * more than a second later ends the process at once, and so does a stop that takes too long.
 */
function stopOnSignal(log: Logger, stop: () => Promise<void>): void {
  let since: number | undefined
  const end = async (code: number): Promise<void> => {
    since = performance.now()
    setTimeout(() => {
      log.error(`Not everything under way ended within ${GRACE_MS / 1000} s; the service stops all the same`)
      process.exit(1)
    }, GRACE_MS)
    try {
      await stop()
    } catch (error) {
      fail(error)
      process.exit(1)
    }
    process.exit(code)
  }
  for (const signal of STOP_SIGNALS) {
    // Somebody listens already where rlm was told to ignore it, as by nohup.
    if (process.listenerCount(signal) > 0) continue
    process.on(signal, () => {
      if (since === undefined) {
        log.info({ signal }, 'stopping')
        void end(0)
      } else if (performance.now() - since >= SAME_SIGNAL_MS) {
        log.warn({ signal }, 'stopping at once, without an answer to what is under way')
        process.exit(1)
      }
    })
  }
  // A rejection that nothing handles arrives here too.
  process.on('uncaughtException', (err) => {
    log.fatal({ err }, 'stopping after an unexpected error')
    if (since !== undefined) process.exit(1)
    void end(1)
  })
}

/** Opens the database, listens, and resolves to what stops it all again in the opposite order. */
async function start(config: Config, log: Logger): Promise<() => Promise<void>> {
  let availability: Availability | undefined
  const store = await openStore({
    databaseUrl: config.DATABASE_URL,
    listenUrl: config.DATABASE_LISTEN_URL,
    keepHistoryMs: config.HISTORY_RETENTION_DAYS * 86_400_000,
    // Before the service can start, one sentence says what is wrong.
    onConnectionError: (error) => availability?.suspect(error),
    onFatal: (error) => {
      // As an uncaught exception, which ends the process in whatever state it is: a service manager then starts it again.
      setImmediate(() => {
        throw error
      })
    }
  })
  const watch = new Availability(log, () => store.ping())
  availability = watch
  try {
    for (const warning of store.warnings) log.warn(warning)
    const keys = new ApiKeyCache(store.keys, { onError: (error) => watch.report(error) })
    await keys.refresh()
    refuseStrangers(config, keys.keysExist)
    const warning = warningOfRebinding(config, keys.keysExist)
    if (warning !== undefined) log.warn(warning)
    const { DEFAULT_TTL_SECONDS: ttl } = config
    const locks = new LockService(store, { defaultTtlMs: ttl === undefined ? null : ttlFromSeconds(ttl), limits: limitsOf(config) })
    const sweeper = new Sweeper(store, {
      intervalMs: config.SWEEP_INTERVAL_SECONDS * 1000,
      onExpired: (grants) => locks.statistics.expired(grants),
      onError: (error) => watch.report(error)
    })
    const app = await buildApp({ ...appOptionsOf(config), databaseName: await databaseName(config.DATABASE_URL), locks, logger: log, keys, onFault: (error) => watch.report(error) })
    await listen(app, config)
    sweeper.start()
    keys.start()
    log.info(await whereToLook(app, config))
    return async () => {
      await close(app)
      await sweeper[Symbol.asyncDispose]()
      await keys[Symbol.asyncDispose]()
      watch[Symbol.dispose]()
      await store[Symbol.asyncDispose]()
    }
  } catch (error) {
    watch[Symbol.dispose]()
    await store[Symbol.asyncDispose]()
    throw error
  }
}

function limitsOf(config: Config): Limits {
  return {
    waitersPerResource: config.MAX_WAITERS_PER_RESOURCE,
    waitersPerCaller: config.MAX_WAITERS_PER_CALLER,
    locksPerKey: config.MAX_LOCKS_PER_KEY
  }
}

function appOptionsOf(config: Config): Omit<AppOptions, 'locks' | 'logger' | 'keys'> {
  const { ALLOWED_HOSTS: hosts, CORS_ORIGIN: origins, TRUST_PROXY: proxies } = config
  return {
    maxTtlSeconds: config.MAX_TTL_SECONDS,
    maxWaitSeconds: config.MAX_WAIT_SECONDS,
    compatApis: config.COMPAT_APIS,
    anonymous: letsAnybodyIn(config),
    requestLimits: {
      bodyBytes: config.MAX_BODY_BYTES,
      names: config.MAX_NAMES_PER_REQUEST,
      arrivalMs: config.REQUEST_TIMEOUT_SECONDS * 1000,
      perSecond: config.RATE_LIMIT_PER_SECOND,
      watchers: config.MAX_WATCHERS,
      watchersPerCaller: config.MAX_WATCHERS_PER_CALLER
    },
    // What other machines reach may go by any name, unless its operator says which.
    hosts: hosts !== undefined || isLoopback(config.HOST) ? listOf(hosts) : undefined,
    corsOrigins: origins === undefined ? undefined : listOf(origins),
    trustProxy: proxies === undefined ? undefined : listOf(proxies)
  }
}

/** Answers what is under way, then lets go of the connections. */
async function close(app: FastifyInstance): Promise<void> {
  // A connection that is busy now would otherwise be kept for the client's next request, and keep the server.
  app.server.keepAliveTimeout = 1
  // A server that closes no longer looks after half-sent requests.
  const impatience = setTimeout(() => app.server.closeAllConnections(), PATIENCE_MS)
  await app.close()
  clearTimeout(impatience)
}

async function listen(app: FastifyInstance, { HOST: host, PORT: port }: Config): Promise<void> {
  try {
    await app.listen({ host, port })
  } catch (error) {
    await app.close()
    const code = error instanceof Error && 'code' in error ? error.code : undefined
    if (code === 'EADDRINUSE') throw new StartupError(`Port ${port} on ${host} is in use by another program; set PORT to a free one.`)
    if (code === 'EACCES') throw new StartupError(`This user may not listen on port ${port}; set PORT to one above 1023.`)
    if (code === 'EADDRNOTAVAIL' || code === 'ENOTFOUND') throw new StartupError(`This machine has no address ${host}; set HOST to one it has.`)
    throw error
  }
}

/** One sentence at start: what to open in a browser, and where the locks are kept. */
async function whereToLook(app: FastifyInstance, { HOST, DATABASE_URL }: Config): Promise<string> {
  const address = app.server.address()
  const port = typeof address === 'object' && address !== null ? address.port : undefined
  const url = listenedAt({ HOST, PORT: String(port) })
  return `Dashboard at ${url}/dashboard, API documentation at ${url}/docs; the locks are kept in ${await describeDatabase(DATABASE_URL)}`
}

main().catch(fail)
