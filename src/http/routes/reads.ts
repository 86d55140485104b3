import type { FastifyPluginCallbackTypebox } from '@fastify/type-provider-typebox'
import { Type } from '@sinclair/typebox'
import { MAX_HOLDERS_SHOWN, type InspectOutcome } from '../../locks/commands.js'
import type { WatcherQuota } from '../../locks/quotas.js'
import type { LocksOf } from '../../locks/scoped-locks.js'
import { LIST_LIMIT } from '../../locks/store.js'
import { callerOf } from '../auth.js'
import { InvalidRequestError } from '../errors.js'
import { isoTime, success, waiterBody, isoTimeOrNull, secondsUntil, grantBody, placeFromCursor, listedBody, cursorAfter } from '../responses.js'
import { answer, orNull, ResourceNameSchema, Timestamp, ExpiresAt, MetadataSchema, ProcessIdSchema, LockIdSchema } from '../schemas/common.js'
import { WITH_QUERY, type LeaseLimits, Kept, shareFields, usageFields, GrantSchema, exampleTimes, grantFields, exampleGrant } from '../schemas/grants.js'
import { goneSignal } from './locks.js'

const tags = ['Locks']
const LockIdOrNull = orNull<number>('integer', { examples: [42] })

const listedFields = {
  ttl_seconds: orNull<number>('number', { description: 'The lease with which it was granted; null never ends.' }),
  renewals: Type.Integer({ description: 'How often it was renewed.' }),
  waiters: Type.Integer({ description: 'How many wait in line for it.' })
}

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

const queueSchema = {
  operationId: 'getLockQueue',
  tags,
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

export interface ReadRoutesOptions extends LeaseLimits {
  readonly locksOf: LocksOf
  /** Counts callers that wait for a change. */
  readonly watchers: WatcherQuota
}

const QUEUE_PAGE = 100
const NEITHER = new InvalidRequestError([{ type: 'missing', loc: ['query', 'resource_name'], msg: 'Field required, unless prefix is given' }])
const BOTH = new InvalidRequestError([{ type: 'value_error', loc: ['query', 'prefix'], msg: 'Input should be left out where resource_name is given' }])

/** Who holds a resource, what is held, and who waits. */
export const readRoutes: FastifyPluginCallbackTypebox<ReadRoutesOptions> = (app, { locksOf, watchers, ...limits }, done) => {
  app.get('/locks/status', { config: { access: 'read' }, schema: statusSchema(limits) }, async ({ query, apiKey }, reply) => {
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

  app.get('/locks/all-locked', { config: { access: 'read' }, schema: allLockedSchema }, async ({ query, apiKey }) => {
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

  app.get('/locks/queue', { config: { access: 'read' }, schema: queueSchema }, async ({ query, apiKey }) => {
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

