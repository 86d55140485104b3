import rateLimit, { type FastifyRateLimitStore } from '@fastify/rate-limit'
import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import { LockError } from '../locks/errors.js'
import { callerOf } from './caller.js'

export interface RateLimitOptions {
  /** Requests that each caller may send within a second. */
  readonly perSecond: number
}

const WINDOW_MS = 1000

/** Whoever watches over the service must see it at any time, above all when it has much to do. */
const UNLIMITED = new Set(['/health', '/livez', '/readyz', '/metrics'])

/**
 * Refuses whoever asks too often. Only for services whose operator wants that: a hook on every request costs some of the
 * throughput. To be registered before the routes.
 */
export const limitRate = fp(async (app: FastifyInstance, { perSecond }: RateLimitOptions) => {
  await app.register(rateLimit, {
    max: perSecond,
    timeWindow: WINDOW_MS,
    store: Seconds,
    keyGenerator: callerOf,
    allowList: ({ routeOptions }) => UNLIMITED.has(routeOptions.url ?? ''),
    errorResponseBuilder: () =>
      new LockError('TOO_MANY_REQUESTS', { detail: `More than ${perSecond} requests within a second; nothing was changed` })
  })
})

/**
 * Counts each caller's requests of the present second. The package's own store hands out one object that later requests
 * change before it is read, so that of a burst that arrives at once it refuses all instead of those that are too many.
 */
class Seconds implements FastifyRateLimitStore {
  readonly #counts = new Map<string, number>()
  #since = 0

  incr(caller: string, answer: (error: Error | null, result?: { current: number; ttl: number }) => void): void {
    const now = Date.now()
    if (now < this.#since || now >= this.#since + WINDOW_MS) {
      this.#counts.clear()
      this.#since = now
    }
    const current = (this.#counts.get(caller) ?? 0) + 1
    this.#counts.set(caller, current)
    answer(null, { current, ttl: this.#since + WINDOW_MS - now })
  }

  child(): this {
    return this
  }
}
