import type { FastifyReply } from 'fastify'
import type { AcquireOutcome, Conflict } from '../locks/commands.js'
import { ttlFromSeconds, type NotHeldReason, type EpochMs, type Grant, type TtlMs } from '../locks/lock.js'
import type { ListedGrant, LockEvent, QueuedRequest } from '../locks/store.js'
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

export function listedBody(grant: ListedGrant) {
  return {
    id: grant.lockId,
    ...grantBody(grant),
    ttl_seconds: grant.ttlMs === null ? null : grant.ttlMs / 1000,
    renewals: grant.renewals,
    waiters: grant.waiters
  }
}

export function waiterBody({ processId, queuedAt, keptUntil }: QueuedRequest, index: number) {
  return { position: index + 1, process_id: processId, waiting_since: isoTimeOrNull(queuedAt), kept_until: isoTimeOrNull(keptUntil) }
}

type Held = Extract<AcquireOutcome, { kind: 'held' }>

/** The refusal of a request for a held resource. Of several conflicts the one that lasts longest speaks for all. */
export function heldBody({ conflicts, at, waiters, queuePosition }: Held & { queuePosition?: number }, reply: FastifyReply) {
  const by = lastToEnd(conflicts)
  const after = secondsUntil(by.expiresAt, at)
  if (after !== null) void reply.header('retry-after', Math.max(1, Math.ceil(after)))
  return {
    detail: `Resource '${by.resourceName}' is already locked by process '${by.processId}'`,
    code: 'RESOURCE_LOCKED' as const,
    resource_name: by.resourceName,
    locked_by: by.processId,
    // A free resource that is kept for the first in line has no lock yet.
    lock_id: by.lockId === 0 ? null : by.lockId,
    locked_at: isoTimeOrNull(by.lockedAt),
    expires_at: isoTimeOrNull(by.expiresAt),
    retry_after_seconds: after,
    waiters,
    ...(queuePosition === undefined ? {} : { queue_position: queuePosition })
  }
}

function lastToEnd(conflicts: readonly Conflict[]): Conflict {
  return conflicts.reduce((last, grant) => (endOf(grant) > endOf(last) ? grant : last))
}

function endOf({ lockId, expiresAt }: Conflict): EpochMs {
  return lockId === 0 ? 0 : (expiresAt ?? Number.POSITIVE_INFINITY)
}

export function conflictBody({ resourceName, processId, lockId, expiresAt }: Conflict) {
  return { resource_name: resourceName, locked_by: processId, lock_id: lockId === 0 ? null : lockId, expires_at: isoTimeOrNull(expiresAt) }
}

export function notHeldBody(resourceName: string, processId: string, reason: NotHeldReason) {
  return {
    detail: `No active lock found for resource '${resourceName}' by process '${processId}'`,
    code: 'LOCK_NOT_HELD' as const,
    reason
  }
}

export function eventBody({ eventId, kind, at, resourceName, processId, lockId, reason }: LockEvent) {
  return { event_id: eventId, event: kind, at: isoTime(at), resource_name: resourceName, process_id: processId, lock_id: lockId, reason }
}

export const REQUEST_ID_REUSED = {
  detail: 'This request_id was used before, for other content or for a lock that has ended since',
  code: 'REQUEST_ID_REUSED'
} as const

export function ttlOf(seconds: number | null | undefined): TtlMs | undefined {
  return typeof seconds === 'number' ? ttlFromSeconds(seconds) : seconds
}
