import type { FastifyPluginCallbackTypebox } from '@fastify/type-provider-typebox'
import type { LocksOf } from '../../locks/scoped-locks.js'
import { eventFromCursor, toCursor } from '../cursor.js'
import { adminSchemas as schemas } from '../schemas/admin.js'
import { eventBody, grantBody, success } from '../shapes.js'
import { isoTime } from '../time.js'

export interface AdminRoutesOptions {
  readonly locksOf: LocksOf
}

const HISTORY_PAGE = 100
const MOST_CONTENDED = 10

/** For operators: taking locks away, the history, the figures. */
export const adminRoutes: FastifyPluginCallbackTypebox<AdminRoutesOptions> = (app, { locksOf }, done) => {
  app.post('/locks/force-release', { schema: schemas.forceRelease }, async ({ body, apiKey, id: reqId }, reply) => {
    const { resource_name, reason, lock_id } = body
    const outcome = await locksOf(apiKey).forceRelease(resource_name, reason, lock_id)
    if (outcome.kind === 'not-held') {
      return reply.code(404).send({ detail: `No active lock found for resource '${resource_name}'`, code: 'LOCK_NOT_HELD', reason: outcome.reason })
    }
    if (outcome.kind === 'changed') {
      return reply.code(409).send({ detail: `Resource '${resource_name}' is no longer held by lock ${lock_id}`, code: 'LOCK_CHANGED' })
    }
    app.log.warn({ resource_name, lock_id: outcome.grant.lockId, process_id: outcome.grant.processId, reason, key: apiKey?.name, reqId }, 'lock force-released')
    return success(`Lock force-released successfully for resource '${resource_name}'`, {
      ...grantBody(outcome.grant),
      released_at: isoTime(outcome.releasedAt),
      reason
    })
  })

  app.post('/locks/force-release-all', { schema: schemas.forceReleaseAll }, async ({ body, apiKey, id: reqId }) => {
    const { prefix = '', reason } = body
    const total = await locksOf(apiKey).forceReleaseAll(prefix, reason)
    app.log.warn({ prefix, total, reason, key: apiKey?.name, reqId }, 'locks force-released')
    return success(`Force-released ${total} locks`, { total_released: total })
  })

  app.get('/locks/history', { schema: schemas.history }, async ({ query, apiKey }) => {
    const { resource_name: resourceName = null, process_id: processId = null, limit = HISTORY_PAGE, cursor } = query
    const before = cursor === undefined ? null : eventFromCursor(cursor)
    const { events, more } = await locksOf(apiKey).reads.history({ prefix: '', resourceName, processId, before, limit })
    const last = events.at(-1)
    return success(`Retrieved ${events.length} events`, {
      events: events.map(eventBody),
      next_cursor: more && last !== undefined ? toCursor(String(last.eventId)) : null
    })
  })

  app.get('/locks/stats', { schema: schemas.stats }, async ({ apiKey }) => {
    const locks = locksOf(apiKey)
    const { grants, conflicts, releases, renewals, forcedReleases, expiries } = locks.statistics.counters
    // They are not counted by name, so that whoever may see only some names may not see them.
    const ofAll = <Figure>(figure: Figure): Figure | null => (locks.prefix === '' ? figure : null)
    const { recentWaits } = locks.statistics
    return success('Retrieved statistics', {
      held: await locks.reads.count({ prefix: locks.prefix, processId: null }),
      waiters: await locks.reads.countWaiters({ prefix: locks.prefix }),
      grants: ofAll(grants),
      conflicts: ofAll(conflicts),
      releases: ofAll(releases),
      renewals: ofAll(renewals),
      forced_releases: ofAll(forcedReleases),
      expiries: ofAll(expiries),
      wait_seconds_p50: ofAll(toMilliseconds(recentWaits.percentile(0.5))),
      wait_seconds_p95: ofAll(toMilliseconds(recentWaits.percentile(0.95))),
      instance: locks.statistics.instance,
      top_contended: locks.statistics
        .mostContended(MOST_CONTENDED, locks.prefix)
        .map(({ name, conflicts }) => ({ resource_name: name, conflicts }))
    })
  })

  done()
}

/** Seconds, of which no more than the milliseconds mean anything. */
function toMilliseconds(seconds: number | null): number | null {
  return seconds === null ? null : Math.round(seconds * 1000) / 1000
}
