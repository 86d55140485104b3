import type { Conflict, NotHeldReason } from '../locks/commands.js'
import { isValid, type LatestGrant } from '../locks/ended-grant.js'
import type { EpochMs, Grant, Metadata, ProcessId, ResourceName, TtlMs } from '../locks/lock.js'
import type { LockEventsTable, ResourceLocksTable } from './tables.js'

/** How long an ended row stays to tell why a late release was refused, in milliseconds. */
export const KEEP_ENDED_MS = 10 * 60_000

/** How long a request's id is remembered at least, in milliseconds. */
export const REMEMBER_MS = 10 * 60_000

/** A grant's renewals are told in the history at most this often, in milliseconds: enough to see that a holder lives. */
export const TELL_RENEWALS_EVERY_MS = 60_000

/** What every statement that reads a lock selects. */
export const GRANT_COLUMNS = ['id', 'resource_name', 'process_id', 'locked_at', 'expires_at', 'metadata'] as const
export const LATEST_COLUMNS = [...GRANT_COLUMNS, 'is_active', 'end_reason', 'api_key'] as const
export const PASSED_COLUMNS = ['passed_id', 'passed_process_id', 'passed_at'] as const

export type GrantRow = Pick<ResourceLocksTable, (typeof GRANT_COLUMNS)[number]>
export type LatestRow = Pick<ResourceLocksTable, (typeof LATEST_COLUMNS)[number]>
export type EventRow = Omit<LockEventsTable, 'id'>

/** What a store knows of one resource at one instant of the database's clock. */
export interface Glance {
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
export interface Remembered {
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
 * @param glances of each resource that it was granted.
 * @returns the grants to answer with again, `reused` where the id must be refused, or undefined where it is forgotten.
 */
export function recognise(
  remembered: Remembered,
  fingerprint: string,
  glances: ReadonlyMap<string, Glance>
): readonly Grant[] | 'reused' | undefined {
  const held: Grant[] = []
  let at = 0
  for (const [name, lockId] of remembered.grants) {
    const glance = glances.get(name)
    at = Math.max(at, glance?.at ?? 0)
    if (glance !== undefined && isValid(glance.latest, glance.at) && glance.latest.lockId === lockId) held.push(glance.latest)
  }
  const allHeld = held.length === remembered.grants.length
  if (allHeld) return remembered.fingerprint === fingerprint ? held : 'reused'
  return held.length === 0 && remembered.until <= at ? undefined : 'reused'
}

export interface NotHeld {
  readonly kind: 'not-held'
  readonly reason: NotHeldReason
}
