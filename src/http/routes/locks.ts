import type { FastifyPluginCallbackTypebox } from '@fastify/type-provider-typebox'
import { Type, type Static, type TObject } from '@sinclair/typebox'
import type { FastifyReply } from 'fastify'
import { MAX_METADATA_BYTES, type Metadata, type ResourceName, type Sharing, type Terms, type TtlMs } from '../../locks/lock.js'
import type { RequestOutcome } from '../../locks/requests.js'
import type { LocksOf, Locks } from '../../locks/scoped-locks.js'
import { callerOf } from '../auth.js'
import { InvalidRequestError } from '../errors.js'
import { freeAtBody, grantBody, heldBody, isoTime, isoTimeOrNull, notHeldBody, REQUEST_ID_REUSED, sharingOf, success, ttlOf } from '../responses.js'
import { answer, LockIdSchema, ProcessIdSchema, ResourceNameSchema, Timestamp } from '../schemas/common.js'
import { exampleGrant, exampleNames, FreeAt, GrantSchema, type LeaseLimits, NOT_RELEASED, requestFields, RequestRefused, WITH_BODY, exampleShare, LOCK_NOT_HELD, ModeSchema, sharingFields } from '../schemas/grants.js'

const tags = ['Locks']

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

const convertSchema = {
  operationId: 'convertLock',
  tags,
  summary: 'Make a lock exclusive or shared',
  description:
    'Turns the lock that the process holds into one of another mode, at once or not at all: nobody gets in between, and it never waits, since two that wait ' +
    'for each other would wait forever. An exclusive lock that becomes a share keeps its number, and the waiters that fit are granted. A share becomes exclusive ' +
    'if nobody else holds one; it then has a new number, as it has with another limit or other permits. The end of the lease stays.',
  body: Type.Object(
    { resource_name: ResourceNameSchema, process_id: ProcessIdSchema, lock_id: Type.Optional(LockIdSchema), ...sharingFields, mode: ModeSchema },
    { examples: [{ ...exampleNames, mode: 'shared', limit: 5 }] }
  ),
  response: {
    200: answer('The lock as it is now.', GrantSchema, "Lock converted successfully for resource 'database_backup'", { ...exampleGrant, ...exampleShare }),
    404: LOCK_NOT_HELD,
    409: RequestRefused,
    ...WITH_BODY
  }
}

export interface LockRoutesOptions extends LeaseLimits {
  readonly locksOf: LocksOf
}

/** One lock: acquire it, release it, make it exclusive or shared. */
export const lockRoutes: FastifyPluginCallbackTypebox<LockRoutesOptions> = (app, { locksOf, ...limits }, done) => {
  app.post('/locks/request', { config: { access: 'write' }, schema: requestSchema(limits) }, async ({ body, apiKey }, reply) => {
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

  app.delete('/locks/release', { config: { access: 'write' }, schema: releaseSchema(limits) }, async ({ query, apiKey }, reply) => {
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

  app.post('/locks/convert', { config: { access: 'write' }, schema: convertSchema }, async ({ body, apiKey }, reply) => {
    const { resource_name, process_id, lock_id } = body
    const outcome = await locksOf(apiKey).convert({ resourceName: resource_name, processId: process_id, lockId: lock_id }, sharingOf(body))
    if (outcome.kind === 'not-held') return reply.code(404).send(notHeldBody(resource_name, process_id, outcome.reason))
    if (outcome.kind === 'held') return reply.code(409).send(heldBody(outcome, reply))
    return success(`Lock converted successfully for resource '${resource_name}'`, grantBody(outcome.grant))
  })

  done()
}

/** What a body says beside the names. */
type RequestBody = Static<TObject<ReturnType<typeof requestFields>>>

/**
 * Requests one or several locks as a body says. A client that waits and disconnects loses its place at once, and a lock that
 * it was granted but never heard of is released again.
 */
export function requestLocks(
  locks: Locks,
  reply: FastifyReply,
  resourceNames: readonly ResourceName[],
  body: RequestBody,
  sharing: readonly (Sharing | null)[]
): Promise<RequestOutcome> {
  if (body.steal === true && sharing.some((share) => share !== null)) {
    throw new InvalidRequestError([{ type: 'value_error', loc: ['body', 'steal'], msg: 'Input should be left out for a share' }])
  }
  const waitMs = Math.round((body.wait_seconds ?? 0) * 1000)
  const request = {
    resourceNames,
    processId: body.process_id,
    ttlMs: ttlOf(body.ttl_seconds),
    metadata: metadataOf(body.metadata),
    requestId: body.request_id,
    steal: body.steal,
    terms: termsOf(body, locks.defaultTtlMs),
    // An exclusive request is the same as ever, its fingerprint too.
    sharing: sharing.every((share) => share === null) ? undefined : sharing
  }
  if (waitMs === 0) return locks.request(request)

  return locks.request(request, { waitMs, signal: goneSignal(reply), keepPlace: body.keep_place, caller: callerOf(reply.request) })
}

/** @throws InvalidRequestError where a lock is to be held for longer than its lease lasts. */
function termsOf({ ttl_seconds, hold_at_least_seconds: holdAtLeast = 0, lock_delay_seconds: lockDelay = 0 }: RequestBody, defaultTtlMs: TtlMs): Terms | undefined {
  const terms = { holdAtLeastMs: Math.round(holdAtLeast * 1000), lockDelayMs: Math.round(lockDelay * 1000) }
  const ttlMs = ttl_seconds === undefined ? defaultTtlMs : (ttlOf(ttl_seconds) ?? null)
  if (ttlMs !== null && terms.holdAtLeastMs > ttlMs) {
    throw new InvalidRequestError([{ type: 'less_than_equal', loc: ['body', 'hold_at_least_seconds'], msg: `Input should be less than or equal to ${ttlMs / 1000}, the lease` }])
  }
  return terms.holdAtLeastMs === 0 && terms.lockDelayMs === 0 ? undefined : terms
}

/** Fires when the client disconnects before it has the answer. */
export function goneSignal(reply: FastifyReply): AbortSignal {
  const gone = new AbortController()
  // Not `writableFinished`: that is true as well for an answer that was written to a connection that is gone.
  let sent = false
  reply.raw.once('finish', () => (sent = true))
  reply.raw.once('close', () => {
    if (!sent) gone.abort()
  })
  // A connection that broke before anybody listened does not say so again.
  if (reply.raw.destroyed) gone.abort()
  return gone.signal
}

/** @throws InvalidRequestError for metadata over the limit. */
export function metadataOf(metadata: Metadata | null | undefined, place: readonly string[] = ['body', 'metadata']): Metadata | null {
  if (metadata === null || metadata === undefined) return null
  if (bytesAsJson(metadata) <= MAX_METADATA_BYTES) return metadata
  throw new InvalidRequestError([
    { type: 'too_long', loc: place, msg: `Object should take at most ${MAX_METADATA_BYTES} bytes as JSON` }
  ])
}

function bytesAsJson(metadata: Metadata): number {
  try {
    return Buffer.byteLength(JSON.stringify(metadata))
  } catch {
    // Nested too deep for the stack, which takes more bytes than any limit here.
    return Infinity
  }
}
