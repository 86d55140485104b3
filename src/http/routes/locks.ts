import type { FastifyPluginCallbackTypebox } from '@fastify/type-provider-typebox'
import type { AcquireOutcome } from '../../locks/commands.js'
import { MAX_METADATA_BYTES, ttlFromSeconds, type Grant, type Metadata, type TtlMs } from '../../locks/lock.js'
import type { LockService } from '../../locks/lock-service.js'
import { LOCK_LIST_LIMIT } from '../../locks/lock-store.js'
import { fromCursor, toCursor } from '../cursor.js'
import { InvalidRequestError } from '../errors.js'
import { lockSchemas } from '../schemas/locks.js'
import { isoTime, isoTimeOrNull, secondsUntil } from '../time.js'

export interface LockRoutesOptions {
  readonly locks: LockService
  readonly maxTtlSeconds: number
}

/** The mirrored API: request, release, status, all-locked. */
export const lockRoutes: FastifyPluginCallbackTypebox<LockRoutesOptions> = (app, { locks, maxTtlSeconds }, done) => {
  const schemas = lockSchemas(maxTtlSeconds)

  app.post('/locks/request', { schema: schemas.request }, async ({ body }, reply) => {
    const outcome = await locks.request({
      resourceName: body.resource_name,
      processId: body.process_id,
      ttlMs: ttlOf(body.ttl_seconds),
      metadata: metadataOf(body.metadata)
    })
    if (outcome.kind === 'held') {
      const after = secondsUntil(outcome.by.expiresAt, outcome.at)
      if (after !== null) void reply.header('retry-after', Math.max(1, Math.ceil(after)))
      return reply.code(409).send(heldBody(outcome))
    }
    return {
      success: true as const,
      message: `Lock acquired successfully for resource '${body.resource_name}'`,
      data: grantBody(outcome.grant)
    }
  })

  app.delete('/locks/release', { schema: schemas.release }, async ({ query }, reply) => {
    const { resource_name, process_id, lock_id } = query
    const outcome = await locks.release({ resourceName: resource_name, processId: process_id, lockId: lock_id })
    if (outcome.kind === 'not-held') {
      return reply.code(404).send({
        detail: `No active lock found for resource '${resource_name}' by process '${process_id}'`,
        code: 'LOCK_NOT_HELD',
        reason: outcome.reason
      })
    }
    return {
      success: true as const,
      message: `Lock released successfully for resource '${resource_name}'`,
      data: { resource_name, process_id, released_at: isoTime(outcome.releasedAt) }
    }
  })

  app.get('/locks/status', { schema: schemas.status }, async ({ query }) => {
    const { at, grant } = await locks.inspect(query.resource_name)
    return {
      success: true as const,
      message:
        grant === null
          ? `Resource '${query.resource_name}' is not locked`
          : `Resource '${query.resource_name}' status retrieved successfully`,
      data: {
        resource_name: query.resource_name,
        is_locked: grant !== null,
        locked_by: grant?.processId ?? null,
        locked_at: isoTimeOrNull(grant?.lockedAt ?? null),
        expires_at: isoTimeOrNull(grant?.expiresAt ?? null),
        lock_id: grant?.lockId ?? null,
        fencing_token: grant?.lockId ?? null,
        remaining_seconds: secondsUntil(grant?.expiresAt ?? null, at),
        metadata: grant?.metadata ?? null,
        waiters: 0
      }
    }
  })

  app.get('/locks/all-locked', { schema: schemas.allLocked }, async ({ query }) => {
    const { prefix = '', process_id = null, limit = LOCK_LIST_LIMIT, cursor } = query
    const after = cursor === undefined ? null : placeOf(cursor)
    const page = await locks.list({ prefix, processId: process_id, after, limit })
    const last = page.grants.at(-1)
    return {
      success: true as const,
      message: `Retrieved ${page.total} active locks`,
      data: {
        total_locks: page.total,
        locks: page.grants.map((grant) => ({ id: grant.lockId, ...grantBody(grant) })),
        next_cursor: page.more && last !== undefined ? toCursor(last.resourceName) : null
      }
    }
  })

  done()
}

function grantBody(grant: Grant) {
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

function heldBody({ by, at }: Extract<AcquireOutcome, { kind: 'held' }>) {
  return {
    detail: `Resource '${by.resourceName}' is already locked by process '${by.processId}'`,
    code: 'RESOURCE_LOCKED' as const,
    resource_name: by.resourceName,
    locked_by: by.processId,
    lock_id: by.lockId,
    locked_at: isoTime(by.lockedAt),
    expires_at: isoTimeOrNull(by.expiresAt),
    retry_after_seconds: secondsUntil(by.expiresAt, at),
    waiters: 0
  }
}

function ttlOf(seconds: number | null | undefined): TtlMs | undefined {
  return typeof seconds === 'number' ? ttlFromSeconds(seconds) : seconds
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

function placeOf(cursor: string): string {
  const name = fromCursor(cursor)
  if (name !== undefined) return name
  throw new InvalidRequestError([
    { type: 'value_error', loc: ['query', 'cursor'], msg: 'Input should be the next_cursor of an earlier page' }
  ])
}
