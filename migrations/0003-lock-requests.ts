import { sql, type Migration } from 'kysely'
import type { DialectName } from './dialect.js'

/** Granted requests that bore an id, so that a repetition is recognised. `grants` is a JSON list of `[name, number]`. */
export function lockRequests(dialect: DialectName): Migration {
  const text = dialect === 'postgres' ? sql`text collate "C"` : sql`text`
  return {
    async up(db) {
      await db.schema
        .createTable('lock_requests')
        .addColumn('request_id', text, (column) => column.primaryKey().notNull())
        .addColumn('fingerprint', 'text', (column) => column.notNull())
        .addColumn('grants', 'text', (column) => column.notNull())
        .addColumn('remembered_until', 'bigint', (column) => column.notNull())
        .$call((table) => (dialect === 'sqlite' ? table.modifyEnd(sql`without rowid`) : table))
        .execute()
      await db.schema.createIndex('lock_requests_remembered_until').on('lock_requests').column('remembered_until').execute()
    }
  }
}
