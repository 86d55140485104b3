import type { LatestGrant } from '../locks/ended-grant.js'
import type { EpochMs, Grant, Metadata, ProcessId, ResourceName } from '../locks/lock.js'
import type { ResourceLocksTable } from './tables.js'

/** How long an ended row stays to tell why a late release was refused, in milliseconds. */
export const KEEP_ENDED_MS = 10 * 60_000

/** What every statement that reads a lock selects. */
export const GRANT_COLUMNS = ['id', 'resource_name', 'process_id', 'locked_at', 'expires_at', 'metadata'] as const
export const LATEST_COLUMNS = [...GRANT_COLUMNS, 'is_active', 'end_reason'] as const

export type GrantRow = Pick<ResourceLocksTable, (typeof GRANT_COLUMNS)[number]>
export type LatestRow = Pick<ResourceLocksTable, (typeof LATEST_COLUMNS)[number]>

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

/** Undefined for a row that was only placed, never granted. */
export function latestFromRow(row: LatestRow | undefined): LatestGrant | undefined {
  if (row === undefined || row.id === 0) return undefined
  return { ...grantFromRow(row), ended: row.is_active ? null : (row.end_reason ?? 'released') }
}

export function metadataToText(metadata: Metadata | null): string | null {
  return metadata === null ? null : JSON.stringify(metadata)
}

export function leaseEnd(from: EpochMs, ttlMs: number | null): EpochMs | null {
  return ttlMs === null ? null : from + ttlMs
}
