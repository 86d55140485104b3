import type { FastifyReply } from 'fastify'
import { MAX_METADATA_BYTES, type Metadata, type ProcessId, type ResourceName, type Sharing, type Terms, type TtlMs } from '../locks/lock.js'
import type { RequestOutcome } from '../locks/requests.js'
import type { Locks } from '../locks/scoped-locks.js'
import { callerOf } from './auth.js'
import { InvalidRequestError } from './errors.js'
import { ttlOf } from './responses.js'

interface RequestBody {
  readonly process_id: ProcessId
  readonly ttl_seconds?: number | null
  readonly wait_seconds?: number
  readonly request_id?: string
  readonly keep_place?: boolean
  readonly steal?: boolean
  readonly hold_at_least_seconds?: number
  readonly lock_delay_seconds?: number
  readonly metadata?: Metadata | null
}

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
