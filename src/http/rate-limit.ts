import rateLimit from '@fastify/rate-limit'
import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import { LockError } from '../locks/errors.js'
import { callerOf } from './caller.js'

export interface RateLimitOptions {
  /** Requests that each caller may send within a second. */
  readonly perSecond: number
}

/** Whoever watches over the service must see it at any time, above all when it has much to do. */
const UNLIMITED = new Set(['/health', '/livez', '/readyz', '/metrics'])

/**
 * Refuses whoever asks too often. Only for services whose operator wants that: a hook on every request costs some of the
 * throughput. To be registered before the routes.
 */
export const limitRate = fp(async (app: FastifyInstance, { perSecond }: RateLimitOptions) => {
  await app.register(rateLimit, {
    max: perSecond,
    timeWindow: 1000,
    keyGenerator: callerOf,
    allowList: ({ routeOptions }) => UNLIMITED.has(routeOptions.url ?? ''),
    errorResponseBuilder: () =>
      new LockError('TOO_MANY_REQUESTS', { detail: `More than ${perSecond} requests within a second; nothing was changed` })
  })
})
