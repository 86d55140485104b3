import { Type } from '@sinclair/typebox'
import { MAX_NAMES, MAX_PERMITS, type ResourceName } from '../../locks/lock.js'
import { eitherOf, BODY_FAULTS, ExpiresAt, InvalidRequest, LockIdSchema, MetadataSchema, orNull, ProcessIdSchema, refusal, ResourceNameSchema, STORAGE_FAULTS, Timestamp, TOO_MANY } from './common.js'

/** What the schemas of the lock calls share. */

export const exampleNames = { resource_name: 'database_backup', process_id: 'process_123' }
export const exampleTimes = { locked_at: '2024-01-15T10:30:00.123+00:00', expires_at: '2024-01-15T10:35:00.123+00:00' }
export const exampleShare = { mode: 'shared' as const, limit: 5, permits: 1, slots: [3] }
export const exampleGrant = { lock_id: 42, fencing_token: 42, ...exampleNames, ...exampleTimes, metadata: { host: 'worker-7' } }

export const ModeSchema = Type.Unsafe<'exclusive' | 'shared'>({
  type: 'string',
  enum: ['exclusive', 'shared'],
  description: 'All of the resource, or a share of it beside others.',
  examples: ['shared']
})

const LimitSchema = orNull<number>('integer', {
  minimum: 1,
  maximum: MAX_PERMITS,
  description: 'So many permits of the resource at most may be held at the same time, these included; null allows any number.',
  examples: [5]
})

const permits = (description: string) => Type.Integer({ minimum: 1, maximum: MAX_PERMITS, description, examples: [1] })

/** What a request asks of a resource. */
export const sharingFields = {
  mode: Type.Optional(ModeSchema),
  limit: Type.Optional(LimitSchema),
  permits: Type.Optional(permits('How many permits it takes, 1 to `limit`; only with `limit`; 1 if left out.'))
}

/** What every grant bears that is not exclusive. */
export const shareFields = {
  mode: Type.Optional(Type.Literal('shared', { description: 'Other shares may be held beside it. Left out for an exclusive lock, as the next three are.' })),
  limit: Type.Optional(LimitSchema),
  permits: Type.Optional(permits('How many permits it takes.')),
  slots: Type.Optional(
    Type.Array(Type.Integer({ minimum: 1 }), {
      description: 'The numbers of its permits, from 1 to `limit`: nobody else holds them, and each later holder of one has a larger `lock_id`. Empty without a limit.',
      examples: [[3]]
    })
  )
}

/** What the shares of a resource amount to. */
export const usageFields = {
  holders: Type.Optional(Type.Integer({ description: 'How many hold shares of it; left out where the lock is exclusive, as the next two are.' })),
  used: Type.Optional(Type.Integer({ description: 'The permits that they take.' })),
  limit: Type.Optional(orNull<number>('integer', { description: 'The smallest of their limits; null where none has one.' }))
}

const AsAskedFor = Type.String({ description: 'As asked for.' })

export const grantFields = {
  lock_id: LockIdSchema,
  fencing_token: Type.Integer({ description: 'The same number, under the name by which the resource itself should check it.' }),
  resource_name: AsAskedFor,
  process_id: AsAskedFor,
  locked_at: Timestamp('When the lock was granted, by the database’s clock.'),
  expires_at: ExpiresAt,
  metadata: MetadataSchema,
  ...shareFields
}

/** What may be asked for: the longest lease and the longest wait, in seconds, and the most names together. */
export interface LeaseLimits {
  readonly maxTtlSeconds: number
  readonly maxWaitSeconds: number
  /** 1 to {@link MAX_NAMES}, which it is if left out. */
  readonly maxNames?: number | undefined
}

export function resourceNames(maxNames = MAX_NAMES) {
  return Type.Unsafe<ResourceName[]>({
    type: 'array',
    items: ResourceNameSchema,
    minItems: 1,
    maxItems: maxNames,
    uniqueItems: true,
    description: `1 to ${maxNames} different names.`,
    examples: [['database_backup', 'report']]
  })
}

const RequestIdSchema = Type.String({
  minLength: 1,
  maxLength: 128,
  format: 'lock-name',
  description: 'Chosen by the caller, new for each request: a repetition with the same id answers with the same lock and changes nothing.',
  examples: ['5f0c6a0e-7f2b-4b1c-9a53-0d6a3f0e8f11']
})

function waitSeconds(maxWaitSeconds: number) {
  return Type.Optional(
    Type.Number({
      minimum: 0,
      maximum: maxWaitSeconds,
      description: `Seconds to wait in line, first come, first served, at most ${maxWaitSeconds}; 0 if left out.`,
      examples: [10]
    })
  )
}

const KeepPlace = Type.Optional(
  Type.Boolean({
    description: 'Whether the place in line is kept for ten seconds after an unsuccessful wait, for the same `request_id`; true if left out.',
    examples: [true]
  })
)

export const NewMetadata = Type.Optional(
  orNull<Record<string, unknown>>('object', {
    additionalProperties: true,
    description: 'Replaces the metadata of the lock, at most 4 KiB; null, or left out, keeps it. The number and `locked_at` stay.',
    examples: [{ host: 'worker-7' }]
  })
)

export const Replayed = Type.Optional(Type.Literal(true, { description: 'This answers a repetition; the lock was granted before.' }))

export function ttlSeconds(maxTtlSeconds: number, leftOut: string) {
  return orNull<number>('number', {
    exclusiveMinimum: 0,
    maximum: maxTtlSeconds,
    description: `Seconds until the lock ends by itself, to the millisecond, at most ${maxTtlSeconds}; null never ends, left out ${leftOut}.`,
    examples: [300]
  })
}

/** What a request for one or several resources says beside their names. */
export const requestFields = ({ maxTtlSeconds, maxWaitSeconds }: LeaseLimits) => ({
  process_id: ProcessIdSchema,
  ttl_seconds: Type.Optional(ttlSeconds(maxTtlSeconds, 'takes the default')),
  wait_seconds: waitSeconds(maxWaitSeconds),
  request_id: Type.Optional(RequestIdSchema),
  keep_place: KeepPlace,
  steal: Type.Optional(Type.Boolean({ description: 'True takes the resource away from its holders and passes everybody who waits, in one transaction; takes the scope `admin`.' })),
  metadata: Type.Optional(MetadataSchema),
  hold_at_least_seconds: Type.Optional(
    Type.Number({ minimum: 0, maximum: maxTtlSeconds, description: 'A release keeps everybody out until so many seconds after the grant; not above `ttl_seconds`. 0 if left out.', examples: [60] })
  ),
  lock_delay_seconds: Type.Optional(
    Type.Number({ minimum: 0, maximum: MAX_LOCK_DELAY_SECONDS, description: 'Nobody is granted the resource for so many seconds after the lock has expired or was taken away. 0 if left out.', examples: [15] })
  ),
  ...sharingFields
})

/** One grant, as the calls that make it answer. */
export const GrantSchema = Type.Object({ ...grantFields, replayed: Replayed }, { title: 'Grant' })

/** The longest lock delay: an hour. */
const MAX_LOCK_DELAY_SECONDS = 3600

export const Kept = Type.Optional(
  Type.Literal(true, { description: 'Nobody holds it any longer: it is kept after that lock, for its lock delay or as its release said, and free at `expires_at`.' })
)

/** Until when a resource is kept. */
export const FreeAt = Type.Optional(Timestamp('Until when nobody is granted the resource, where it is kept.'))

const conflictFields = {
  resource_name: Type.String(),
  locked_by: Type.String(),
  lock_id: orNull<number>('integer', { description: 'Null where the resource is free, but kept for the first in line.', examples: [42] }),
  expires_at: ExpiresAt,
  kept: Kept,
  ...usageFields
}
const refusedFields = {
  resource_name: conflictFields.resource_name,
  locked_by: conflictFields.locked_by,
  lock_id: conflictFields.lock_id,
  locked_at: orNull<string>('string', { description: 'When it was granted.' }),
  expires_at: ExpiresAt,
  retry_after_seconds: orNull<number>('number', { description: 'Seconds until the lock ends by itself; null if it never does.' }),
  waiters: Type.Integer({ description: 'How many wait in line for it.' }),
  kept: Kept,
  ...usageFields,
  queue_position: Type.Optional(Type.Integer({ description: 'The place in line that was reached while waiting; 1 is the next to be served.' }))
}
const exampleConflict = { resource_name: 'database_backup', locked_by: 'process_123', lock_id: 42, expires_at: exampleTimes.expires_at }
const exampleRefused = { ...exampleConflict, locked_at: exampleTimes.locked_at, retry_after_seconds: 299.877, waiters: 0 }
const exampleDetail = "Resource 'database_backup' is already locked by process 'process_123'"

const RequestIdReused = refusal(
  'RequestIdReused',
  'The `request_id` was used before, for other content or for a lock that has ended.',
  'REQUEST_ID_REUSED',
  'This request_id was used before, for other content or for a lock that has ended since'
)
const WHY_REFUSED =
  'Somebody holds the resource, perhaps the caller itself, or the `request_id` was used before for other content or for a lock that has ended; ' +
  'nothing was changed. `Retry-After` is sent when the expiry is known.'

export const RequestRefused = eitherOf(
  WHY_REFUSED,
  refusal('ResourceLocked', 'Somebody holds the resource, perhaps the caller itself.', 'RESOURCE_LOCKED', exampleDetail, refusedFields, exampleRefused),
  RequestIdReused
)

export const RequestManyRefused = eitherOf(
  WHY_REFUSED,
  refusal(
    'ResourcesLocked',
    'Somebody holds some of the resources; what stands beside `conflicts` is of the one that lasts longest.',
    'RESOURCE_LOCKED',
    exampleDetail,
    {
      ...refusedFields,
      conflicts: Type.Array(Type.Object(conflictFields, { title: 'Conflict' }), { description: 'Every lock that stood in the way.' })
    },
    { ...exampleRefused, conflicts: [exampleConflict] }
  ),
  RequestIdReused
)

export const Reason = Type.Unsafe<string>({
  title: 'NotHeldReason',
  type: 'string',
  enum: ['not_locked', 'held_by_other', 'expired', 'released'],
  description: 'Nobody holds it; another grant is valid; this process held it and it expired, or was released.'
})

export const LOCK_NOT_HELD = refusal(
  'LockNotHeld',
  'The process does not hold that lock; nothing was changed.',
  'LOCK_NOT_HELD',
  "No active lock found for resource 'database_backup' by process 'process_123'",
  { reason: Reason },
  { reason: 'expired' }
)

/** As {@link LOCK_NOT_HELD}, and what became of that very grant. */
export const NOT_RELEASED = Type.Composite(
  [
    LOCK_NOT_HELD,
    Type.Object({
      released_at: Type.Optional(
        orNull<string>('string', {
          description:
            'Where `lock_id` was given and a history is kept: when the process itself released that very grant, also where another process holds the resource now; ' +
            'null where the recent history does not tell of that.',
          examples: ['2024-01-15T10:35:00.123+00:00']
        })
      )
    })
  ],
  { title: 'LockNotReleased', description: String(LOCK_NOT_HELD.description), examples: LOCK_NOT_HELD.examples }
)

/** What any call that changes locks can be refused with, beside its own refusals. */
export const WITH_BODY = { 422: InvalidRequest, ...TOO_MANY, ...BODY_FAULTS, ...STORAGE_FAULTS }
export const WITH_QUERY = { 422: InvalidRequest, ...TOO_MANY, ...STORAGE_FAULTS }
