import { Type } from '@sinclair/typebox'
import { LIST_LIMIT } from '../../locks/store.js'
import { answer, orNull, ResourceNameSchema, Timestamp } from './common.js'
import { WITH_QUERY } from './grants.js'

export const queueSchema = {
  operationId: 'getLockQueue',
  tags: ['Locks'],
  summary: 'See who waits for a resource',
  description: 'In the order in which they will be served, across all instances.',
  querystring: Type.Object({
    resource_name: ResourceNameSchema,
    limit: Type.Optional(Type.Integer({ minimum: 1, maximum: LIST_LIMIT, description: 'At most that many waiters; 100 if left out.' }))
  }),
  response: {
    200: answer(
      'The line, or its beginning; `total_waiters` counts all of it.',
      Type.Object({
        resource_name: Type.String(),
        as_of: Timestamp('The instant that the answer shows, by the database’s clock.'),
        total_waiters: Type.Integer(),
        waiters: Type.Array(
          Type.Object({
            position: Type.Integer({ description: 'The place in line; 1 is the next to be served.' }),
            process_id: Type.String({ description: 'Who waits.' }),
            waiting_since: orNull<string>('string', { description: 'When the place was taken; null where that was not written down.' }),
            kept_until: orNull<string>('string', {
              description: 'Until when the place is kept for a request that gave up and may come back; null while the request waits.'
            })
          }, { title: 'Waiter' })
        )
      }),
      "Retrieved 1 of 1 waiters for resource 'database_backup'",
      {
        resource_name: 'database_backup',
        as_of: '2024-01-15T10:32:00.123+00:00',
        total_waiters: 1,
        waiters: [{ position: 1, process_id: 'process_456', waiting_since: '2024-01-15T10:31:48.023+00:00', kept_until: null }]
      }
    ),
    ...WITH_QUERY
  }
}
