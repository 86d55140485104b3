import type { FastifyReply } from 'fastify'
import { MAX_METADATA_BYTES, type Metadata, type ProcessId, type ResourceName } from '../locks/lock.js'
import type { RequestOutcome } from '../locks/requests.js'
import type { Locks } from '../locks/scoped-locks.js'
import { callerOf } from './caller.js'
import { InvalidRequestError } from './errors.js'
import { ttlOf } from './shapes.js'

export interface RequestBody {
  readonly process_id: ProcessId
  readonly ttl_seconds?: number | null
  readonly wait_seconds?: number
  readonly request_id?: string
  readonly keep_place?: boolean
  readonly metadata?: Metadata | null
}

/**
 * Requests one or several locks as a body says. A client that waits and disconnects loses its place at once, and a lock that
 * it was granted but never heard of is released again.
 */
export async function requestLocks(
  locks: Locks,
  reply: FastifyReply,
  resourceNames: readonly ResourceName[],
  body: RequestBody
): Promise<RequestOutcome> {
  const waitMs = Math.round((body.wait_seconds ?? 0) * 1000)
  const request = {
    resourceNames,
    processId: body.process_id,
    ttlMs: ttlOf(body.ttl_seconds),
    metadata: metadataOf(body.metadata),
    requestId: body.request_id
  }
  if (waitMs === 0) return locks.request(request)

  const gone = new AbortController()
  // Not `writableFinished`: that is true as well for an answer that was written to a connection that is gone.
  let sent = false
  reply.raw.once('finish', () => (sent = true))
  reply.raw.once('close', () => {
    if (!sent) gone.abort()
  })
  // A connection that broke before anybody listened does not say so again.
  if (reply.raw.destroyed) gone.abort()
  return locks.request(request, { waitMs, signal: gone.signal, keepPlace: body.keep_place, caller: callerOf(reply.request) })
}

function metadataOf(metadata: Metadata | null | undefined): Metadata | null {
  if (metadata === null || metadata === undefined) return null
  if (bytesAsJson(metadata) <= MAX_METADATA_BYTES) return metadata
  throw new InvalidRequestError([
    { type: 'too_long', loc: ['body', 'metadata'], msg: `Object should take at most ${MAX_METADATA_BYTES} bytes as JSON` }
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
