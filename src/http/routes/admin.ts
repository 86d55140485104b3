import type { FastifyPluginCallbackTypebox } from '@fastify/type-provider-typebox'
import { Type } from '@sinclair/typebox'
import type { LocksOf } from '../../locks/scoped-locks.js'
import { LIST_LIMIT } from '../../locks/store.js'
import { eventBody, eventFromCursor, freeAtBody, grantBody, isoTime, success, toCursor } from '../responses.js'
import { answer, LockIdSchema, orNull, ProcessIdSchema, refusal, ResourceNameSchema, Timestamp } from '../schemas/common.js'
import { exampleGrant, exampleNames, FreeAt, grantFields, GrantSchema, LOCK_NOT_HELD, WITH_BODY, WITH_QUERY } from '../schemas/grants.js'

export const ReasonText = Type.String({
  minLength: 1,
  maxLength: 500,
  format: 'lock-name',
  description: 'Why, for the history: 1 to 500 characters.',
  examples: ['worker-7 was taken out of service']
})

interface CallersKey {
  readonly name: string
  readonly scopes: readonly string[]
  readonly prefix: string
}

const Counter = orNull<number>('integer', { examples: [230] })
const WaitSeconds = (description: string) =>
  orNull<number>('number', { description: `${description} Of the requests that waited in line within the last five minutes; null where none did.` })

const tags = ['Administration']
const exampleReason = 'worker-7 was taken out of service'

export const LOCK_CHANGED = refusal(
  'LockChanged',
  'Another grant is valid by now; nothing was changed.',
  'LOCK_CHANGED',
  "Resource 'database_backup' is no longer held by lock 42"
)

const forceReleaseSchema = {
  operationId: 'forceReleaseLock',
  tags,
  summary: 'Take a lock away',
  description: 'Takes the lock away from its holder, or all shares of the resource from theirs; with `lock_id`, only if that is still the valid grant. The former holder’s next renewal is refused. It also frees a resource that is kept.',
  body: Type.Object(
    {
      resource_name: ResourceNameSchema,
      reason: ReasonText,
      lock_id: Type.Optional(LockIdSchema),
      lock_delay: Type.Optional(Type.Boolean({ description: 'False frees it at once, whatever `lock_delay_seconds` it was requested with; true if left out.', examples: [true] }))
    },
    { examples: [{ resource_name: 'database_backup', reason: exampleReason, lock_id: 42 }] }
  ),
  response: {
    200: answer(
      'The lock that was taken away.',
      Type.Object(
        {
          ...grantFields,
          released_at: Timestamp('When it ended.'),
          free_at: FreeAt,
          reason: Type.String(),
          released: Type.Optional(Type.Array(GrantSchema, { description: 'Where the resource was shared: every share that was taken away; what stands beside is of the one that would have ended last.' }))
        },
        { title: 'ForceReleasedLock' }
      ),
      "Lock force-released successfully for resource 'database_backup'",
      { ...exampleGrant, released_at: '2024-01-15T10:32:00.123+00:00', reason: exampleReason }
    ),
    404: LOCK_NOT_HELD,
    409: LOCK_CHANGED,
    ...WITH_BODY
  }
}

const forceReleaseAllSchema = {
  operationId: 'forceReleaseAllLocks',
  tags,
  summary: 'Take all locks away',
  description: 'Ends every lock whose name begins with the prefix; without one, every lock there is.',
  body: Type.Object(
    { reason: ReasonText, prefix: Type.Optional(Type.String({ maxLength: 255, format: 'lock-name' })) },
    { examples: [{ reason: 'maintenance', prefix: 'reports/' }] }
  ),
  response: {
    200: answer('How many were taken away.', Type.Object({ total_released: Type.Integer() }), 'Force-released 3 locks', { total_released: 3 }),
    ...WITH_BODY
  }
}

const historySchema = {
  operationId: 'getLockHistory',
  tags,
  summary: 'What happened to locks',
  description:
    'Newest first. Renewals are told at most once a minute for each lock. Events are kept for HISTORY_RETENTION_DAYS.',
  querystring: Type.Object({
    resource_name: Type.Optional(ResourceNameSchema),
    process_id: Type.Optional(ProcessIdSchema),
    limit: Type.Optional(Type.Integer({ minimum: 1, maximum: LIST_LIMIT, description: 'At most that many events; 100 if left out.' })),
    cursor: Type.Optional(Type.String({ maxLength: 64, description: 'The `next_cursor` of the page before.' }))
  }),
  response: {
    200: answer(
      'One page of the history.',
      Type.Object({
        events: Type.Array(
          Type.Object({
            event_id: Type.Integer(),
            event: Type.Unsafe<string>({ type: 'string', enum: ['granted', 'renewed', 'converted', 'revoked', 'released', 'expired', 'force_released'] }),
            at: Timestamp('When it happened, by the database’s clock.'),
            resource_name: Type.String(),
            process_id: Type.String({ description: 'The holder.' }),
            lock_id: LockIdSchema,
            reason: orNull<string>('string', { description: 'Why a lock was taken away or revoked.' })
          }, { title: 'LockEvent' })
        ),
        next_cursor: orNull<string>('string', { description: 'Where the next page begins; null at the end.' })
      }),
      'Retrieved 1 events',
      {
        events: [{ event_id: 7, event: 'granted', at: '2024-01-15T10:30:00.123+00:00', ...exampleNames, lock_id: 42, reason: null }],
        next_cursor: null
      }
    ),
    ...WITH_QUERY
  }
}

const statsSchema = {
  operationId: 'getLockStats',
  tags,
  summary: 'Figures of the service',
  description:
    '`held` and `waiters` are of the whole database; the others count what this instance has seen since `counted_since`, and are null for a key with a prefix. ' +
    '`key` is what the caller’s own key may do.',
  response: {
    200: answer(
      'The figures.',
      Type.Object({
        held: Type.Integer(),
        held_shared: Type.Integer({ description: 'How many of those are shares.' }),
        waiters: Type.Integer(),
        grants: Counter,
        conflicts: Counter,
        releases: Counter,
        renewals: Counter,
        forced_releases: Counter,
        expiries: Counter,
        wait_seconds_p50: WaitSeconds('Half of those waited no longer.'),
        wait_seconds_p95: WaitSeconds('19 of 20 of those waited no longer.'),
        instance: Type.String({ description: 'Which instance answered: a random name, new at each start. The counters are its own.' }),
        counted_since: Timestamp('Since when that instance counts, by its own clock.'),
        database: orNull<string>('string', { description: 'The kind and name of the database.' }),
        key: orNull<CallersKey>('object', {
          description: 'The key that the call was made with; null where none is needed.',
          properties: { name: Type.String(), scopes: Type.Array(Type.String()), prefix: Type.String({ description: 'The key sees only names that begin with this.' }) },
          required: ['name', 'scopes', 'prefix']
        }),
        top_contended: Type.Array(Type.Object({ resource_name: Type.String(), conflicts: Type.Integer() }))
      }, { title: 'LockStats' }),
      'Retrieved statistics',
      {
        held: 12,
        held_shared: 3,
        waiters: 0,
        grants: 4711,
        conflicts: 230,
        releases: 4690,
        renewals: 88,
        forced_releases: 1,
        expiries: 8,
        wait_seconds_p50: 0.012,
        wait_seconds_p95: 1.5,
        instance: '0b8f9d3e-6c57-4d0c-8a0e-6f1f3a1c2d4b',
        counted_since: '2024-01-15T08:00:00.123+00:00',
        database: 'PostgreSQL resource_locks',
        key: { name: 'worker', scopes: ['read', 'write'], prefix: '' },
        top_contended: [{ resource_name: 'database_backup', conflicts: 120 }]
      }
    ),
    ...WITH_QUERY
  }
}

export interface AdminRoutesOptions {
  readonly locksOf: LocksOf
  readonly databaseName: string | undefined
}

const HISTORY_PAGE = 100
const MOST_CONTENDED = 10

/** For operators: taking locks away, the history, the figures. */
export const adminRoutes: FastifyPluginCallbackTypebox<AdminRoutesOptions> = (app, { locksOf, databaseName = null }, done) => {
  app.post('/locks/force-release', { schema: forceReleaseSchema }, async ({ body, apiKey, id: reqId }, reply) => {
    const { resource_name, reason, lock_id, lock_delay = true } = body
    const outcome = await locksOf(apiKey).forceRelease(resource_name, reason, lock_id, !lock_delay)
    if (outcome.kind === 'not-held') {
      return reply.code(404).send({ detail: `No active lock found for resource '${resource_name}'`, code: 'LOCK_NOT_HELD', reason: outcome.reason })
    }
    if (outcome.kind === 'changed') {
      return reply.code(409).send({ detail: `Resource '${resource_name}' is no longer held by lock ${lock_id}`, code: 'LOCK_CHANGED' })
    }
    for (const { lockId, processId } of outcome.all ?? [outcome.grant]) {
      app.log.warn({ resource_name, lock_id: lockId, process_id: processId, reason, key: apiKey?.name, reqId }, 'lock force-released')
    }
    return success(`Lock force-released successfully for resource '${resource_name}'`, {
      ...grantBody(outcome.grant),
      released_at: isoTime(outcome.releasedAt),
      ...freeAtBody(outcome),
      reason,
      ...(outcome.all === undefined ? {} : { released: outcome.all.map(grantBody) })
    })
  })

  app.post('/locks/force-release-all', { schema: forceReleaseAllSchema }, async ({ body, apiKey, id: reqId }) => {
    const { prefix = '', reason } = body
    const total = await locksOf(apiKey).forceReleaseAll(prefix, reason)
    app.log.warn({ prefix, total, reason, key: apiKey?.name, reqId }, 'locks force-released')
    return success(`Force-released ${total} locks`, { total_released: total })
  })

  app.get('/locks/history', { schema: historySchema }, async ({ query, apiKey }) => {
    const { resource_name: resourceName = null, process_id: processId = null, limit = HISTORY_PAGE, cursor } = query
    const before = cursor === undefined ? null : eventFromCursor(cursor)
    const { events, more } = await locksOf(apiKey).reads.history({ prefix: '', resourceName, processId, before, limit })
    const last = events.at(-1)
    return success(`Retrieved ${events.length} events`, {
      events: events.map(eventBody),
      next_cursor: more && last !== undefined ? toCursor(String(last.eventId)) : null
    })
  })

  app.get('/locks/stats', { schema: statsSchema }, async ({ apiKey }) => {
    const locks = locksOf(apiKey)
    const { grants, conflicts, releases, renewals, forcedReleases, expiries } = locks.statistics.counters
    // They are not counted by name, so a key that is confined to a prefix must not see them.
    const ofAll = <Figure>(figure: Figure): Figure | null => (locks.prefix === '' ? figure : null)
    const { recentWaits } = locks.statistics
    const mine = { prefix: locks.prefix, processId: null }
    const [exclusive, shared] = await Promise.all([locks.reads.count({ ...mine, mode: 'exclusive' }), locks.reads.count({ ...mine, mode: 'shared' })])
    return success('Retrieved statistics', {
      held: exclusive + shared,
      held_shared: shared,
      waiters: await locks.reads.countWaiters({ prefix: locks.prefix }),
      grants: ofAll(grants),
      conflicts: ofAll(conflicts),
      releases: ofAll(releases),
      renewals: ofAll(renewals),
      forced_releases: ofAll(forcedReleases),
      expiries: ofAll(expiries),
      wait_seconds_p50: ofAll(toMilliseconds(recentWaits.percentile(0.5))),
      wait_seconds_p95: ofAll(toMilliseconds(recentWaits.percentile(0.95))),
      instance: locks.statistics.instance,
      counted_since: isoTime(locks.statistics.since),
      database: databaseName,
      key: apiKey === null ? null : { name: apiKey.name, scopes: [...apiKey.scopes], prefix: apiKey.prefix },
      top_contended: locks.statistics
        .mostContended(MOST_CONTENDED, locks.prefix)
        .map(({ name, conflicts }) => ({ resource_name: name, conflicts }))
    })
  })

  done()
}

/** Seconds, of which no more than the milliseconds mean anything. */
function toMilliseconds(seconds: number | null): number | null {
  return seconds === null ? null : Math.round(seconds * 1000) / 1000
}
