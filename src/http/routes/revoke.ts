import type { FastifyPluginCallbackTypebox } from '@fastify/type-provider-typebox'
import { Type } from '@sinclair/typebox'
import type { LocksOf } from '../../locks/scoped-locks.js'
import { grantBody, isoTime, success } from '../responses.js'
import { answer, LockIdSchema, ResourceNameSchema, Timestamp } from '../schemas/common.js'
import { exampleGrant, grantFields, GrantSchema, type LeaseLimits, LOCK_NOT_HELD, WITH_BODY } from '../schemas/grants.js'
import { LOCK_CHANGED, ReasonText } from './admin.js'

const exampleReason = 'worker-7 is drained'
const exampleEnd = '2024-01-15T10:31:00.123+00:00'

const revokeSchema = ({ maxTtlSeconds }: Pick<LeaseLimits, 'maxTtlSeconds'>) => ({
  operationId: 'revokeLock',
  tags: ['Administration'],
  summary: 'Ask the holder of a lock to end',
  description:
    'From now on no renewal moves the end of the lock past the grace, and a later end is drawn in to it: whatever the holder does, it ends by then. The answers to ' +
    'its renewals tell it. Without `lock_id` all shares of the resource are revoked. A second revocation may only shorten the grace; a release before is an ordinary one.',
  body: Type.Object(
    {
      resource_name: ResourceNameSchema,
      reason: ReasonText,
      grace_seconds: Type.Number({ minimum: 0, maximum: maxTtlSeconds, description: 'For so many seconds from now the lock may still be held.', examples: [30] }),
      lock_id: Type.Optional(LockIdSchema)
    },
    { examples: [{ resource_name: 'database_backup', reason: exampleReason, grace_seconds: 30 }] }
  ),
  response: {
    200: answer(
      'The lock as it is now.',
      Type.Object(
        {
          ...grantFields,
          revoke_at: Timestamp('When it ends at the latest.'),
          reason: Type.String(),
          revoked: Type.Optional(Type.Array(GrantSchema, { description: 'Where the resource is shared: every share that was revoked; what stands beside is of the one that ends last.' }))
        },
        { title: 'RevokedLock' }
      ),
      "Lock revoked successfully for resource 'database_backup'",
      { ...exampleGrant, expires_at: exampleEnd, revoke_at: exampleEnd, reason: exampleReason }
    ),
    404: LOCK_NOT_HELD,
    409: LOCK_CHANGED,
    ...WITH_BODY
  }
})

export interface RevokeRoutesOptions extends Pick<LeaseLimits, 'maxTtlSeconds'> {
  readonly locksOf: LocksOf
}

/** For operators: asking a holder to end, where taking the lock away would be rude. */
export const revokeRoutes: FastifyPluginCallbackTypebox<RevokeRoutesOptions> = (app, { locksOf, maxTtlSeconds }, done) => {
  app.post('/locks/revoke', { schema: revokeSchema({ maxTtlSeconds }) }, async ({ body, apiKey, id: reqId }, reply) => {
    const { resource_name, reason, grace_seconds, lock_id } = body
    const outcome = await locksOf(apiKey).revoke(resource_name, reason, Math.round(grace_seconds * 1000), lock_id)
    if (outcome.kind === 'not-held') {
      return reply.code(404).send({ detail: `No active lock found for resource '${resource_name}'`, code: 'LOCK_NOT_HELD', reason: outcome.reason })
    }
    if (outcome.kind === 'changed') {
      return reply.code(409).send({ detail: `Resource '${resource_name}' is no longer held by lock ${lock_id}`, code: 'LOCK_CHANGED' })
    }
    const { grant, revocation, all } = outcome
    for (const { lockId, processId } of all) app.log.warn({ resource_name, lock_id: lockId, process_id: processId, reason, key: apiKey?.name, reqId }, 'lock revoked')
    return success(`Lock revoked successfully for resource '${resource_name}'`, {
      ...grantBody(grant),
      revoke_at: isoTime(revocation.at),
      reason: revocation.reason,
      ...(grant.share === undefined ? {} : { revoked: all.map(grantBody) })
    })
  })

  done()
}
