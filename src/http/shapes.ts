import type { FastifyReply } from 'fastify'
import type { AcquireOutcome, NotHeldReason } from '../locks/commands.js'
import { MAX_METADATA_BYTES, ttlFromSeconds, type EpochMs, type Grant, type Metadata, type TtlMs } from '../locks/lock.js'
import { InvalidRequestError } from './errors.js'
import { isoTime, isoTimeOrNull, secondsUntil } from './time.js'

/** The frame of every answer 200. */
export function success<Data>(message: string, data: Data) {
  return { success: true as const, message, data }
}

export function grantBody(grant: Grant) {
  return {
    lock_id: grant.lockId,
    fencing_token: grant.lockId,
    resource_name: grant.resourceName,
    process_id: grant.processId,
    locked_at: isoTime(grant.lockedAt),
    expires_at: isoTimeOrNull(grant.expiresAt),
    metadata: grant.metadata
  }
}

type Held = Extract<AcquireOutcome, { kind: 'held' }>

/** The refusal of a request for a held resource. Of several conflicts the one that lasts longest speaks for all. */
export function heldBody({ conflicts, at }: Held, reply: FastifyReply) {
  const by = lastToEnd(conflicts)
  const after = secondsUntil(by.expiresAt, at)
  if (after !== null) void reply.header('retry-after', Math.max(1, Math.ceil(after)))
  return {
    detail: `Resource '${by.resourceName}' is already locked by process '${by.processId}'`,
    code: 'RESOURCE_LOCKED' as const,
    resource_name: by.resourceName,
    locked_by: by.processId,
    lock_id: by.lockId,
    locked_at: isoTime(by.lockedAt),
    expires_at: isoTimeOrNull(by.expiresAt),
    retry_after_seconds: after,
    waiters: 0
  }
}

function lastToEnd(conflicts: readonly Grant[]): Grant {
  return conflicts.reduce((last, grant) => (endOf(grant) > endOf(last) ? grant : last))
}

function endOf({ expiresAt }: Grant): EpochMs {
  return expiresAt ?? Number.POSITIVE_INFINITY
}

export function conflictBody({ resourceName, processId, lockId, expiresAt }: Grant) {
  return { resource_name: resourceName, locked_by: processId, lock_id: lockId, expires_at: isoTimeOrNull(expiresAt) }
}

export function notHeldBody(resourceName: string, processId: string, reason: NotHeldReason) {
  return {
    detail: `No active lock found for resource '${resourceName}' by process '${processId}'`,
    code: 'LOCK_NOT_HELD' as const,
    reason
  }
}

export const REQUEST_ID_REUSED = {
  detail: 'This request_id was used before, for other content or for a lock that has ended since',
  code: 'REQUEST_ID_REUSED'
} as const

export function ttlOf(seconds: number | null | undefined): TtlMs | undefined {
  return typeof seconds === 'number' ? ttlFromSeconds(seconds) : seconds
}

export function metadataOf(metadata: Metadata | null | undefined): Metadata | null {
  if (metadata === null || metadata === undefined) return null
  if (Buffer.byteLength(JSON.stringify(metadata)) <= MAX_METADATA_BYTES) return metadata
  throw new InvalidRequestError([
    { type: 'too_long', loc: ['body', 'metadata'], msg: `Object should take at most ${MAX_METADATA_BYTES} bytes as JSON` }
  ])
}
