import type { FastifyPluginCallbackTypebox } from '@fastify/type-provider-typebox'
import type { LockService } from '../../locks/lock-service.js'
import { eventFromCursor, toCursor } from '../cursor.js'
import { adminSchemas as schemas } from '../schemas/admin.js'
import { eventBody, grantBody, success } from '../shapes.js'
import { isoTime } from '../time.js'

export interface AdminRoutesOptions {
  readonly locks: LockService
}

const HISTORY_PAGE = 100
const MOST_CONTENDED = 10

/** For operators: taking locks away, the history, the figures. */
export const adminRoutes: FastifyPluginCallbackTypebox<AdminRoutesOptions> = (app, { locks }, done) => {
  app.post('/locks/force-release', { schema: schemas.forceRelease }, async ({ body }, reply) => {
    const { resource_name, reason, lock_id } = body
    const outcome = await locks.forceRelease(resource_name, reason, lock_id)
    if (outcome.kind === 'not-held') {
      return reply.code(404).send({ detail: `No active lock found for resource '${resource_name}'`, code: 'LOCK_NOT_HELD', reason: outcome.reason })
    }
    if (outcome.kind === 'changed') {
      return reply.code(409).send({ detail: `Resource '${resource_name}' is no longer held by lock ${lock_id}`, code: 'LOCK_CHANGED' })
    }
    app.log.warn({ resource_name, lock_id: outcome.grant.lockId, process_id: outcome.grant.processId, reason }, 'lock force-released')
    return success(`Lock force-released successfully for resource '${resource_name}'`, {
      ...grantBody(outcome.grant),
      released_at: isoTime(outcome.releasedAt),
      reason
    })
  })

  app.post('/locks/force-release-all', { schema: schemas.forceReleaseAll }, async ({ body }) => {
    const { prefix = '', reason } = body
    const total = await locks.forceReleaseAll(prefix, reason)
    app.log.warn({ prefix, total, reason }, 'locks force-released')
    return success(`Force-released ${total} locks`, { total_released: total })
  })

  app.get('/locks/history', { schema: schemas.history }, async ({ query }) => {
    const { resource_name: resourceName = null, process_id: processId = null, limit = HISTORY_PAGE, cursor } = query
    const before = cursor === undefined ? null : eventFromCursor(cursor)
    const { events, more } = await locks.history({ resourceName, processId, before, limit })
    const last = events.at(-1)
    return success(`Retrieved ${events.length} events`, {
      events: events.map(eventBody),
      next_cursor: more && last !== undefined ? toCursor(String(last.eventId)) : null
    })
  })

  app.get('/locks/stats', { schema: schemas.stats }, async () => {
    const { grants, conflicts, releases, renewals, forcedReleases, expiries } = locks.statistics.counters
    return success('Retrieved statistics', {
      held: await locks.count({ prefix: '', processId: null }),
      waiters: await locks.countWaiters(),
      grants,
      conflicts,
      releases,
      renewals,
      forced_releases: forcedReleases,
      expiries,
      instance: locks.statistics.instance,
      top_contended: locks.statistics.mostContended(MOST_CONTENDED).map(({ name, conflicts }) => ({ resource_name: name, conflicts }))
    })
  })

  done()
}
