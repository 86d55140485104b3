import { Type } from '@sinclair/typebox'
import { LIST_LIMIT } from '../../locks/store.js'
import { answer, ExpiresAt, LockIdSchema, MetadataSchema, orNull, ProcessIdSchema, ResourceNameSchema, Timestamp } from './common.js'
import {
  exampleGrant,
  exampleNames,
  exampleTimes,
  grantFields,
  GrantSchema,
  KeepPlace,
  NOT_RELEASED,
  type LeaseLimits,
  RequestIdSchema,
  RequestRefused,
  ttlSeconds,
  waitSeconds,
  WITH_BODY,
  WITH_QUERY
} from './grants.js'

const LockIdOrNull = orNull<number>('integer', { examples: [42] })
const tags = ['Locks']

const listedFields = {
  ttl_seconds: orNull<number>('number', { description: 'The lease with which it was granted; null never ends.' }),
  renewals: Type.Integer({ description: 'How often it was renewed.' }),
  waiters: Type.Integer({ description: 'How many wait in line for it.' })
}

export function lockSchemas({ maxTtlSeconds, maxWaitSeconds }: LeaseLimits) {
  return {
    request: {
      operationId: 'requestLock',
      tags,
      summary: 'Acquire a lock',
      description:
        'Grants the resource to the process if nobody holds it. Asking again as the holder is refused too. The `lock_id` is the fencing token: ' +
        'hand it to the resource and let it refuse smaller ones.',
      body: Type.Object(
        {
          resource_name: ResourceNameSchema,
          process_id: ProcessIdSchema,
          ttl_seconds: Type.Optional(ttlSeconds(maxTtlSeconds, 'takes the default')),
          wait_seconds: waitSeconds(maxWaitSeconds),
          request_id: Type.Optional(RequestIdSchema),
          keep_place: KeepPlace,
          metadata: Type.Optional(MetadataSchema)
        },
        { examples: [{ ...exampleNames, ttl_seconds: 300, metadata: { host: 'worker-7' } }] }
      ),
      response: {
        200: answer(
          'The lock was granted.',
          GrantSchema,
          "Lock acquired successfully for resource 'database_backup'",
          exampleGrant
        ),
        409: RequestRefused,
        ...WITH_BODY
      }
    },

    release: {
      operationId: 'releaseLock',
      tags,
      summary: 'Release a lock',
      description: 'Ends the lock that the process holds; with `lock_id`, exactly that grant and no later one.',
      querystring: Type.Object({
        resource_name: ResourceNameSchema,
        process_id: ProcessIdSchema,
        lock_id: Type.Optional(LockIdSchema)
      }),
      response: {
        200: answer(
          'The lock was released.',
          Type.Object({
            resource_name: Type.String(),
            process_id: Type.String(),
            released_at: Timestamp('When it ended.')
          }),
          "Lock released successfully for resource 'database_backup'",
          { ...exampleNames, released_at: '2024-01-15T10:35:00.123+00:00' }
        ),
        404: NOT_RELEASED,
        ...WITH_BODY
      }
    },

    status: {
      operationId: 'getLockStatus',
      tags,
      summary: 'Check the status of a resource',
      querystring: Type.Object({ resource_name: ResourceNameSchema }),
      response: {
        200: answer(
          'Whether it is locked, and by whom.',
          Type.Object({
            resource_name: Type.String(),
            is_locked: Type.Boolean(),
            locked_by: orNull<string>('string', {}),
            locked_at: orNull<string>('string', {}),
            expires_at: ExpiresAt,
            lock_id: LockIdOrNull,
            fencing_token: LockIdOrNull,
            remaining_seconds: orNull<number>('number', { description: 'Seconds until it ends by itself; null if it is free or never ends.' }),
            metadata: MetadataSchema,
            waiters: Type.Integer({ description: 'How many wait in line for it.' })
          }, { title: 'LockStatus' }),
          "Resource 'database_backup' status retrieved successfully",
          {
            resource_name: 'database_backup',
            is_locked: true,
            locked_by: 'process_123',
            ...exampleTimes,
            lock_id: 42,
            fencing_token: 42,
            remaining_seconds: 299.877,
            metadata: { host: 'worker-7' },
            waiters: 0
          }
        ),
        ...WITH_QUERY
      }
    },

    allLocked: {
      operationId: 'listLocks',
      tags,
      summary: 'List all locked resources',
      description: 'Sorted by name, a page at a time; `total_locks` counts all that match, whatever the page shows.',
      querystring: Type.Object({
        prefix: Type.Optional(Type.String({ maxLength: 255, format: 'lock-name', description: 'Only names that begin with this.' })),
        process_id: Type.Optional(ProcessIdSchema),
        limit: Type.Optional(Type.Integer({ minimum: 1, maximum: LIST_LIMIT, description: `At most that many locks; ${LIST_LIMIT} if left out.` })),
        cursor: Type.Optional(Type.String({ maxLength: 2048, description: 'The `next_cursor` of the page before.' }))
      }),
      response: {
        200: answer(
          'One page of the locks.',
          Type.Object({
            total_locks: Type.Integer(),
            as_of: Timestamp('The instant that the page shows, by the database’s clock.'),
            locks: Type.Array(Type.Object({ id: LockIdSchema, ...grantFields, ...listedFields }, { title: 'ListedLock' })),
            next_cursor: orNull<string>('string', { description: 'Where the next page begins; null at the end.' })
          }),
          'Retrieved 1 active locks',
          {
            total_locks: 1,
            as_of: '2024-01-15T10:32:00.123+00:00',
            locks: [{ id: 42, ...exampleGrant, ttl_seconds: 300, renewals: 0, waiters: 2 }],
            next_cursor: null
          }
        ),
        ...WITH_QUERY
      }
    }
  }
}
