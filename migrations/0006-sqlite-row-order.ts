import { sql, type Migration } from 'kysely'
import type { DialectName } from './dialect.js'

/**
 * SQLite only: lays the rows in the order in which they came instead of that of their names, and indexes the process of
 * active locks alone.
 *
 * A commit writes each page that it touched whole. In name order every lock of a batch stood on a page of its own, and
 * once more in the index of the processes; now new rows share their pages, and the index is as small as what is held.
 */
export function sqliteRowOrder(dialect: DialectName): Migration {
  return {
    async up(db) {
      if (dialect !== 'sqlite') return
      await sql`alter table resource_locks rename to resource_locks_by_name`.execute(db)
      await db.schema
        .createTable('resource_locks')
        .addColumn('resource_name', 'text', (column) => column.notNull().unique())
        .addColumn('id', 'bigint', (column) => column.notNull())
        .addColumn('process_id', 'text', (column) => column.notNull())
        .addColumn('locked_at', 'bigint', (column) => column.notNull())
        .addColumn('expires_at', 'bigint')
        .addColumn('is_active', 'boolean', (column) => column.notNull())
        .addColumn('ttl_ms', 'bigint')
        .addColumn('metadata', 'text')
        .addColumn('ended_at', 'bigint')
        .addColumn('end_reason', 'text')
        .addColumn('sweep_at', 'bigint')
        .addColumn('told_at', 'bigint')
        .addColumn('passed_id', 'bigint')
        .addColumn('passed_process_id', 'text')
        .addColumn('passed_at', 'bigint')
        .execute()
      // The columns of both stand in the same order.
      await sql`insert into resource_locks select * from resource_locks_by_name`.execute(db)
      await db.schema.dropTable('resource_locks_by_name').execute()
      await sql`create index resource_locks_sweep_at on resource_locks (sweep_at) where sweep_at is not null`.execute(db)
      await sql`create index resource_locks_process_id on resource_locks (process_id, resource_name) where is_active`.execute(db)
    }
  }
}
