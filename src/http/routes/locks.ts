import type { FastifyPluginCallbackTypebox } from '@fastify/type-provider-typebox'
import { Type } from '@sinclair/typebox'
import { MAX_HOLDERS_SHOWN, type InspectOutcome } from '../../locks/commands.js'
import type { WatcherQuota } from '../../locks/quotas.js'
import type { LocksOf } from '../../locks/scoped-locks.js'
import { LIST_LIMIT } from '../../locks/store.js'
import { callerOf } from '../auth.js'
import { InvalidRequestError } from '../errors.js'
import { goneSignal, requestLocks } from '../lock-requests.js'
import {
  cursorAfter,
  freeAtBody,
  grantBody,
  heldBody,
  isoTime,
  isoTimeOrNull,
  listedBody,
  notHeldBody,
  placeFromCursor,
  REQUEST_ID_REUSED,
  secondsUntil,
  sharingOf,
  success
} from '../responses.js'
import { answer, ExpiresAt, LockIdSchema, MetadataSchema, orNull, ProcessIdSchema, ResourceNameSchema, Timestamp } from '../schemas/common.js'
import {
  exampleGrant,
  exampleNames,
  exampleTimes,
  grantFields,
  FreeAt,
  GrantSchema,
  Kept,
  type LeaseLimits,
  NOT_RELEASED,
  requestFields,
  RequestRefused,
  shareFields,
  usageFields,
  WITH_BODY,
  WITH_QUERY
} from '../schemas/grants.js'

const LockIdOrNull = orNull<number>('integer', { examples: [42] })
const tags = ['Locks']

const listedFields = {
  ttl_seconds: orNull<number>('number', { description: 'The lease with which it was granted; null never ends.' }),
  renewals: Type.Integer({ description: 'How often it was renewed.' }),
  waiters: Type.Integer({ description: 'How many wait in line for it.' })
}

const requestSchema = (limits: LeaseLimits) => ({
  operationId: 'requestLock',
  tags,
  summary: 'Acquire a lock',
  description:
    'Grants the resource to the process if nobody holds it. Asking again as the holder is refused too. The `lock_id` is the fencing token: ' +
    'hand it to the resource and let it refuse smaller ones.\n\n' +
    'With the mode `shared` others may hold it beside. Every holder states how many permits may be held at the same time: an exclusive lock 1, a share with ' +
    '`limit` that many, a share without one any number. A grant is made if, with it, no holder’s statement becomes false.',
  body: Type.Object(
    { resource_name: ResourceNameSchema, ...requestFields(limits) },
    { examples: [{ ...exampleNames, ttl_seconds: 300, metadata: { host: 'worker-7' } }] }
  ),
  response: {
    200: answer('The lock was granted.', GrantSchema, "Lock acquired successfully for resource 'database_backup'", exampleGrant),
    409: RequestRefused,
    ...WITH_BODY
  }
})

const releaseSchema = ({ maxTtlSeconds }: LeaseLimits) => ({
  operationId: 'releaseLock',
  tags,
  summary: 'Release a lock',
  description: 'Ends the lock that the process holds; with `lock_id`, exactly that grant and no later one.',
  querystring: Type.Object({
    resource_name: ResourceNameSchema,
    process_id: ProcessIdSchema,
    lock_id: Type.Optional(LockIdSchema),
    keep_seconds: Type.Optional(
      Type.Number({ minimum: 0, maximum: maxTtlSeconds, description: 'Keeps everybody out for so many seconds from now, the caller too. 0 if left out.', examples: [0] })
    )
  }),
  response: {
    200: answer(
      'The lock was released.',
      Type.Object({
        resource_name: Type.String(),
        process_id: Type.String(),
        released_at: Timestamp('When it ended.'),
        free_at: FreeAt
      }),
      "Lock released successfully for resource 'database_backup'",
      { ...exampleNames, released_at: '2024-01-15T10:35:00.123+00:00' }
    ),
    404: NOT_RELEASED,
    ...WITH_BODY
  }
})

const statusSchema = ({ maxWaitSeconds }: LeaseLimits) => ({
  operationId: 'getLockStatus',
  tags,
  summary: 'Check the status of a resource',
  description:
    'Of a shared resource it tells of the holder that ends last, and of the holders. With `unlike_lock_id` and `wait_seconds` the answer comes as soon as the current lock is another than that one, its metadata changes, or the time ' +
    'is over. A caller that asks again each time sees every state that lasts, also across restarts of the service.',
  querystring: Type.Object({
    resource_name: ResourceNameSchema,
    unlike_lock_id: Type.Optional(
      Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER, description: 'The `lock_id` that the caller has seen last; 0 stands for no lock, and for one that is `kept`.' })
    ),
    wait_seconds: Type.Optional(
      Type.Number({ minimum: 0, maximum: maxWaitSeconds, description: `Seconds to wait for another lock, at most ${maxWaitSeconds}; only with \`unlike_lock_id\`.` })
    )
  }),
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
        waiters: Type.Integer({ description: 'How many wait in line for it.' }),
        kept: Kept,
        mode: shareFields.mode,
        limit: usageFields.limit,
        used: usageFields.used,
        total_holders: Type.Optional(Type.Integer({ description: 'How many hold shares of it.' })),
        holders: Type.Optional(Type.Array(GrantSchema, { description: `The first ${MAX_HOLDERS_SHOWN} of them, by number.` }))
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
})

const allLockedSchema = {
  operationId: 'listLocks',
  tags,
  summary: 'List all locked resources',
  description: 'Sorted by name, then by number, a page at a time; each share of a resource is a lock of its own. `total_locks` counts all that match, whatever the page shows.',
  querystring: Type.Object({
    prefix: Type.Optional(Type.String({ maxLength: 255, format: 'lock-name', description: 'Only names that begin with this.' })),
    process_id: Type.Optional(ProcessIdSchema),
    resource_name: Type.Optional(ResourceNameSchema),
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

export interface LockRoutesOptions extends LeaseLimits {
  readonly locksOf: LocksOf
  /** Counts callers that wait for a change. */
  readonly watchers: WatcherQuota
}

/** The mirrored API: request, release, status, all-locked. */
export const lockRoutes: FastifyPluginCallbackTypebox<LockRoutesOptions> = (app, { locksOf, watchers, ...limits }, done) => {
  app.post('/locks/request', { schema: requestSchema(limits) }, async ({ body, apiKey }, reply) => {
    const outcome = await requestLocks(locksOf(apiKey), reply, [body.resource_name], body, [sharingOf(body)])
    if (outcome.kind === 'held') return reply.code(409).send(heldBody(outcome, reply))
    const [grant] = outcome.kind === 'granted' ? outcome.grants : []
    if (outcome.kind !== 'granted' || grant === undefined) return reply.code(409).send(REQUEST_ID_REUSED)
    const data = grantBody(grant)
    return success(
      `Lock acquired successfully for resource '${body.resource_name}'`,
      outcome.replayed ? { ...data, replayed: true as const } : data
    )
  })

  app.delete('/locks/release', { schema: releaseSchema(limits) }, async ({ query, apiKey }, reply) => {
    const { resource_name, process_id, lock_id, keep_seconds = 0 } = query
    const locks = locksOf(apiKey)
    const outcome = await locks.release({ resourceName: resource_name, processId: process_id, lockId: lock_id, keepMs: keep_seconds === 0 ? undefined : Math.round(keep_seconds * 1000) })
    if (outcome.kind === 'not-held') {
      const refused = notHeldBody(resource_name, process_id, outcome.reason)
      const releasedAt = lock_id === undefined || !locks.keepsHistory ? undefined : await locks.reads.releasedAt({ resourceName: resource_name, processId: process_id, lockId: lock_id })
      return reply.code(404).send(releasedAt === undefined ? refused : { ...refused, released_at: isoTimeOrNull(releasedAt) })
    }
    return success(`Lock released successfully for resource '${resource_name}'`, {
      resource_name,
      process_id,
      released_at: isoTime(outcome.releasedAt),
      ...freeAtBody(outcome)
    })
  })

  app.get('/locks/status', { schema: statusSchema(limits) }, async ({ query, apiKey }, reply) => {
    const { resource_name, unlike_lock_id: unlikeLockId, wait_seconds = 0 } = query
    const locks = locksOf(apiKey)
    const inspectUnlike = (): Promise<InspectOutcome> => {
      if (unlikeLockId === undefined) throw new InvalidRequestError([{ type: 'missing', loc: ['query', 'unlike_lock_id'], msg: 'Field required' }])
      const leave = watchers.enter(callerOf(reply.request))
      return locks.inspectUnlike(resource_name, { unlikeLockId, waitMs: wait_seconds * 1000, signal: goneSignal(reply) }).finally(leave)
    }
    const { at, grant: held, kept, waiters, shares } = await (wait_seconds === 0 ? locks.inspect(resource_name) : inspectUnlike())
    const grant = held ?? kept ?? null
    return success(
      grant === null ? `Resource '${resource_name}' is not locked` : `Resource '${resource_name}' status retrieved successfully`,
      {
        resource_name,
        is_locked: grant !== null,
        locked_by: grant?.processId ?? null,
        locked_at: isoTimeOrNull(grant?.lockedAt ?? null),
        expires_at: isoTimeOrNull(grant?.expiresAt ?? null),
        lock_id: grant?.lockId ?? null,
        fencing_token: grant?.lockId ?? null,
        remaining_seconds: secondsUntil(grant?.expiresAt ?? null, at),
        metadata: grant?.metadata ?? null,
        waiters,
        ...(kept === undefined ? {} : { kept: true as const }),
        ...(shares === undefined ? {} : { mode: 'shared' as const, limit: shares.usage.limit, used: shares.usage.used, total_holders: shares.usage.holders, holders: shares.grants.map(grantBody) })
      }
    )
  })

  app.get('/locks/all-locked', { schema: allLockedSchema }, async ({ query, apiKey }) => {
    const locks = locksOf(apiKey)
    const { prefix = '', process_id: processId = null, resource_name: resourceName = null, limit = LIST_LIMIT, cursor } = query
    const which = { prefix, processId, resourceName }
    const after = cursor === undefined ? null : placeFromCursor(cursor)
    const { at, grants, more } = await locks.reads.list({ ...which, after, limit })
    // One page that shows everything needs no counting, and cannot disagree with its own total.
    const total = after === null && !more ? grants.length : await locks.reads.count(which)
    return success(`Retrieved ${total} active locks`, {
      total_locks: total,
      as_of: isoTime(at),
      locks: grants.map(listedBody),
      next_cursor: more ? cursorAfter(grants) : null
    })
  })

  done()
}
