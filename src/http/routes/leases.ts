import type { FastifyPluginCallbackTypebox } from '@fastify/type-provider-typebox'
import type { Released, Renewals } from '../../locks/requests.js'
import { leaseSchemas } from '../schemas/leases.js'
import { InvalidRequestError } from '../errors.js'
import { requestLocks } from '../request-locks.js'
import { conflictBody, grantBody, heldBody, notHeldBody, REQUEST_ID_REUSED, success, ttlOf } from '../shapes.js'
import { isoTime } from '../time.js'
import type { LockRoutesOptions } from './locks.js'

/** Beyond the mirrored API: renewing, and several locks at once. */
export const leaseRoutes: FastifyPluginCallbackTypebox<LockRoutesOptions> = (app, { locksOf, ...limits }, done) => {
  const schemas = leaseSchemas(limits)

  app.post('/locks/renew', { schema: schemas.renew }, async ({ body, apiKey }, reply) => {
    const { resource_name, process_id, lock_id, ttl_seconds } = body
    const outcome = await locksOf(apiKey).renew({ resourceName: resource_name, processId: process_id, lockId: lock_id }, ttlOf(ttl_seconds))
    if (outcome.kind === 'not-held') return reply.code(404).send(notHeldBody(resource_name, process_id, outcome.reason))
    return success(`Lock renewed successfully for resource '${resource_name}'`, renewedBody(outcome))
  })

  app.post('/locks/renew-many', { schema: schemas.renewMany }, async ({ body, apiKey }) => {
    const { process_id: processId, locks } = body
    mustDiffer(locks.map(({ resource_name }) => resource_name))
    const outcomes = await locksOf(apiKey).renewMany(
      locks.map(({ resource_name, lock_id, ttl_seconds }) => ({ resourceName: resource_name, processId, lockId: lock_id, ttlMs: ttlOf(ttl_seconds) }))
    )
    const renewed = outcomes.flatMap((outcome) => (outcome.kind === 'renewed' ? [renewedBody(outcome)] : []))
    const notHeld = locks.flatMap(({ resource_name, lock_id }, index) => {
      const outcome = outcomes[index]
      return outcome?.kind === 'not-held' ? [{ resource_name, ...(lock_id === undefined ? {} : { lock_id }), reason: outcome.reason }] : []
    })
    return success(`Renewed ${renewed.length} of ${outcomes.length} locks`, { renewed, not_held: notHeld })
  })

  app.post('/locks/renew-all', { schema: schemas.renewAll }, async ({ body, apiKey }) => {
    const renewals = await locksOf(apiKey).renewAll(body.process_id, ttlOf(body.ttl_seconds))
    return success(`Renewed ${renewals.length} locks of process '${body.process_id}'`, {
      total_renewed: renewals.length,
      locks: renewals.map(renewedBody)
    })
  })

  app.post('/locks/request-many', { schema: schemas.requestMany }, async ({ body, apiKey }, reply) => {
    const outcome = await requestLocks(locksOf(apiKey), reply, body.resource_names, body)
    if (outcome.kind === 'request-id-reused') return reply.code(409).send(REQUEST_ID_REUSED)
    if (outcome.kind === 'held') {
      return reply.code(409).send({ ...heldBody(outcome, reply), conflicts: outcome.conflicts.map(conflictBody) })
    }
    const data = { locks: outcome.grants.map(grantBody) }
    return success(
      `Acquired ${outcome.grants.length} locks successfully`,
      outcome.replayed ? { ...data, replayed: true as const } : data
    )
  })

  app.post('/locks/release-many', { schema: schemas.releaseMany }, async ({ body, apiKey }) => {
    const outcomes = await locksOf(apiKey).releaseMany(body.resource_names, body.process_id)
    const released = outcomes.flatMap((outcome) => (outcome.kind === 'released' ? [releasedBody(outcome)] : []))
    const notHeld = body.resource_names.flatMap((resource_name, index) => {
      const outcome = outcomes[index]
      return outcome?.kind === 'not-held' ? [{ resource_name, reason: outcome.reason }] : []
    })
    return success(`Released ${released.length} of ${outcomes.length} locks`, { released, not_held: notHeld })
  })

  app.delete('/locks/release-all', { schema: schemas.releaseAll }, async ({ query, apiKey }) => {
    const { released, leftQueue } = await locksOf(apiKey).releaseAll(query.process_id)
    return success(`Released ${released.length} locks of process '${query.process_id}'`, {
      total_released: released.length,
      total_left_queue: leftQueue,
      locks: released.map(releasedBody)
    })
  })

  done()
}

function mustDiffer(names: readonly string[]): void {
  if (new Set(names).size < names.length) {
    throw new InvalidRequestError([{ type: 'unique_items', loc: ['body', 'locks'], msg: 'Items should name different resources' }])
  }
}

function renewedBody({ grant, renewedAt }: Renewals[number]) {
  return { ...grantBody(grant), renewed_at: isoTime(renewedAt) }
}

function releasedBody({ grant, releasedAt }: Released) {
  return {
    resource_name: grant.resourceName,
    process_id: grant.processId,
    lock_id: grant.lockId,
    released_at: isoTime(releasedAt)
  }
}

