import { sql, type Migration } from 'kysely'
import type { DialectName } from './dialect.js'

/**
 * One row per resource that is locked or was a while ago, and where the numbers of the grants come from: a sequence in
 * PostgreSQL, a row in SQLite.
 *
 * Times are milliseconds since 1970 UTC. The index on the process has no condition on purpose: in PostgreSQL a release
 * then changes no indexed column and stays a heap-only update.
 */
export function resourceLocks(dialect: DialectName): Migration {
  // Names are compared and sorted bytewise in both databases.
  const text = dialect === 'postgres' ? sql`text collate "C"` : sql`text`
  return {
    async up(db) {
      await db.schema
        .createTable('resource_locks')
        .addColumn('resource_name', text, (column) => column.primaryKey().notNull())
        .addColumn('id', 'bigint', (column) => column.notNull())
        .addColumn('process_id', text, (column) => column.notNull())
        .addColumn('locked_at', 'bigint', (column) => column.notNull())
        .addColumn('expires_at', 'bigint')
        .addColumn('is_active', 'boolean', (column) => column.notNull())
        .addColumn('ttl_ms', 'bigint')
        .addColumn('metadata', 'text')
        .addColumn('ended_at', 'bigint')
        .addColumn('end_reason', 'text')
        .addColumn('sweep_at', 'bigint')
        .modifyEnd(dialect === 'postgres' ? sql`with (fillfactor = 70)` : sql`without rowid`)
        .execute()
      await sql`create index resource_locks_sweep_at on resource_locks (sweep_at) where sweep_at is not null`.execute(db)
      await db.schema
        .createIndex('resource_locks_process_id')
        .on('resource_locks')
        .columns(['process_id', 'resource_name'])
        .execute()

      if (dialect === 'postgres') {
        await sql`create sequence lock_numbers`.execute(db)
      } else {
        await db.schema
          .createTable('lock_numbers')
          .addColumn('last_value', 'bigint', (column) => column.notNull())
          .execute()
        await sql`insert into lock_numbers (last_value) values (0)`.execute(db)
      }
    }
  }
}
