import { Type } from '@sinclair/typebox'
import { LOCK_LIST_LIMIT } from '../../locks/lock-store.js'
import {
  answer,
  BODY_FAULTS,
  ExpiresAt,
  InvalidRequest,
  LockIdSchema,
  MetadataSchema,
  orNull,
  ProcessIdSchema,
  refusal,
  ResourceNameSchema,
  STORAGE_FAULTS,
  Timestamp
} from './common.js'

const exampleNames = { resource_name: 'database_backup', process_id: 'process_123' }
const exampleTimes = { locked_at: '2024-01-15T10:30:00.123+00:00', expires_at: '2024-01-15T10:35:00.123+00:00' }
const exampleGrant = { lock_id: 42, fencing_token: 42, ...exampleNames, ...exampleTimes, metadata: { host: 'worker-7' } }

const LockIdOrNull = orNull<number>('integer', { examples: [42] })
const Text = (description: string) => Type.String({ description })

const grantFields = {
  lock_id: LockIdSchema,
  fencing_token: Type.Integer({ description: 'The same number, under the name by which the resource itself should check it.' }),
  resource_name: Text('As asked for.'),
  process_id: Text('As asked for.'),
  locked_at: Timestamp('When the lock was granted, by the database’s clock.'),
  expires_at: ExpiresAt,
  metadata: MetadataSchema
}

const RESOURCE_LOCKED = refusal(
  'Somebody holds the resource, perhaps the caller itself; nothing was changed. `Retry-After` is sent when the expiry is known.',
  'RESOURCE_LOCKED',
  "Resource 'database_backup' is already locked by process 'process_123'",
  {
    resource_name: Type.String(),
    locked_by: Type.String(),
    lock_id: LockIdSchema,
    locked_at: Timestamp('When it was granted.'),
    expires_at: ExpiresAt,
    retry_after_seconds: orNull<number>('number', { description: 'Seconds until the lock ends by itself; null if it never does.' }),
    waiters: Type.Integer({ description: 'How many wait in line for it.' })
  },
  {
    resource_name: 'database_backup',
    locked_by: 'process_123',
    lock_id: 42,
    ...exampleTimes,
    retry_after_seconds: 299.877,
    waiters: 0
  }
)

const LOCK_NOT_HELD = refusal(
  'The process does not hold that lock; nothing was changed.',
  'LOCK_NOT_HELD',
  "No active lock found for resource 'database_backup' by process 'process_123'",
  {
    reason: Type.Unsafe<string>({
      type: 'string',
      enum: ['not_locked', 'held_by_other', 'expired', 'released'],
      description: 'Nobody holds it; another grant is valid; this process held it and it expired, or was released.'
    })
  },
  { reason: 'expired' }
)

const tags = ['Locks']

/** @param maxTtlSeconds the longest lease that may be asked for. */
export function lockSchemas(maxTtlSeconds: number) {
  const ttlSeconds = orNull<number>('number', {
    exclusiveMinimum: 0,
    maximum: maxTtlSeconds,
    description: `Seconds until the lock ends by itself, to the millisecond, at most ${maxTtlSeconds}; null never ends, left out takes the default.`,
    examples: [300]
  })

  return {
    request: {
      tags,
      summary: 'Acquire a lock',
      description:
        'Grants the resource to the process if nobody holds it. Asking again as the holder is refused too. The `lock_id` is the fencing token: ' +
        'hand it to the resource and let it refuse smaller ones.',
      body: Type.Object(
        {
          resource_name: ResourceNameSchema,
          process_id: ProcessIdSchema,
          ttl_seconds: Type.Optional(ttlSeconds),
          metadata: Type.Optional(MetadataSchema)
        },
        { examples: [{ ...exampleNames, ttl_seconds: 300, metadata: { host: 'worker-7' } }] }
      ),
      response: {
        200: answer(
          'The lock was granted.',
          Type.Object(grantFields),
          "Lock acquired successfully for resource 'database_backup'",
          exampleGrant
        ),
        409: RESOURCE_LOCKED,
        422: InvalidRequest,
        ...BODY_FAULTS,
        ...STORAGE_FAULTS
      }
    },

    release: {
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
        404: LOCK_NOT_HELD,
        422: InvalidRequest,
        ...BODY_FAULTS,
        ...STORAGE_FAULTS
      }
    },

    status: {
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
          }),
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
        422: InvalidRequest,
        ...STORAGE_FAULTS
      }
    },

    allLocked: {
      tags,
      summary: 'List all locked resources',
      description: 'Sorted by name, a page at a time; `total_locks` counts all that match, whatever the page shows.',
      querystring: Type.Object({
        prefix: Type.Optional(Type.String({ maxLength: 255, format: 'lock-name', description: 'Only names that begin with this.' })),
        process_id: Type.Optional(ProcessIdSchema),
        limit: Type.Optional(Type.Integer({ minimum: 1, maximum: LOCK_LIST_LIMIT, description: 'At most that many locks; 1000 if left out.' })),
        cursor: Type.Optional(Type.String({ maxLength: 2048, description: 'The `next_cursor` of the page before.' }))
      }),
      response: {
        200: answer(
          'One page of the locks.',
          Type.Object({
            total_locks: Type.Integer(),
            locks: Type.Array(Type.Object({ id: LockIdSchema, ...grantFields })),
            next_cursor: orNull<string>('string', { description: 'Where the next page begins; null at the end.' })
          }),
          'Retrieved 1 active locks',
          { total_locks: 1, locks: [{ id: 42, ...exampleGrant }], next_cursor: null }
        ),
        422: InvalidRequest,
        ...STORAGE_FAULTS
      }
    }
  }
}
