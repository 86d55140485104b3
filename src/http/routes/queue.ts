import type { FastifyPluginCallbackTypebox } from '@fastify/type-provider-typebox'
import { Type } from '@sinclair/typebox'
import type { LocksOf } from '../../locks/scoped-locks.js'
import { LIST_LIMIT } from '../../locks/store.js'
import { InvalidRequestError } from '../errors.js'
import { isoTime, success, waiterBody } from '../responses.js'
import { answer, orNull, ResourceNameSchema, Timestamp } from '../schemas/common.js'
import { WITH_QUERY } from '../schemas/grants.js'

const queueSchema = {
  operationId: 'getLockQueue',
  tags: ['Locks'],
  summary: 'See who waits for a resource',
  description: 'In the order in which they will be served, across all instances. With `prefix` instead of `resource_name`, those of all resources whose names begin with it.',
  querystring: Type.Object({
    resource_name: Type.Optional(ResourceNameSchema),
    prefix: Type.Optional(Type.String({ maxLength: 255, format: 'lock-name', description: 'Only names that begin with this; the waiters are sorted by name first.' })),
    limit: Type.Optional(Type.Integer({ minimum: 1, maximum: LIST_LIMIT, description: 'At most that many waiters; 100 if left out.' }))
  }),
  response: {
    200: answer(
      'The line, or its beginning; `total_waiters` counts all of it.',
      Type.Object({
        resource_name: orNull<string>('string', { description: 'The one that was asked for; null where `prefix` was.' }),
        as_of: Timestamp('The instant that the answer shows, by the database’s clock.'),
        total_waiters: Type.Integer(),
        waiters: Type.Array(
          Type.Object({
            resource_name: Type.Optional(Type.String({ description: 'What is waited for, where `prefix` was asked for.' })),
            position: Type.Integer({ description: 'The place in line; 1 is the next to be served.' }),
            process_id: Type.String({ description: 'Who waits.' }),
            waiting_since: orNull<string>('string', { description: 'When the place was taken; null where that was not written down.' }),
            kept_until: orNull<string>('string', {
              description: 'Until when the place is kept for a request that gave up and may come back; null while the request waits.'
            }),
            mode: Type.Unsafe<string>({ type: 'string', enum: ['exclusive', 'shared'], description: 'What it waits for.' }),
            limit: orNull<number>('integer', { description: 'So many permits at most may be held at the same time; null for any number, and for all of the resource.' }),
            permits: orNull<number>('integer', { description: 'How many permits it waits for; null for all of the resource.' })
          }, { title: 'Waiter' })
        )
      }),
      "Retrieved 1 of 1 waiters for resource 'database_backup'",
      {
        resource_name: 'database_backup',
        as_of: '2024-01-15T10:32:00.123+00:00',
        total_waiters: 1,
        waiters: [{ position: 1, process_id: 'process_456', waiting_since: '2024-01-15T10:31:48.023+00:00', kept_until: null, mode: 'shared', limit: 5, permits: 1 }]
      }
    ),
    ...WITH_QUERY
  }
}

export interface QueueRoutesOptions {
  readonly locksOf: LocksOf
}

const QUEUE_PAGE = 100
const NEITHER = new InvalidRequestError([{ type: 'missing', loc: ['query', 'resource_name'], msg: 'Field required, unless prefix is given' }])
const BOTH = new InvalidRequestError([{ type: 'value_error', loc: ['query', 'prefix'], msg: 'Input should be left out where resource_name is given' }])

/** Who waits for a resource. */
export const queueRoutes: FastifyPluginCallbackTypebox<QueueRoutesOptions> = (app, { locksOf }, done) => {
  app.get('/locks/queue', { schema: queueSchema }, async ({ query, apiKey }) => {
    const { resource_name: name, prefix, limit = QUEUE_PAGE } = query
    if (name !== undefined && prefix !== undefined) throw BOTH
    if (name === undefined && prefix === undefined) throw NEITHER
    const { at, waiters, total } = await locksOf(apiKey).reads.queue({ resourceName: name ?? null, prefix, limit })
    const found = { as_of: isoTime(at), total_waiters: total }
    const counted = `Retrieved ${waiters.length} of ${total} waiters for`
    if (name !== undefined) return success(`${counted} resource '${name}'`, { resource_name: name, ...found, waiters: waiters.map(waiterBody) })
    return success(`${counted} resources that begin with '${prefix}'`, { resource_name: null, ...found, waiters: waiters.map((waiter) => Object.assign(waiterBody(waiter), { resource_name: waiter.resourceName })) })
  })

  done()
}
