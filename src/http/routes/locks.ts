import type { FastifyPluginCallbackTypebox } from '@fastify/type-provider-typebox'
import { LIST_LIMIT } from '../../locks/store.js'
import type { LocksOf } from '../../locks/scoped-locks.js'
import { nameFromCursor, toCursor } from '../cursor.js'
import type { LeaseLimits } from '../schemas/grants.js'
import { lockSchemas } from '../schemas/locks.js'
import { requestLocks } from '../request-locks.js'
import { grantBody, heldBody, listedBody, notHeldBody, REQUEST_ID_REUSED, success } from '../shapes.js'
import { isoTime, isoTimeOrNull, secondsUntil } from '../time.js'

export interface LockRoutesOptions extends LeaseLimits {
  readonly locksOf: LocksOf
}

/** The mirrored API: request, release, status, all-locked. */
export const lockRoutes: FastifyPluginCallbackTypebox<LockRoutesOptions> = (app, { locksOf, ...limits }, done) => {
  const schemas = lockSchemas(limits)

  app.post('/locks/request', { schema: schemas.request }, async ({ body, apiKey }, reply) => {
    const outcome = await requestLocks(locksOf(apiKey), reply, [body.resource_name], body)
    if (outcome.kind === 'held') return reply.code(409).send(heldBody(outcome, reply))
    const [grant] = outcome.kind === 'granted' ? outcome.grants : []
    if (outcome.kind !== 'granted' || grant === undefined) return reply.code(409).send(REQUEST_ID_REUSED)
    const data = grantBody(grant)
    return success(
      `Lock acquired successfully for resource '${body.resource_name}'`,
      outcome.replayed ? { ...data, replayed: true as const } : data
    )
  })

  app.delete('/locks/release', { schema: schemas.release }, async ({ query, apiKey }, reply) => {
    const { resource_name, process_id, lock_id } = query
    const locks = locksOf(apiKey)
    const outcome = await locks.release({ resourceName: resource_name, processId: process_id, lockId: lock_id })
    if (outcome.kind === 'not-held') {
      const refused = notHeldBody(resource_name, process_id, outcome.reason)
      const releasedAt = lock_id === undefined || !locks.keepsHistory ? undefined : await locks.reads.releasedAt({ resourceName: resource_name, processId: process_id, lockId: lock_id })
      return reply.code(404).send(releasedAt === undefined ? refused : { ...refused, released_at: isoTimeOrNull(releasedAt) })
    }
    return success(`Lock released successfully for resource '${resource_name}'`, {
      resource_name,
      process_id,
      released_at: isoTime(outcome.releasedAt)
    })
  })

  app.get('/locks/status', { schema: schemas.status }, async ({ query, apiKey }) => {
    const { at, grant, waiters } = await locksOf(apiKey).inspect(query.resource_name)
    return success(
      grant === null ? `Resource '${query.resource_name}' is not locked` : `Resource '${query.resource_name}' status retrieved successfully`,
      {
        resource_name: query.resource_name,
        is_locked: grant !== null,
        locked_by: grant?.processId ?? null,
        locked_at: isoTimeOrNull(grant?.lockedAt ?? null),
        expires_at: isoTimeOrNull(grant?.expiresAt ?? null),
        lock_id: grant?.lockId ?? null,
        fencing_token: grant?.lockId ?? null,
        remaining_seconds: secondsUntil(grant?.expiresAt ?? null, at),
        metadata: grant?.metadata ?? null,
        waiters
      }
    )
  })

  app.get('/locks/all-locked', { schema: schemas.allLocked }, async ({ query, apiKey }) => {
    const locks = locksOf(apiKey)
    const { prefix = '', process_id: processId = null, limit = LIST_LIMIT, cursor } = query
    const after = cursor === undefined ? null : nameFromCursor(cursor)
    const { at, grants, more } = await locks.reads.list({ prefix, processId, after, limit })
    // One page that shows everything needs no counting, and cannot disagree with its own total.
    const total = after === null && !more ? grants.length : await locks.reads.count({ prefix, processId })
    const last = grants.at(-1)
    return success(`Retrieved ${total} active locks`, {
      total_locks: total,
      as_of: isoTime(at),
      locks: grants.map(listedBody),
      next_cursor: more && last !== undefined ? toCursor(last.resourceName) : null
    })
  })

  done()
}
