import { Type } from '@sinclair/typebox'
import { MAX_NAMES } from '../../locks/lock.js'
import { answer, LockIdSchema, MetadataSchema, ProcessIdSchema, ResourceNameSchema, Timestamp } from './common.js'
import {
  exampleGrant,
  exampleNames,
  grantFields,
  GrantSchema,
  KeepPlace,
  LOCK_NOT_HELD,
  type LeaseLimits,
  Reason,
  Replayed,
  RequestIdSchema,
  RequestManyRefused,
  resourceNames,
  ttlSeconds,
  waitSeconds,
  WITH_BODY
} from './grants.js'

const exampleEnd = '2024-01-15T10:32:00.123+00:00'
const ReleasedLock = Type.Object(
  { resource_name: Type.String(), process_id: Type.String(), lock_id: LockIdSchema, released_at: Timestamp('When it ended.') },
  { title: 'ReleasedLock' }
)
const RenewedLock = Type.Object({ ...grantFields, renewed_at: Timestamp('When it was renewed.') }, { title: 'RenewedLock' })
const exampleRenewed = { ...exampleGrant, renewed_at: exampleEnd }
const exampleReleased = { ...exampleNames, lock_id: 42, released_at: exampleEnd }

const tags = ['Locks']

export function leaseSchemas({ maxTtlSeconds, maxWaitSeconds, maxNames }: LeaseLimits) {
  const ResourceNames = resourceNames(maxNames)
  const RenewFor = Type.Optional(ttlSeconds(maxTtlSeconds, 'takes the lease with which the lock was granted'))

  return {
    renew: {
      operationId: 'renewLock',
      tags,
      summary: 'Renew a lock',
      description: 'Moves the end of a lock that is still held: it ends so many seconds from now. Its number stays. An ended lock never comes back.',
      body: Type.Object(
        { resource_name: ResourceNameSchema, process_id: ProcessIdSchema, ttl_seconds: RenewFor, lock_id: Type.Optional(LockIdSchema) },
        { examples: [{ ...exampleNames, ttl_seconds: 300 }] }
      ),
      response: {
        200: answer('The lock was renewed.', RenewedLock, "Lock renewed successfully for resource 'database_backup'", exampleRenewed),
        404: LOCK_NOT_HELD,
        ...WITH_BODY
      }
    },

    renewMany: {
      operationId: 'renewManyLocks',
      tags,
      summary: 'Renew several locks',
      description: 'Renews those of the locks that the process holds, each for as long as it says, and says which it did not hold.',
      body: Type.Object(
        {
          process_id: ProcessIdSchema,
          locks: Type.Array(
            Type.Object({ resource_name: ResourceNameSchema, lock_id: Type.Optional(LockIdSchema), ttl_seconds: RenewFor }, { additionalProperties: false }),
            { minItems: 1, maxItems: maxNames ?? MAX_NAMES, description: `1 to ${maxNames ?? MAX_NAMES} locks of different resources.` }
          )
        },
        { examples: [{ process_id: 'process_123', locks: [{ resource_name: 'database_backup', lock_id: 42, ttl_seconds: 300 }, { resource_name: 'report' }] }] }
      ),
      response: {
        200: answer(
          'What was renewed and what was not held, in the order of the locks.',
          Type.Object({
            renewed: Type.Array(RenewedLock),
            not_held: Type.Array(Type.Object({ resource_name: Type.String(), lock_id: Type.Optional(LockIdSchema), reason: Reason }))
          }),
          'Renewed 1 of 2 locks',
          { renewed: [exampleRenewed], not_held: [{ resource_name: 'report', reason: 'expired' }] }
        ),
        ...WITH_BODY
      }
    },

    renewAll: {
      operationId: 'renewAllLocks',
      tags,
      summary: 'Renew all locks of a process',
      description: 'One heartbeat for everything that the process holds.',
      body: Type.Object({ process_id: ProcessIdSchema, ttl_seconds: RenewFor }, { examples: [{ process_id: 'process_123' }] }),
      response: {
        200: answer(
          'What was renewed, sorted by name.',
          Type.Object({ total_renewed: Type.Integer(), locks: Type.Array(RenewedLock) }),
          "Renewed 1 locks of process 'process_123'",
          { total_renewed: 1, locks: [exampleRenewed] }
        ),
        ...WITH_BODY
      }
    },

    requestMany: {
      operationId: 'requestManyLocks',
      tags,
      summary: 'Acquire several locks, all or none',
      description: 'Grants all of the resources in one transaction, or none of them.',
      body: Type.Object(
        {
          resource_names: ResourceNames,
          process_id: ProcessIdSchema,
          ttl_seconds: Type.Optional(ttlSeconds(maxTtlSeconds, 'takes the default')),
          wait_seconds: waitSeconds(maxWaitSeconds),
          request_id: Type.Optional(RequestIdSchema),
          keep_place: KeepPlace,
          metadata: Type.Optional(MetadataSchema)
        },
        { examples: [{ resource_names: ['database_backup', 'report'], process_id: 'process_123', ttl_seconds: 300 }] }
      ),
      response: {
        200: answer(
          'All were granted, in the order of the names.',
          Type.Object({ locks: Type.Array(GrantSchema), replayed: Replayed }),
          'Acquired 1 locks successfully',
          { locks: [exampleGrant] }
        ),
        409: RequestManyRefused,
        ...WITH_BODY
      }
    },

    releaseMany: {
      operationId: 'releaseManyLocks',
      tags,
      summary: 'Release several locks',
      description: 'Releases those of the resources that the process holds, in one transaction, and says which it did not hold.',
      body: Type.Object(
        { resource_names: ResourceNames, process_id: ProcessIdSchema },
        { examples: [{ resource_names: ['database_backup', 'report'], process_id: 'process_123' }] }
      ),
      response: {
        200: answer(
          'What was released and what was not held, in the order of the names.',
          Type.Object({
            released: Type.Array(ReleasedLock),
            not_held: Type.Array(Type.Object({ resource_name: Type.String(), reason: Reason }))
          }),
          'Released 1 of 2 locks',
          { released: [exampleReleased], not_held: [{ resource_name: 'report', reason: 'expired' }] }
        ),
        ...WITH_BODY
      }
    },

    releaseAll: {
      operationId: 'releaseAllLocks',
      tags,
      summary: 'Release all locks of a process',
      description:
        'Releases everything that the process holds and removes its waiting requests from all queues: they are answered 409 `RESOURCE_LOCKED` as after an ' +
        'unsuccessful wait, keep no place, and are never granted afterwards.',
      querystring: Type.Object({ process_id: ProcessIdSchema }),
      response: {
        200: answer(
          'What was released, sorted by name.',
          Type.Object({
            total_released: Type.Integer(),
            total_left_queue: Type.Integer({ description: 'How many of its requests lost their places in queues.' }),
            locks: Type.Array(ReleasedLock)
          }),
          "Released 1 locks of process 'process_123'",
          { total_released: 1, total_left_queue: 0, locks: [exampleReleased] }
        ),
        ...WITH_BODY
      }
    }
  }
}
