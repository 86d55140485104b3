import { sql, type Migration } from 'kysely'
import type { DialectName } from './dialect.js'

/** Above every instant: in an index, the end of a lease that never ends. */
export const NEVER = Number.MAX_SAFE_INTEGER

/**
 * Shares of a resource. Its row in `resource_locks` is then *closed*: active, with an empty process id, until the last share ends.
 * An instance of an earlier version finds a closed row held, and grants nothing beside it.
 *
 * The columns of `resource_locks` sum up the shares of the present period, so that a grant costs the same beside ten and beside
 * a thousand. They mean something only while the row is closed.
 */
export function lockShares(dialect: DialectName): Migration {
  const text = dialect === 'postgres' ? sql`text collate "C"` : sql`text`
  return {
    async up(db) {
      for (const column of ['shared_from', 'share_count', 'share_permits', 'share_limit', 'share_check_at'] as const) {
        await db.schema.alterTable('resource_locks').addColumn(column, 'bigint').execute()
      }
      await db.schema.alterTable('resource_locks').addColumn('share_slots', 'text').execute()
      await db.schema
        .createTable('lock_shares')
        .addColumn('resource_name', text, (column) => column.notNull())
        .addColumn('process_id', text, (column) => column.notNull())
        .addColumn('id', 'bigint', (column) => column.notNull())
        .addColumn('permits', 'bigint', (column) => column.notNull())
        .addColumn('allows', 'bigint')
        .addColumn('slots', 'text')
        .addColumn('locked_at', 'bigint', (column) => column.notNull())
        .addColumn('expires_at', 'bigint')
        .addColumn('is_active', 'boolean', (column) => column.notNull())
        .addColumn('ttl_ms', 'bigint')
        .addColumn('metadata', 'text')
        .addColumn('renewals', 'bigint', (column) => column.notNull().defaultTo(0))
        .addColumn('ended_at', 'bigint')
        .addColumn('end_reason', 'text')
        .addColumn('sweep_at', 'bigint')
        .addColumn('told_at', 'bigint')
        .addColumn('api_key', text)
        .addPrimaryKeyConstraint('lock_shares_pkey', ['resource_name', 'process_id'])
        .$call((table) => (dialect === 'postgres' ? table.modifyEnd(sql`with (fillfactor = 70)`) : table))
        .execute()
      await sql`create index lock_shares_end on lock_shares (resource_name, coalesce(expires_at, ${sql.lit(NEVER)})) where is_active`.execute(db)
      await sql`create index lock_shares_allows on lock_shares (resource_name, allows) where is_active and allows is not null`.execute(db)
      await sql`create index lock_shares_process_id on lock_shares (process_id, resource_name) where is_active`.execute(db)
      await sql`create index lock_shares_sweep_at on lock_shares (sweep_at) where sweep_at is not null`.execute(db)
      // A waiter for all of the resource allows 1 and has no permits; so do those of earlier versions.
      await db.schema.alterTable('lock_waiters').addColumn('allows', 'bigint', (column) => column.defaultTo(1)).execute()
      await db.schema.alterTable('lock_waiters').addColumn('permits', 'bigint').execute()
    }
  }
}
