import Fastify, { LogController, type FastifyBaseLogger, type FastifyInstance } from 'fastify'
import { dashboard } from './dashboard/plugin.js'
import { answerClientError } from './http/client-error.js'
import { docs } from './http/docs.js'
import { addErrorHandling, answerUnknownPath } from './http/errors.js'
import { readJson, refuseOtherTypes } from './http/json-body.js'
import { parseQueryString } from './http/query-string.js'
import { adminRoutes } from './http/routes/admin.js'
import { healthRoutes } from './http/routes/health.js'
import { leaseRoutes } from './http/routes/leases.js'
import { lockRoutes } from './http/routes/locks.js'
import { queueRoutes } from './http/routes/queue.js'
import { watchRoutes } from './http/routes/watch.js'
import { isNameFormat, NAME_FORMAT } from './http/schemas/common.js'
import type { LockService } from './locks/lock-service.js'

export interface AppOptions {
  readonly locks: LockService
  /** The longest lease that may be asked for, in seconds. */
  readonly maxTtlSeconds: number
  /** The longest that a request may wait in line, in seconds. */
  readonly maxWaitSeconds: number
  /** Silent when left out. */
  readonly logger?: FastifyBaseLogger
}

const MAX_BODY_BYTES = 64 * 1024

/** The whole HTTP service, ready to listen or to be injected into; it reads no environment and opens no database. */
export async function buildApp({ locks, maxTtlSeconds, maxWaitSeconds, logger }: AppOptions): Promise<FastifyInstance> {
  const app = Fastify({
    ...(logger === undefined ? { logger: false } : { loggerInstance: logger }),
    logController: new LogController({ disableRequestLogging: true }),
    // A logger of its own for each request costs a fifth of the throughput; what is logged names the request instead.
    childLoggerFactory: (parent) => parent,
    bodyLimit: MAX_BODY_BYTES,
    requestTimeout: 10_000,
    // Whoever still gets through while the server closes is served, not refused in words that the contract does not know.
    return503OnClosing: false,
    routerOptions: { querystringParser: parseQueryString },
    // Node would look for connections that are over time only every thirty seconds.
    http: { headersTimeout: 5000, connectionsCheckingInterval: 1000 },
    clientErrorHandler: answerClientError,
    // A path that cannot be decoded.
    frameworkErrors: (_error, _request, reply) => void answerUnknownPath(reply),
    ajv: {
      customOptions: {
        // Fastify's defaults would read null as 0, true as 1 and [5] as 5.
        coerceTypes: false,
        removeAdditional: false,
        useDefaults: false,
        allErrors: true,
        formats: { [NAME_FORMAT]: isNameFormat }
      }
    }
  })

  if (logger !== undefined && ['debug', 'trace'].includes(logger.level)) {
    app.addHook('onResponse', (request, reply, done) => {
      request.log.debug(
        { reqId: request.id, method: request.method, route: request.routeOptions.url, status: reply.statusCode, ms: reply.elapsedTime },
        'request'
      )
      done()
    })
  }

  app.removeAllContentTypeParsers()
  app.addContentTypeParser('application/json', { parseAs: 'buffer' }, readJson)
  app.addContentTypeParser('*', refuseOtherTypes)
  addErrorHandling(app)
  // Before the server stops accepting: whoever waits is answered, so that nothing keeps it from closing.
  app.addHook('preClose', () => locks.drain())
  await app.register(docs)
  await app.register(lockRoutes, { locks, maxTtlSeconds, maxWaitSeconds })
  await app.register(leaseRoutes, { locks, maxTtlSeconds, maxWaitSeconds })
  await app.register(queueRoutes, { locks })
  await app.register(adminRoutes, { locks })
  await app.register(watchRoutes, { locks })
  await app.register(healthRoutes, { locks })
  await app.register(dashboard)
  return app
}
