import { type Generated, type SqlBool, sql, type Compilable, type CompiledQuery, type RawBuilder } from 'kysely'
import type { Conflict } from '../locks/commands.js'
import type { EndReason, LatestGrant, EpochMs, Grant, Metadata, ProcessId, ResourceName, TtlMs, LockSnapshot } from '../locks/lock.js'
import type { EventKind } from '../locks/store.js'

/**
 * One row per resource that is locked or was a while ago.
 *
 * A row that is granted to the process {@link NOBODY} is *closed*: its shares hold it, see {@link LockSharesTable}. No process has
 * that id, so that no release, renewal or grant of the whole resource can touch a closed row. A grant of all of the resource with
 * terms about its end is such a share too, so that the statements for plain grants need not know of terms.
 *
 * A row is *granted* and *ended*; the next grant overwrites it. A granted row whose `expires_at` has passed counts as ended
 * even if that is not written yet. Earlier versions also inserted rows that were never granted, with the id 0.
 */
export interface ResourceLocksTable {
  resource_name: string
  /** The number of the latest grant; 0 where there was none yet. */
  id: number
  process_id: string
  locked_at: number
  expires_at: number | null
  is_active: SqlBool
  /** The lease with which the grant was made; a renewal that names none takes it. */
  ttl_ms: number | null
  metadata: string | null
  ended_at: number | null
  end_reason: EndReason | null
  /** When the sweeper should look at the row: never later than it has to, sometimes sooner. Null: there is nothing to do. */
  sweep_at: number | null
  /** How often the grant was renewed. */
  renewals: Generated<number>
  /** When the grant's last event was appended to the history. */
  told_at: number | null
  /** The expired predecessor of the latest grant, if its end had not been written yet: its number, holder and expiry. */
  passed_id: number | null
  passed_process_id: string | null
  passed_at: number | null
  /** The name of the key that the latest grant was taken with; null where it was taken without one. */
  api_key: string | null
  /** The number of the first share of the present period. This column and the next ones mean something only in a closed row. */
  shared_from: number | null
  /** How many shares are active, those included that expired and are not marked yet; their permits; their smallest limit. */
  share_count: number | null
  share_permits: number | null
  share_limit: number | null
  /** No active share ends earlier; null: none ends. */
  share_check_at: number | null
  /** The slots that are taken, as bits from slot 1 on, in base64. */
  share_slots: string | null
}

/** In place of a process id: the resource is held by its shares. */
export const NOBODY = ''

/**
 * One row for each process that has a share of a resource or had one a while ago. A share is valid while it is active, its lease
 * lasts, the row of its resource is closed and valid, and its number is not below `shared_from`. It changes only together with
 * that row, and while that row is locked.
 */
export interface LockSharesTable {
  resource_name: string
  process_id: string
  id: number
  permits: number
  /** Its limit; null for none. */
  allows: number | null
  /** As `1-3,7`; null for none. */
  slots: string | null
  locked_at: number
  expires_at: number | null
  is_active: SqlBool
  ttl_ms: number | null
  metadata: string | null
  renewals: Generated<number>
  ended_at: number | null
  end_reason: EndReason | null
  sweep_at: number | null
  told_at: number | null
  api_key: string | null
  /** A grant of all of the resource that says something about its end. */
  is_exclusive: SqlBool
  /** When the lease ends or ended, where the permits stay taken until `expires_at`: for a lock delay, or kept after a release. */
  held_until: number | null
  delay_ms: number | null
  hold_at_least_ms: number | null
  /** No renewal moves the end of the lease past it. */
  revoke_at: number | null
  revoke_reason: string | null
}

/** SQLite only: the largest number that was ever granted. PostgreSQL has a sequence of the same name. */
export interface LockNumbersTable {
  last_value: number
}

export interface LockEventsTable {
  id: Generated<number>
  at: number
  kind: EventKind
  resource_name: string
  lock_id: number
  process_id: string
  reason: string | null
}

export interface LockRequestsTable {
  request_id: string
  fingerprint: string
  /** JSON: `[[name, number], …]`. */
  grants: string
  remembered_until: number
  /** A repetition was answered with the grants. */
  claimed: Generated<SqlBool>
}

/** One row for each resource that a waiting request wants. */
export interface LockWaitersTable {
  resource_name: string
  ticket: number
  process_id: string
  instance: string
  request_id: string | null
  fingerprint: string | null
  /** Until when the place is kept for a request that is to come back; null: as long as the instance lives; {@link DEQUEUED}. */
  lease_until: number | null
  /** When the place was taken; null: by a version that did not write it down. */
  queued_at: number | null
  /** The name of the key that the request was made with; null: with none, or by a version that did not write it down. */
  api_key: string | null
  /** The limit of the share that is asked for; null: it has none. 1 for all of the resource. */
  allows: Generated<number | null>
  /** The permits of the share; null: all of the resource is asked for. */
  permits: Generated<number | null>
}

/** In place of `lease_until`: the process left all queues. The row stays until its waiter has seen it. */
export const DEQUEUED = 0

/** PostgreSQL only: until when an instance counts as alive without a further sign. */
export interface LockInstancesTable {
  instance: string
  lease_until: number
}

export interface ApiKeysTable {
  id: Generated<number>
  /** Keys of one name follow each other: what was taken with one belongs to all of them. */
  name: string
  /** SHA-256 of the key, in hexadecimal digits. */
  digest: string
  /** Joined by commas. */
  scopes: string
  /** Only resources whose names begin with it; empty for all. */
  prefix: string
  created_at: number
  expires_at: number | null
  revoked_at: number | null
}

export interface Tables {
  resource_locks: ResourceLocksTable
  lock_shares: LockSharesTable
  lock_numbers: LockNumbersTable
  lock_events: LockEventsTable
  lock_requests: LockRequestsTable
  lock_waiters: LockWaitersTable
  lock_instances: LockInstancesTable
  api_keys: ApiKeysTable
}

/** How long an ended row stays, so that a late release can be refused with its reason, in milliseconds. */
export const KEEP_ENDED_MS = 10 * 60_000

/** How long a request is saved at least, in milliseconds. */
export const KEEP_REQUEST_MS = 10 * 60_000

/** The shortest interval between two renewals of a grant in the history, in milliseconds: enough to see that a holder lives. */
export const RENEWAL_EVENT_INTERVAL_MS = 60_000

/** What every statement that reads a lock selects. */
export const GRANT_COLUMNS = ['id', 'resource_name', 'process_id', 'locked_at', 'expires_at', 'metadata'] as const
export const LATEST_COLUMNS = [...GRANT_COLUMNS, 'is_active', 'end_reason', 'api_key'] as const
export const EXPIRED_PREDECESSOR_COLUMNS = ['passed_id', 'passed_process_id', 'passed_at'] as const

export type GrantRow = Pick<ResourceLocksTable, (typeof GRANT_COLUMNS)[number]>
export type LatestRow = Pick<ResourceLocksTable, (typeof LATEST_COLUMNS)[number]>
export type EventRow = Omit<LockEventsTable, 'id'>

/** Whether shares hold the resource, or were the last to hold it. */
export function wasShared(snapshot: LockSnapshot | undefined): boolean {
  try {
    return snapshot?.latest?.processId === NOBODY
  } catch {
    // A row that cannot be read is for its own commands to report.
    return false
  }
}

// The parsers have checked every name that is stored.
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

/** A valid grant as the conflict of a request. */
export function conflictOf({ resourceName, processId, lockId, lockedAt, expiresAt }: Grant): Conflict {
  return { resourceName, processId, lockId, lockedAt, expiresAt }
}

export function metadataToText(metadata: Metadata | null): string | null {
  return metadata === null ? null : JSON.stringify(metadata)
}

export function leaseEnd(from: EpochMs, ttlMs: TtlMs): EpochMs | null {
  return ttlMs === null ? null : from + ttlMs
}

export function grantsToText(grants: readonly Grant[]): string {
  return JSON.stringify(grants.map(({ resourceName, lockId }) => [resourceName, lockId]))
}

/** A query that Kysely compiled once; only its arguments change from run to run. */
export interface Statement<Args> {
  readonly sql: string
  /** The arguments in the order in which the SQL text wants them. */
  readonly bind: (args: Args) => unknown[]
}

class Slot {
  readonly name: string
  constructor(name: string) {
    this.name = name
  }
}

/**
 * Compiles a query whose arguments are named and come later.
 *
 * ```ts
 * const byName = statement<{ name: string }>((arg) =>
 *   db.selectFrom('resource_locks').selectAll().where('resource_name', '=', arg('name')))
 * database.prepare(byName.sql).get(byName.bind({ name: 'invoices' }))
 * ```
 */
export function statement<Args extends object>(
  build: (arg: <Name extends keyof Args & string>(name: Name) => RawBuilder<Args[Name]>) => Compilable | CompiledQuery
): Statement<Args> {
  const built = build((name) => sql`${new Slot(name)}`)
  const { sql: text, parameters } = 'compile' in built ? built.compile() : built
  return {
    sql: text,
    bind: (args) => parameters.map((value) => (value instanceof Slot ? args[value.name as keyof Args] : value))
  }
}

/** A row as an object, from its values in the order of the columns. */
export function toRow(columns: readonly string[], values: readonly unknown[]): Record<string, unknown> {
  const row: Record<string, unknown> = {}
  columns.forEach((column, index) => {
    row[column] = values[index]
  })
  return row
}

/** The name begins with that prefix, as a range that an index can be searched for. */
export function beginsWith(name: string, prefix: string): RawBuilder<SqlBool> {
  const end = endOfPrefix(prefix)
  const after = sql<SqlBool>`${sql.ref(name)} >= ${prefix}`
  return end === undefined ? after : sql<SqlBool>`(${after} and ${sql.ref(name)} < ${end})`
}

/** The smallest text that sorts after every text with that prefix, bytewise in UTF-8; undefined when there is none. */
function endOfPrefix(prefix: string): string | undefined {
  const points = Array.from(prefix, (character) => character.codePointAt(0) ?? 0)
  while (points.at(-1) === 0x10ffff) points.pop()
  const last = points.pop()
  if (last === undefined) return undefined
  // Surrogates are not characters.
  const next = last + 1 === 0xd800 ? 0xe000 : last + 1
  return String.fromCodePoint(...points, next)
}
