import type { FastifyPluginCallbackTypebox } from '@fastify/type-provider-typebox'
import type { LocksOf } from '../../locks/scoped-locks.js'
import { queueSchema } from '../schemas/queue.js'
import { success, waiterBody } from '../shapes.js'
import { isoTime } from '../time.js'

export interface QueueRoutesOptions {
  readonly locksOf: LocksOf
}

const QUEUE_PAGE = 100

/** Who waits for a resource. */
export const queueRoutes: FastifyPluginCallbackTypebox<QueueRoutesOptions> = (app, { locksOf }, done) => {
  app.get('/locks/queue', { schema: queueSchema }, async ({ query, apiKey }) => {
    const { resource_name: resourceName, limit = QUEUE_PAGE } = query
    const { at, waiters, total } = await locksOf(apiKey).reads.queue({ resourceName, limit })
    return success(`Retrieved ${waiters.length} of ${total} waiters for resource '${resourceName}'`, {
      resource_name: resourceName,
      as_of: isoTime(at),
      total_waiters: total,
      waiters: waiters.map(waiterBody)
    })
  })

  done()
}
