import type { Conflict, NotHeldReason } from '../locks/commands.js'
import { isValid, type LatestGrant } from '../locks/ended-grant.js'
import type { EpochMs, Grant, Metadata, ProcessId, ResourceName, TtlMs } from '../locks/lock.js'
import type { LockEventsTable, ResourceLocksTable } from './tables.js'

/** How long an ended row stays to tell why a late release was refused, in milliseconds. */
export const KEEP_ENDED_MS = 10 * 60_000

/** How long a request's id is remembered at least, in milliseconds. */
export const KEEP_REQUEST_MS = 10 * 60_000

/** A grant's renewals are told in the history at most this often, in milliseconds: enough to see that a holder lives. */
export const RENEWAL_EVENT_INTERVAL_MS = 60_000

/** What every statement that reads a lock selects. */
export const GRANT_COLUMNS = ['id', 'resource_name', 'process_id', 'locked_at', 'expires_at', 'metadata'] as const
export const LATEST_COLUMNS = [...GRANT_COLUMNS, 'is_active', 'end_reason', 'api_key'] as const
export const EXPIRED_PREDECESSOR_COLUMNS = ['passed_id', 'passed_process_id', 'passed_at'] as const

export type GrantRow = Pick<ResourceLocksTable, (typeof GRANT_COLUMNS)[number]>
export type LatestRow = Pick<ResourceLocksTable, (typeof LATEST_COLUMNS)[number]>
export type EventRow = Omit<LockEventsTable, 'id'>

/** What a store knows of one resource at one instant of the database's clock. */
export interface LockSnapshot {
  readonly at: EpochMs
  readonly latest: LatestGrant | undefined
}

// The names in these rows passed the parsers on their way in.
export function grantFromRow(row: GrantRow): Grant {
  return {
    lockId: row.id,
    resourceName: row.resource_name as ResourceName,
    processId: row.process_id as ProcessId,
    lockedAt: row.locked_at,
    expiresAt: row.expires_at,
    metadata: row.metadata === null ? null : (JSON.parse(row.metadata) as Metadata)
  }
}

/** Undefined for a row that was never granted. */
export function latestFromRow(row: LatestRow | undefined): LatestGrant | undefined {
  if (row === undefined || row.id === 0) return undefined
  return Object.assign(grantFromRow(row), { ended: row.is_active ? null : (row.end_reason ?? 'released'), key: row.api_key })
}

/** A valid grant as it stands in the way of a request. */
export function conflictOf({ resourceName, processId, lockId, lockedAt, expiresAt }: Grant): Conflict {
  return { resourceName, processId, lockId, lockedAt, expiresAt }
}

export function metadataToText(metadata: Metadata | null): string | null {
  return metadata === null ? null : JSON.stringify(metadata)
}

export function leaseEnd(from: EpochMs, ttlMs: TtlMs): EpochMs | null {
  return ttlMs === null ? null : from + ttlMs
}

/** A request that was granted, as it is remembered. */
export interface SavedRequest {
  readonly fingerprint: string
  readonly grants: readonly (readonly [name: string, lockId: number])[]
  readonly until: EpochMs
}

export function grantsToText(grants: readonly Grant[]): string {
  return JSON.stringify(grants.map(({ resourceName, lockId }) => [resourceName, lockId]))
}

/**
 * What a remembered request means for one that bears its id.
 *
 * @param snapshots of each resource that it was granted.
 * @returns the grants to answer with again, `reused` where the id must be refused, or undefined where it is forgotten.
 */
export function replayOf(
  savedRequest: SavedRequest,
  fingerprint: string,
  snapshots: ReadonlyMap<string, LockSnapshot>
): readonly Grant[] | 'reused' | undefined {
  const held: Grant[] = []
  let at = 0
  for (const [name, lockId] of savedRequest.grants) {
    const snapshot = snapshots.get(name)
    at = Math.max(at, snapshot?.at ?? 0)
    if (snapshot !== undefined && isValid(snapshot.latest, snapshot.at) && snapshot.latest.lockId === lockId) held.push(snapshot.latest)
  }
  const allHeld = held.length === savedRequest.grants.length
  if (allHeld) return savedRequest.fingerprint === fingerprint ? held : 'reused'
  return held.length === 0 && savedRequest.until <= at ? undefined : 'reused'
}

export interface NotHeld {
  readonly kind: 'not-held'
  readonly reason: NotHeldReason
}
