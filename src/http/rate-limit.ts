import type { FastifyReply, FastifyRequest } from 'fastify'
import { LockError } from '../locks/errors.js'

const WINDOW_MS = 1000

/** Whoever watches over the service must see it at any time, above all when it has much to do. */
const UNLIMITED = new Set(['/health', '/livez', '/readyz', '/metrics'])

/** Counts the requests of each caller in the present second, whatever they are answered: guessing keys and paths counts too. */
export class RateLimit {
  readonly #perSecond: number
  readonly #callerOf: (request: FastifyRequest) => string
  readonly #counts = new Map<string, number>()
  #since = 0

  /** @param perSecond requests that each caller may send within a second. */
  constructor(perSecond: number, callerOf: (request: FastifyRequest) => string) {
    this.#perSecond = perSecond
    this.#callerOf = callerOf
  }

  /** @returns why a request that is one too many is refused. */
  count(request: FastifyRequest, reply: FastifyReply): LockError | undefined {
    if (UNLIMITED.has(request.routeOptions.url ?? '')) return undefined
    const now = Date.now()
    if (now < this.#since || now >= this.#since + WINDOW_MS) {
      this.#counts.clear()
      this.#since = now
    }
    const caller = this.#callerOf(request)
    const count = (this.#counts.get(caller) ?? 0) + 1
    this.#counts.set(caller, count)
    const seconds = Math.ceil((this.#since + WINDOW_MS - now) / 1000)
    void reply
      .header('x-ratelimit-limit', this.#perSecond)
      .header('x-ratelimit-remaining', Math.max(0, this.#perSecond - count))
      .header('x-ratelimit-reset', seconds)
    if (count <= this.#perSecond) return undefined
    void reply.header('retry-after', seconds)
    return new LockError('TOO_MANY_REQUESTS', { detail: `More than ${this.#perSecond} requests within a second; nothing was changed` })
  }
}
