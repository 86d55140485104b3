import { sql, type Migration } from 'kysely'
import type { DialectName } from './dialect.js'

/** The history: one row for each thing that happened to a grant, written in the transaction that made it happen. */
export function lockEvents(dialect: DialectName): Migration {
  const text = dialect === 'postgres' ? sql`text collate "C"` : sql`text`
  return {
    async up(db) {
      await db.schema
        .createTable('lock_events')
        .addColumn('id', dialect === 'postgres' ? sql`bigint generated always as identity` : 'integer', (column) => column.primaryKey())
        .addColumn('at', 'bigint', (column) => column.notNull())
        .addColumn('kind', 'text', (column) => column.notNull())
        .addColumn('resource_name', text, (column) => column.notNull())
        .addColumn('lock_id', 'bigint', (column) => column.notNull())
        .addColumn('process_id', text, (column) => column.notNull())
        .addColumn('reason', 'text')
        .execute()
      await db.schema.createIndex('lock_events_resource_name').on('lock_events').columns(['resource_name', 'id']).execute()
      await db.schema.createIndex('lock_events_process_id').on('lock_events').columns(['process_id', 'id']).execute()
      // When the history last told of the grant: renewals are told at most once a minute.
      await db.schema.alterTable('resource_locks').addColumn('told_at', 'bigint').execute()
      // The expired grant that the present one was made over, where nobody had written its end down before.
      await db.schema.alterTable('resource_locks').addColumn('passed_id', 'bigint').execute()
      await db.schema.alterTable('resource_locks').addColumn('passed_process_id', text).execute()
      await db.schema.alterTable('resource_locks').addColumn('passed_at', 'bigint').execute()
    }
  }
}
