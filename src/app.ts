import type { IncomingMessage } from 'node:http'
import cors from '@fastify/cors'
import Fastify, { LogController, type FastifyBaseLogger, type FastifyInstance, type FastifyRequest } from 'fastify'
import { COMPAT_APIS, refuseUndecodableId, registerCompatApis } from './compat/index.js'
import type { CompatApiName } from './config.js'
import { pages } from './dashboard/plugin.js'
import { callerOf, keyIn, type KeyOptions, locksOfCallers, requireKeys } from './http/auth.js'
import { docs } from './http/docs.js'
import { addErrorHandling, answerError, answerUnknownHost, answerUnknownPath, type ErrorCode } from './http/errors.js'
import { answerClientError, answerExpectation, Gate, knownHosts, markAnswer, RateLimit, requestIdOf, UNKNOWN_HOST_PATH } from './http/gate.js'
import { QueryStrings, readJson, refuseOtherTypes } from './http/parsers.js'
import { adminRoutes } from './http/routes/admin.js'
import { eventRoutes } from './http/routes/events.js'
import { healthRoutes, metricsRoutes } from './http/routes/health.js'
import { leaseRoutes } from './http/routes/leases.js'
import { lockRoutes } from './http/routes/locks.js'
import { readRoutes } from './http/routes/reads.js'
import { Metrics, isTraced, tracing } from './http/telemetry.js'
import { refuseUnknown, serializerCompiler, validatorCompiler } from './http/validation.js'
import type { LockError } from './locks/errors.js'
import type { LockService } from './locks/lock-service.js'
import { WatcherQuota } from './locks/quotas.js'

export interface AppOptions extends Partial<KeyOptions> {
  readonly locks: LockService
  /** What users of the service call its database; not told if left out. */
  readonly databaseName?: string | undefined
  /** The longest lease that may be asked for, in seconds. */
  readonly maxTtlSeconds: number
  /** The longest that a request may wait in line, in seconds. */
  readonly maxWaitSeconds: number
  /** The other APIs to serve beside this one; none when left out. */
  readonly compatApis?: readonly CompatApiName[]
  /** What one request may bring and one caller may do; the contract's limits where nothing is said. */
  readonly requestLimits?: RequestLimits
  /** The host names by which the service may be asked, see {@link knownHosts}; any if left out. */
  readonly hosts?: readonly string[] | undefined
  /** The origins whose pages may call the service; none if left out. */
  readonly corsOrigins?: readonly string[] | undefined
  /** The proxies whose word about a caller's address is taken; none if left out. */
  readonly trustProxy?: readonly string[] | undefined
  /** Silent when left out. */
  readonly logger?: FastifyBaseLogger
  /** Takes the faults of the database, and of overload, that requests fail with; each is logged when left out. */
  readonly onFault?: (error: LockError) => void
}

export interface RequestLimits {
  /** 64 KiB if left out. */
  readonly bodyBytes?: number
  /** Resources that one request may name, at most 100. */
  readonly names?: number
  /** How long a request may take to arrive, in milliseconds; 10 s if left out. */
  readonly arrivalMs?: number
  /** Requests of one caller within a second; any number if left out. */
  readonly perSecond?: number | undefined
  /** Streams of events, of everybody and of one caller; any number if left out. */
  readonly watchers?: number
  readonly watchersPerCaller?: number
}

const MAX_BODY_BYTES = 64 * 1024
const ARRIVAL_MS = 10_000
/** The headers are small and come first. */
const HEADERS_MS = 5000

/** Room for the longest name that a path may hold: 255 characters of four bytes, each written as `%F0`. */
const MAX_PARAM_LENGTH = 255 * 4 * 3

const CORS = {
  methods: 'GET, POST, DELETE',
  allowedHeaders: 'authorization, content-type, last-event-id, x-request-id',
  exposedHeaders: 'retry-after, x-request-id, x-ratelimit-limit, x-ratelimit-remaining, x-ratelimit-reset',
  maxAge: 600,
  strictPreflight: false
}

/** The whole HTTP service, ready to listen or to be injected into; it reads no environment and opens no database. */
export async function buildApp(options: AppOptions): Promise<FastifyInstance> {
  const { locks, maxTtlSeconds, maxWaitSeconds, compatApis = [], requestLimits = {}, hosts, corsOrigins, trustProxy, logger, keys, anonymous = true } = options
  const { bodyBytes = MAX_BODY_BYTES, arrivalMs = ARRIVAL_MS, names: maxNames, perSecond, watchers = Infinity, watchersPerCaller = Infinity } = requestLimits
  const isKnownHost = hosts === undefined ? undefined : knownHosts(hosts)
  const callerNow = (request: FastifyRequest): string => callerOf({ apiKey: keyIn(request, keys), ip: request.ip })
  const gate = new Gate({ corsOrigins, rateLimit: perSecond === undefined ? undefined : new RateLimit(perSecond, callerNow) })
  const queries = new QueryStrings()
  const app = Fastify({
    ...(logger === undefined ? { logger: false } : { loggerInstance: logger }),
    logController: new LogController({ disableRequestLogging: true }),
    // A logger of its own for each request costs a fifth of the throughput; what is logged names the request instead.
    childLoggerFactory: (parent) => parent,
    bodyLimit: bodyBytes,
    requestTimeout: arrivalMs,
    genReqId: requestIdOf,
    ...(trustProxy === undefined ? {} : { trustProxy: [...trustProxy] }),
    // In the router rather than in a hook, which would cost every request something.
    ...(isKnownHost === undefined
      ? {}
      : { rewriteUrl: ({ headers, url = '' }: IncomingMessage) => (isKnownHost(headers.host) ? url : UNKNOWN_HOST_PATH) }),
    // A request that still arrives while the server closes is served: Fastify's own refusal is not in the contract.
    return503OnClosing: false,
    routerOptions: { querystringParser: queries.parse, maxParamLength: MAX_PARAM_LENGTH },
    // Node would look for connections that are over time only every thirty seconds.
    http: { headersTimeout: Math.min(HEADERS_MS, arrivalMs), connectionsCheckingInterval: 1000, requireHostHeader: false },
    clientErrorHandler: answerClientError,
    // A path that cannot be decoded.
    frameworkErrors: (_error, request, reply) => {
      const refusal = gate.pass(request, reply)
      if (refusal === 'ignore') return
      if (refusal !== undefined) void answerError(refusal, request, reply)
      else if (isKnownHost?.(request.headers.host) === false) void answerUnknownHost(reply)
      else void (refuseUndecodableId(request.url, compatApis, reply) ?? answerUnknownPath(reply))
    }
  })
  app.server.on('checkExpectation', answerExpectation)

  if (logger !== undefined && ['debug', 'trace'].includes(logger.level)) {
    app.addHook('onResponse', (request, reply, done) => {
      request.log.debug(
        { reqId: request.id, method: request.method, route: request.routeOptions.url, status: reply.statusCode, ms: reply.elapsedTime },
        'request'
      )
      done()
    })
  }

  app.setValidatorCompiler(validatorCompiler())
  app.setSerializerCompiler(serializerCompiler())
  app.removeAllContentTypeParsers()
  app.addContentTypeParser('application/json', { parseAs: 'buffer' }, readJson)
  app.addContentTypeParser('*', refuseOtherTypes)
  const errors = new Map<ErrorCode, number>()
  addErrorHandling(app, errors, options.onFault)
  if (corsOrigins !== undefined) await letPagesIn(app, corsOrigins)
  app.addHook('onRequest', gate.hook)
  app.addHook('onRoute', queries.learn)
  await app.register(requireKeys, { keys, anonymous })
  await app.register(refuseUnknown)
  if (isTraced()) await app.register(tracing)
  // Answers all waiters before the server stops accepting, so that none of them keeps it open.
  app.addHook('preClose', () => locks.drain())
  const locksOf = locksOfCallers(locks, keys)
  await app.register(docs, { tags: compatApis.map((api) => COMPAT_APIS[api].tag) })
  const watcherQuota = new WatcherQuota(watchers, watchersPerCaller)
  await app.register(lockRoutes, { locksOf, maxTtlSeconds, maxWaitSeconds })
  await app.register(readRoutes, { locksOf, watchers: watcherQuota, maxTtlSeconds, maxWaitSeconds })
  await app.register(leaseRoutes, { locksOf, maxTtlSeconds, maxWaitSeconds, maxNames })
  await app.register(adminRoutes, { locksOf, databaseName: options.databaseName, maxTtlSeconds })
  await app.register(eventRoutes, { locksOf, watchers: watcherQuota })
  await app.register(healthRoutes, { locks })
  await app.register(metricsRoutes, { metrics: new Metrics(locks, errors) })
  await app.register(pages)
  await registerCompatApis(app, compatApis, { locksOf, maxTtlSeconds, corsIsSet: corsOrigins !== undefined })
  return app
}

/**
 * Lets pages of other origins call the service, without cookies or other credentials of the browser. Before the gate, so that
 * pages can read its refusals, and before keys are asked for: a preflight bears none.
 */
async function letPagesIn(app: FastifyInstance, origins: readonly string[]): Promise<void> {
  app.addHook('onRequest', (request, reply, done) => {
    markAnswer(request, reply)
    done()
  })
  await app.register(cors, {
    // An OPTIONS that is no preflight is answered like any other method that a path does not take.
    delegator: ({ headers }, done) => done(null, { ...CORS, origin: [...origins], preflight: headers['access-control-request-method'] !== undefined })
  })
}
