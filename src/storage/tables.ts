import type { SqlBool } from 'kysely'

/**
 * One row per resource that is locked or was a while ago.
 *
 * A row is *placed* (id 0, never granted), *granted*, and *ended*; being granted again overwrites it. A granted row whose
 * `expires_at` has passed counts as ended although nobody has written that down yet.
 */
export interface ResourceLocksTable {
  resource_name: string
  /** The number of the latest grant; 0 where there was none yet. */
  id: number
  process_id: string
  locked_at: number
  expires_at: number | null
  is_active: SqlBool
  ttl_ms: number | null
  metadata: string | null
  ended_at: number | null
  end_reason: 'released' | 'expired' | null
  /** When the sweeper should look at the row: never later than it has to, sometimes sooner. Null: there is nothing to do. */
  sweep_at: number | null
}

/** SQLite only: the largest number that was ever granted. PostgreSQL has a sequence of the same name. */
export interface LockNumbersTable {
  last_value: number
}

export interface Tables {
  resource_locks: ResourceLocksTable
  lock_numbers: LockNumbersTable
}
