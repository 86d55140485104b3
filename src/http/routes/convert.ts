import type { FastifyPluginCallbackTypebox } from '@fastify/type-provider-typebox'
import { Type } from '@sinclair/typebox'
import type { LocksOf } from '../../locks/scoped-locks.js'
import { grantBody, heldBody, notHeldBody, sharingOf, success } from '../responses.js'
import { answer, LockIdSchema, ProcessIdSchema, ResourceNameSchema } from '../schemas/common.js'
import { exampleGrant, exampleNames, exampleShare, GrantSchema, LOCK_NOT_HELD, ModeSchema, RequestRefused, sharingFields, WITH_BODY } from '../schemas/grants.js'

const convertSchema = {
  operationId: 'convertLock',
  tags: ['Locks'],
  summary: 'Make a lock exclusive or shared',
  description:
    'Turns the lock that the process holds into one of another mode, at once or not at all: nobody gets in between, and it never waits, since two that wait ' +
    'for each other would wait for ever. An exclusive lock that becomes a share keeps its number, and the waiters that fit are granted. A share becomes exclusive ' +
    'if nobody else holds one; it then has a new number, as it has with another limit or other permits. The end of the lease stays.',
  body: Type.Object(
    { resource_name: ResourceNameSchema, process_id: ProcessIdSchema, lock_id: Type.Optional(LockIdSchema), ...sharingFields, mode: ModeSchema },
    { examples: [{ ...exampleNames, mode: 'shared', limit: 5 }] }
  ),
  response: {
    200: answer('The lock as it is now.', GrantSchema, "Lock converted successfully for resource 'database_backup'", { ...exampleGrant, ...exampleShare }),
    404: LOCK_NOT_HELD,
    409: RequestRefused,
    ...WITH_BODY
  }
}

export interface ConvertRoutesOptions {
  readonly locksOf: LocksOf
}

/** From exclusive to shared and back. */
export const convertRoutes: FastifyPluginCallbackTypebox<ConvertRoutesOptions> = (app, { locksOf }, done) => {
  app.post('/locks/convert', { schema: convertSchema }, async ({ body, apiKey }, reply) => {
    const { resource_name, process_id, lock_id } = body
    const outcome = await locksOf(apiKey).convert({ resourceName: resource_name, processId: process_id, lockId: lock_id }, sharingOf(body))
    if (outcome.kind === 'not-held') return reply.code(404).send(notHeldBody(resource_name, process_id, outcome.reason))
    if (outcome.kind === 'held') return reply.code(409).send(heldBody(outcome, reply))
    return success(`Lock converted successfully for resource '${resource_name}'`, grantBody(outcome.grant))
  })

  done()
}
