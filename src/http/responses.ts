import type { FastifyReply } from 'fastify'
import type { AcquireOutcome, Conflict, Usage } from '../locks/commands.js'
import { type EpochMs, faultOfName, type Grant, type NotHeldReason, type Share, type Sharing, ttlFromSeconds, type TtlMs } from '../locks/lock.js'
import { placeAfter, type ListedGrant, type ListPlace, type LockEvent, type QueuedRequest } from '../locks/store.js'
import { InvalidRequestError } from './errors.js'

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
    metadata: grant.metadata,
    ...shareBody(grant.share)
  }
}

function shareBody(share: Share | undefined) {
  return share === undefined ? {} : { mode: 'shared' as const, limit: share.limit, permits: share.permits, slots: [...share.slots] }
}

/** Only where it is so: nobody holds the resource, and nobody is granted it before the end. */
function keptBody(kept: true | undefined) {
  return kept === undefined ? {} : { kept }
}

function usageBody(usage: Usage | undefined) {
  return usage === undefined ? {} : { holders: usage.holders, used: usage.used, limit: usage.limit }
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

export function waiterBody({ position, processId, sharing, queuedAt, keptUntil }: QueuedRequest) {
  const asked = { mode: sharing === null ? ('exclusive' as const) : ('shared' as const), limit: sharing?.limit ?? null, permits: sharing?.permits ?? null }
  return { position, process_id: processId, waiting_since: isoTimeOrNull(queuedAt), kept_until: isoTimeOrNull(keptUntil), ...asked }
}

type Held = Extract<AcquireOutcome, { kind: 'held' }>

/** The refusal of a request for a held resource. Of several conflicts the one that lasts longest speaks for all. */
export function heldBody({ conflicts, at, waiters, queuePosition }: Held & { queuePosition?: number }, reply: FastifyReply) {
  const by = lastToEnd(conflicts)
  const after = secondsUntil(by.expiresAt, at)
  if (after !== null) void reply.header('retry-after', Math.max(1, Math.ceil(after)))
  return {
    detail: by.kept === true ? `Resource '${by.resourceName}' is kept for a while after the lock of process '${by.processId}'` : `Resource '${by.resourceName}' is already locked by process '${by.processId}'`,
    code: 'RESOURCE_LOCKED' as const,
    resource_name: by.resourceName,
    locked_by: by.processId,
    // A free resource that is kept for the first in line has no lock yet.
    lock_id: by.lockId === 0 ? null : by.lockId,
    locked_at: isoTimeOrNull(by.lockedAt),
    expires_at: isoTimeOrNull(by.expiresAt),
    retry_after_seconds: after,
    waiters,
    ...keptBody(by.kept),
    ...usageBody(by.usage),
    ...(queuePosition === undefined ? {} : { queue_position: queuePosition })
  }
}

function lastToEnd(conflicts: readonly Conflict[]): Conflict {
  return conflicts.reduce((last, grant) => (endOf(grant) > endOf(last) ? grant : last))
}

function endOf({ lockId, expiresAt }: Conflict): EpochMs {
  return lockId === 0 ? 0 : (expiresAt ?? Number.POSITIVE_INFINITY)
}

export function conflictBody({ resourceName, processId, lockId, expiresAt, kept, usage }: Conflict) {
  return { resource_name: resourceName, locked_by: processId, lock_id: lockId === 0 ? null : lockId, expires_at: isoTimeOrNull(expiresAt), ...keptBody(kept), ...usageBody(usage) }
}

export function freeAtBody({ freeAt }: { readonly freeAt?: EpochMs | undefined }) {
  return freeAt === undefined ? {} : { free_at: isoTime(freeAt) }
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

/** `2024-01-15T10:30:00.123+00:00`: an explicit offset, since Python before 3.11 cannot read a `Z`. */
export function isoTime(at: EpochMs): string {
  const second = Math.floor(at / 1000)
  let text = SECONDS.get(second)
  if (text === undefined) {
    if (SECONDS.size >= MAX_SECONDS) SECONDS.clear()
    text = new Date(second * 1000).toISOString().slice(0, -'000Z'.length)
    SECONDS.set(second, text)
  }
  return `${text}${String(at - second * 1000).padStart(3, '0')}+00:00`
}

/** The texts of some seconds: nearly all times in a second's answers lie in few of them, and `Date` is slow. */
const SECONDS = new Map<number, string>()
const MAX_SECONDS = 1000

export function isoTimeOrNull(at: EpochMs | null): string | null {
  return at === null ? null : isoTime(at)
}

/** The fields of a body that say what is asked of a resource. */
export interface SharingBody {
  readonly mode?: 'exclusive' | 'shared'
  readonly limit?: number | null
  readonly permits?: number
}

/**
 * What share is asked for; null for all of the resource.
 *
 * @param loc where the fields are.
 * @throws InvalidRequestError for fields that contradict each other.
 */
export function sharingOf({ mode, limit = null, permits }: SharingBody, loc: readonly (string | number)[] = ['body']): Sharing | null {
  const fault = (field: string, type: string, msg: string) => new InvalidRequestError([{ type, loc: [...loc, field], msg }])
  if (mode === 'exclusive' && limit !== null) throw fault('limit', 'value_error', "Input should be left out with the mode 'exclusive'")
  if (permits !== undefined && limit === null) throw fault('permits', 'value_error', 'Input should be left out without a limit')
  if (permits !== undefined && limit !== null && permits > limit) throw fault('permits', 'less_than_equal', `Input should be less than or equal to ${limit}, the limit`)
  return mode === 'shared' || limit !== null ? { limit, permits: permits ?? 1 } : null
}

/** Seconds from one instant to a later one, with milliseconds, never below 0; null when the later one never comes. */
export function secondsUntil(later: EpochMs | null, from: EpochMs): number | null {
  return later === null ? null : Math.max(0, later - from) / 1000
}

/** A place in a list, opaque to callers: the last name or event that they have seen. */
export function toCursor(last: string): string {
  return Buffer.from(last, 'utf8').toString('base64url')
}

/** No name has a line break. */
export function cursorAfter(grants: readonly Grant[]): string | null {
  const place = placeAfter(grants)
  return place === null ? null : toCursor(`${place.name}\n${place.lockId}`)
}

/** @throws InvalidRequestError when the text is no cursor of a list of locks. */
export function placeFromCursor(cursor: string): ListPlace {
  // A cursor of an earlier version is the name alone.
  const [name = '', number = String(Number.MAX_SAFE_INTEGER), ...others] = decode(cursor)?.split('\n') ?? []
  const lockId = Number(number)
  if (faultOfName(name) !== undefined || !/^[1-9][0-9]{0,15}$/.test(number) || !Number.isSafeInteger(lockId) || others.length > 0) throw notACursor()
  return { name, lockId }
}

/** @throws InvalidRequestError when the text is no cursor of the history. */
export function eventFromCursor(cursor: string): number {
  const id = decode(cursor)
  if (id === undefined || !/^[1-9][0-9]{0,15}$/.test(id)) throw notACursor()
  return Number(id)
}

function decode(cursor: string): string | undefined {
  const text = Buffer.from(cursor, 'base64url').toString('utf8')
  return toCursor(text) === cursor ? text : undefined
}

function notACursor(): InvalidRequestError {
  return new InvalidRequestError([
    { type: 'value_error', loc: ['query', 'cursor'], msg: 'Input should be the next_cursor of an earlier page' }
  ])
}
