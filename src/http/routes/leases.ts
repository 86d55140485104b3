import type { FastifyPluginCallbackTypebox } from '@fastify/type-provider-typebox'
import { Type } from '@sinclair/typebox'
import { MAX_NAMES, type Metadata, type ProcessId, type ResourceName, type Sharing } from '../../locks/lock.js'
import type { Released, RenewalRequest, Renewals } from '../../locks/requests.js'
import { InvalidRequestError } from '../errors.js'
import { conflictBody, freeAtBody, grantBody, heldBody, isoTime, notHeldBody, REQUEST_ID_REUSED, sharingOf, success, ttlOf, type SharingBody } from '../responses.js'
import { answer, LockIdSchema, orNull, ProcessIdSchema, ResourceNameSchema, Timestamp } from '../schemas/common.js'
import { exampleGrant, exampleNames, FreeAt, grantFields, GrantSchema, type LeaseLimits, LOCK_NOT_HELD, NewMetadata, Reason, Replayed, requestFields, RequestManyRefused, resourceNames, sharingFields, ttlSeconds, WITH_BODY } from '../schemas/grants.js'
import { metadataOf, requestLocks, type LockRoutesOptions } from './locks.js'

const exampleEnd = '2024-01-15T10:32:00.123+00:00'
const ReleasedLock = Type.Object(
  { resource_name: Type.String(), process_id: Type.String(), lock_id: LockIdSchema, released_at: Timestamp('When it ended.'), free_at: FreeAt },
  { title: 'ReleasedLock' }
)
const RenewedLock = Type.Object(
  {
    ...grantFields,
    renewed_at: Timestamp('When it was renewed.'),
    waiters: Type.Integer({ description: 'How many wait in line for it.' }),
    revoked: orNull<{ at: string; reason: string }>('object', {
      description: 'The holder is asked to end, and no renewal moves the end past `at`; null where it is not.',
      properties: { at: Timestamp('When it ends at the latest.'), reason: Type.String() },
      required: ['at', 'reason']
    })
  },
  { title: 'RenewedLock' }
)
const exampleRenewed = { ...exampleGrant, renewed_at: exampleEnd, waiters: 0, revoked: null }
const exampleReleased = { ...exampleNames, lock_id: 42, released_at: exampleEnd }

const tags = ['Locks']

const renewFor = (maxTtlSeconds: number) => Type.Optional(ttlSeconds(maxTtlSeconds, 'takes the lease with which the lock was granted'))

const renewSchema = ({ maxTtlSeconds }: LeaseLimits) => ({
  operationId: 'renewLock',
  tags,
  summary: 'Renew a lock',
  description: 'Moves the end of a lock that is still held: it ends so many seconds from now. Its number stays; with `metadata`, that is replaced at the same time. An ended lock never comes back.',
  body: Type.Object(
    { resource_name: ResourceNameSchema, process_id: ProcessIdSchema, ttl_seconds: renewFor(maxTtlSeconds), lock_id: Type.Optional(LockIdSchema), metadata: NewMetadata },
    { examples: [{ ...exampleNames, ttl_seconds: 300 }] }
  ),
  response: {
    200: answer('The lock was renewed.', RenewedLock, "Lock renewed successfully for resource 'database_backup'", exampleRenewed),
    404: LOCK_NOT_HELD,
    ...WITH_BODY
  }
})

const renewManySchema = ({ maxTtlSeconds, maxNames = MAX_NAMES }: LeaseLimits) => ({
  operationId: 'renewManyLocks',
  tags,
  summary: 'Renew several locks',
  description: 'Renews those of the locks that the process holds, each for as long as it says, and says which it did not hold.',
  body: Type.Object(
    {
      process_id: ProcessIdSchema,
      locks: Type.Array(
        Type.Object(
          { resource_name: ResourceNameSchema, lock_id: Type.Optional(LockIdSchema), ttl_seconds: renewFor(maxTtlSeconds), metadata: NewMetadata },
          { additionalProperties: false }
        ),
        { minItems: 1, maxItems: maxNames, description: `1 to ${maxNames} locks of different resources.` }
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
})

const renewAllSchema = ({ maxTtlSeconds }: LeaseLimits) => ({
  operationId: 'renewAllLocks',
  tags,
  summary: 'Renew all locks of a process',
  description: 'One heartbeat for everything that the process holds.',
  body: Type.Object({ process_id: ProcessIdSchema, ttl_seconds: renewFor(maxTtlSeconds) }, { examples: [{ process_id: 'process_123' }] }),
  response: {
    200: answer(
      'What was renewed, sorted by name.',
      Type.Object({ total_renewed: Type.Integer(), locks: Type.Array(RenewedLock) }),
      "Renewed 1 locks of process 'process_123'",
      { total_renewed: 1, locks: [exampleRenewed] }
    ),
    ...WITH_BODY
  }
})

const resources = (maxNames = MAX_NAMES) =>
  Type.Array(Type.Object({ resource_name: ResourceNameSchema, ...sharingFields }, { additionalProperties: false }), {
    minItems: 1,
    maxItems: maxNames,
    description: `1 to ${maxNames} different resources, instead of \`resource_names\`, each in its own mode.`,
    examples: [[{ resource_name: 'company 7', mode: 'shared' }, { resource_name: 'company 7/user 3' }]]
  })

const requestManySchema = (limits: LeaseLimits) => ({
  operationId: 'requestManyLocks',
  tags,
  summary: 'Acquire several locks, all or none',
  description: 'Grants all of the resources in one transaction, or none of them: those of `resource_names`, all in one mode, or those of `resources`, each in its own.',
  body: Type.Object(
    { resource_names: Type.Optional(resourceNames(limits.maxNames)), resources: Type.Optional(resources(limits.maxNames)), ...requestFields(limits) },
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
})

const releaseManySchema = ({ maxNames }: LeaseLimits) => ({
  operationId: 'releaseManyLocks',
  tags,
  summary: 'Release several locks',
  description: 'Releases those of the resources that the process holds, in one transaction, and says which it did not hold.',
  body: Type.Object(
    { resource_names: resourceNames(maxNames), process_id: ProcessIdSchema },
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
})

const releaseAllSchema = {
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

/** Beyond the mirrored API: renewing, and several locks at once. */
export const leaseRoutes: FastifyPluginCallbackTypebox<LockRoutesOptions> = (app, { locksOf, ...limits }, done) => {
  app.post('/locks/renew', { config: { access: 'write' }, schema: renewSchema(limits) }, async ({ body, apiKey }, reply) => {
    const { resource_name, process_id } = body
    const outcome = await locksOf(apiKey).renew(renewalOf(process_id, body, ['body', 'metadata']))
    if (outcome.kind === 'not-held') return reply.code(404).send(notHeldBody(resource_name, process_id, outcome.reason))
    return success(`Lock renewed successfully for resource '${resource_name}'`, renewedBody(outcome))
  })

  app.post('/locks/renew-many', { config: { access: 'write' }, schema: renewManySchema(limits) }, async ({ body, apiKey }) => {
    const { process_id: processId, locks } = body
    mustDiffer(locks.map(({ resource_name }) => resource_name), 'locks')
    const outcomes = await locksOf(apiKey).renewMany(
      locks.map((lock, index) => renewalOf(processId, lock, ['body', 'locks', String(index), 'metadata']))
    )
    const renewed = outcomes.flatMap((outcome) => (outcome.kind === 'renewed' ? [renewedBody(outcome)] : []))
    const notHeld = locks.flatMap(({ resource_name, lock_id }, index) => {
      const outcome = outcomes[index]
      return outcome?.kind === 'not-held' ? [{ resource_name, ...(lock_id === undefined ? {} : { lock_id }), reason: outcome.reason }] : []
    })
    return success(`Renewed ${renewed.length} of ${outcomes.length} locks`, { renewed, not_held: notHeld })
  })

  app.post('/locks/renew-all', { config: { access: 'write' }, schema: renewAllSchema(limits) }, async ({ body, apiKey }) => {
    const renewals = await locksOf(apiKey).renewAll(body.process_id, ttlOf(body.ttl_seconds))
    return success(`Renewed ${renewals.length} locks of process '${body.process_id}'`, {
      total_renewed: renewals.length,
      locks: renewals.map(renewedBody)
    })
  })

  app.post('/locks/request-many', { config: { access: 'write' }, schema: requestManySchema(limits) }, async ({ body, apiKey }, reply) => {
    const { names, sharing } = resourcesOf(body)
    const outcome = await requestLocks(locksOf(apiKey), reply, names, body, sharing)
    if (outcome.kind === 'request-id-reused') return reply.code(409).send(REQUEST_ID_REUSED)
    if (outcome.kind === 'held') {
      return reply.code(409).send({ ...heldBody(outcome, reply), conflicts: outcome.conflicts.map(conflictBody) })
    }
    const data = { locks: outcome.grants.map(grantBody) }
    return success(
      `Acquired ${outcome.grants.length} locks successfully`,
      outcome.replayed ? { ...data, replayed: true as const } : data
    )
  })

  app.post('/locks/release-many', { config: { access: 'write' }, schema: releaseManySchema(limits) }, async ({ body, apiKey }) => {
    const outcomes = await locksOf(apiKey).releaseMany(body.resource_names, body.process_id)
    const released = outcomes.flatMap((outcome) => (outcome.kind === 'released' ? [releasedBody(outcome)] : []))
    const notHeld = body.resource_names.flatMap((resource_name, index) => {
      const outcome = outcomes[index]
      return outcome?.kind === 'not-held' ? [{ resource_name, reason: outcome.reason }] : []
    })
    return success(`Released ${released.length} of ${outcomes.length} locks`, { released, not_held: notHeld })
  })

  app.delete('/locks/release-all', { config: { access: 'write' }, schema: releaseAllSchema }, async ({ query, apiKey }) => {
    const { released, leftQueue } = await locksOf(apiKey).releaseAll(query.process_id)
    return success(`Released ${released.length} locks of process '${query.process_id}'`, {
      total_released: released.length,
      total_left_queue: leftQueue,
      locks: released.map(releasedBody)
    })
  })

  done()
}

interface RenewBody {
  readonly resource_name: ResourceName
  readonly ttl_seconds?: number | null
  readonly lock_id?: number
  readonly metadata?: Metadata | null
}

function renewalOf(processId: ProcessId, { resource_name, lock_id, ttl_seconds, metadata }: RenewBody, place: readonly string[]): RenewalRequest {
  return { resourceName: resource_name, processId, lockId: lock_id, ttlMs: ttlOf(ttl_seconds), metadata: metadataOf(metadata, place) }
}

interface ManyBody extends SharingBody {
  readonly resource_names?: readonly ResourceName[]
  readonly resources?: readonly (SharingBody & { readonly resource_name: ResourceName })[]
}

function fault(field: string, type: string, msg: string): InvalidRequestError {
  return new InvalidRequestError([{ type, loc: ['body', field], msg }])
}

/** The resources that are asked for together, and what of each. */
function resourcesOf(body: ManyBody): { readonly names: readonly ResourceName[]; readonly sharing: readonly (Sharing | null)[] } {
  const { resource_names: names, resources, mode, limit, permits } = body
  if (resources === undefined) {
    if (names === undefined) throw fault('resource_names', 'missing', 'Field required')
    const sharing = sharingOf(body)
    return { names, sharing: names.map(() => sharing) }
  }
  if (names !== undefined) throw fault('resources', 'value_error', 'Input should be left out beside resource_names')
  const [given] = Object.entries({ mode, limit, permits }).flatMap(([field, value]) => (value === undefined ? [] : [field]))
  if (given !== undefined) throw fault(given, 'value_error', 'Input should stand in each of the resources')
  mustDiffer(resources.map(({ resource_name }) => resource_name), 'resources')
  return { names: resources.map(({ resource_name }) => resource_name), sharing: resources.map((resource, index) => sharingOf(resource, ['body', 'resources', index])) }
}

function mustDiffer(names: readonly string[], field: string): void {
  if (new Set(names).size < names.length) {
    throw new InvalidRequestError([{ type: 'unique_items', loc: ['body', field], msg: 'Items should name different resources' }])
  }
}

function renewedBody({ grant, renewedAt, waiters, revoked }: Renewals[number]) {
  return { ...grantBody(grant), renewed_at: isoTime(renewedAt), waiters, revoked: revoked === null ? null : { at: isoTime(revoked.at), reason: revoked.reason } }
}

function releasedBody({ grant, releasedAt, freeAt }: Released) {
  return {
    resource_name: grant.resourceName,
    process_id: grant.processId,
    lock_id: grant.lockId,
    released_at: isoTime(releasedAt),
    ...freeAtBody({ freeAt })
  }
}
