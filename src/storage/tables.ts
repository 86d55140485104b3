import type { Generated, SqlBool } from 'kysely'
import type { EndReason } from '../locks/ended-grant.js'
import type { EventKind } from '../locks/store.js'

/**
 * One row per resource that is locked or was a while ago.
 *
 * A row is *granted* and *ended*; being granted again overwrites it. A granted row whose `expires_at` has passed counts as
 * ended although nobody has written that down yet. Earlier versions also laid rows that were never granted, with the id 0.
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
  /** When the history last told of the grant. */
  told_at: number | null
  /** The expired grant that the latest one was made over, where its end had not been written down: its number, holder and expiry. */
  passed_id: number | null
  passed_process_id: string | null
  passed_at: number | null
  /** The name of the key that the latest grant was taken with; null where it was taken without one. */
  api_key: string | null
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
}

/** In place of `lease_until`: the process left all queues. The row stays until its waiter has learnt of it. */
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
  lock_numbers: LockNumbersTable
  lock_events: LockEventsTable
  lock_requests: LockRequestsTable
  lock_waiters: LockWaitersTable
  lock_instances: LockInstancesTable
  api_keys: ApiKeysTable
}
