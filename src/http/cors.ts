import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import { markAnswer } from './gate.js'

export interface CorsOptions {
  /** The origins whose pages may call this service, as browsers write them; `*` stands for all. */
  readonly origins: readonly string[]
}

const METHODS = 'GET, POST, DELETE'
const REQUEST_HEADERS = 'authorization, content-type, last-event-id, x-request-id'
const ANSWER_HEADERS = 'retry-after, x-request-id, x-ratelimit-limit, x-ratelimit-remaining, x-ratelimit-reset'
const PREFLIGHT_SECONDS = 600

/**
 * Lets pages of other origins call the service (WHATWG Fetch, section 3.3). No cookie or other credential of the browser is
 * ever involved, so that none is allowed. To be registered before whatever asks for a key: a preflight cannot bear one.
 */
export const cors = fp((app: FastifyInstance, { origins }: CorsOptions, done) => {
  const all = origins.includes('*')
  const allowed = new Set(origins)
  app.addHook('onRequest', (request, reply, next) => {
    if (!all) void reply.header('vary', 'origin')
    const { origin, 'access-control-request-method': asked } = request.headers
    if (origin !== undefined && (all || allowed.has(origin))) {
      void reply.header('access-control-allow-origin', all ? '*' : origin).header('access-control-expose-headers', ANSWER_HEADERS)
    }
    if (request.method !== 'OPTIONS' || asked === undefined) return next()
    markAnswer(request, reply)
    void reply
      .header('access-control-allow-methods', METHODS)
      .header('access-control-allow-headers', REQUEST_HEADERS)
      .header('access-control-max-age', PREFLIGHT_SECONDS)
      .code(204)
      .send()
  })
  done()
})
