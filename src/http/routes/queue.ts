import type { FastifyPluginCallbackTypebox } from '@fastify/type-provider-typebox'
import type { LockService } from '../../locks/lock-service.js'
import { queueSchema } from '../schemas/queue.js'
import { success, waiterBody } from '../shapes.js'
import { isoTime } from '../time.js'

export interface QueueRoutesOptions {
  readonly locks: LockService
}

const QUEUE_PAGE = 100

/** Who waits for a resource. */
export const queueRoutes: FastifyPluginCallbackTypebox<QueueRoutesOptions> = (app, { locks }, done) => {
  app.get('/locks/queue', { schema: queueSchema }, async ({ query }) => {
    const { resource_name: resourceName, limit = QUEUE_PAGE } = query
    const { at, waiters, total } = await locks.queue({ resourceName, limit })
    return success(`Retrieved ${waiters.length} of ${total} waiters for resource '${resourceName}'`, {
      resource_name: resourceName,
      as_of: isoTime(at),
      total_waiters: total,
      waiters: waiters.map(waiterBody)
    })
  })

  done()
}
