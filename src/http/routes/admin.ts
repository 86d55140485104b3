import type { FastifyPluginCallbackTypebox } from '@fastify/type-provider-typebox'
import { Type } from '@sinclair/typebox'
import type { LocksOf } from '../../locks/scoped-locks.js'
import { freeAtBody, grantBody, isoTime, success } from '../responses.js'
import { answer, LockIdSchema, orNull, refusal, ResourceNameSchema, Timestamp } from '../schemas/common.js'
import { exampleGrant, FreeAt, grantFields, GrantSchema, LOCK_NOT_HELD, WITH_BODY, WITH_QUERY, type LeaseLimits } from '../schemas/grants.js'

const ReasonText = Type.String({
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
const exampleRevocation = 'worker-7 is drained'
const exampleEnd = '2024-01-15T10:31:00.123+00:00'

const LOCK_CHANGED = refusal(
  'LockChanged',
  'Another grant is valid by now; nothing was changed.',
  'LOCK_CHANGED',
  "Resource 'database_backup' is no longer held by lock 42"
)

const revokeSchema = ({ maxTtlSeconds }: Pick<LeaseLimits, 'maxTtlSeconds'>) => ({
  operationId: 'revokeLock',
  tags,
  summary: 'Ask the holder of a lock to end',
  description:
    'From now on no renewal moves the end of the lock past the grace, and a later end is drawn in to it: whatever the holder does, it ends by then. The answers to ' +
    'its renewals tell it. Without `lock_id` all shares of the resource are revoked. A second revocation may only shorten the grace; a release before is an ordinary one.',
  body: Type.Object(
    {
      resource_name: ResourceNameSchema,
      reason: ReasonText,
      grace_seconds: Type.Number({ minimum: 0, maximum: maxTtlSeconds, description: 'For so many seconds from now the lock may still be held.', examples: [30] }),
      lock_id: Type.Optional(LockIdSchema)
    },
    { examples: [{ resource_name: 'database_backup', reason: exampleRevocation, grace_seconds: 30 }] }
  ),
  response: {
    200: answer(
      'The lock as it is now.',
      Type.Object(
        {
          ...grantFields,
          revoke_at: Timestamp('When it ends at the latest.'),
          reason: Type.String(),
          revoked: Type.Optional(Type.Array(GrantSchema, { description: 'Where the resource is shared: every share that was revoked; what stands beside is of the one that ends last.' }))
        },
        { title: 'RevokedLock' }
      ),
      "Lock revoked successfully for resource 'database_backup'",
      { ...exampleGrant, expires_at: exampleEnd, revoke_at: exampleEnd, reason: exampleRevocation }
    ),
    404: LOCK_NOT_HELD,
    409: LOCK_CHANGED,
    ...WITH_BODY
  }
})

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

export interface AdminRoutesOptions extends Pick<LeaseLimits, 'maxTtlSeconds'> {
  readonly locksOf: LocksOf
  readonly databaseName: string | undefined
}
const MOST_CONTENDED = 10

/** For operators: revoking locks, taking them away, the figures. */
export const adminRoutes: FastifyPluginCallbackTypebox<AdminRoutesOptions> = (app, { locksOf, databaseName = null, maxTtlSeconds }, done) => {
  app.post('/locks/revoke', { config: { access: 'admin' }, schema: revokeSchema({ maxTtlSeconds }) }, async ({ body, apiKey, id: reqId }, reply) => {
    const { resource_name, reason, grace_seconds, lock_id } = body
    const outcome = await locksOf(apiKey).revoke(resource_name, reason, Math.round(grace_seconds * 1000), lock_id)
    if (outcome.kind === 'not-held') {
      return reply.code(404).send({ detail: `No active lock found for resource '${resource_name}'`, code: 'LOCK_NOT_HELD', reason: outcome.reason })
    }
    if (outcome.kind === 'changed') {
      return reply.code(409).send({ detail: `Resource '${resource_name}' is no longer held by lock ${lock_id}`, code: 'LOCK_CHANGED' })
    }
    const { grant, revocation, all } = outcome
    for (const { lockId, processId } of all) app.log.warn({ resource_name, lock_id: lockId, process_id: processId, reason, key: apiKey?.name, reqId }, 'lock revoked')
    return success(`Lock revoked successfully for resource '${resource_name}'`, {
      ...grantBody(grant),
      revoke_at: isoTime(revocation.at),
      reason: revocation.reason,
      ...(grant.share === undefined ? {} : { revoked: all.map(grantBody) })
    })
  })

  app.post('/locks/force-release', { config: { access: 'admin' }, schema: forceReleaseSchema }, async ({ body, apiKey, id: reqId }, reply) => {
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

  app.post('/locks/force-release-all', { config: { access: 'admin' }, schema: forceReleaseAllSchema }, async ({ body, apiKey, id: reqId }) => {
    const { prefix = '', reason } = body
    const total = await locksOf(apiKey).forceReleaseAll(prefix, reason)
    app.log.warn({ prefix, total, reason, key: apiKey?.name, reqId }, 'locks force-released')
    return success(`Force-released ${total} locks`, { total_released: total })
  })

  app.get('/locks/stats', { config: { access: 'read' }, schema: statsSchema }, async ({ apiKey }) => {
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

