import { sql, type Migration } from 'kysely'
import type { DialectName } from './dialect.js'

/** The keys with which callers show who they are, each as a digest only, and beside each grant the key that it was taken with. */
export function apiKeys(dialect: DialectName): Migration {
  const text = dialect === 'postgres' ? sql`text collate "C"` : sql`text`
  return {
    async up(db) {
      await db.schema
        .createTable('api_keys')
        .addColumn('id', dialect === 'postgres' ? sql`bigint generated always as identity` : 'integer', (column) => column.primaryKey())
        .addColumn('name', text, (column) => column.notNull())
        .addColumn('digest', text, (column) => column.notNull().unique())
        .addColumn('scopes', 'text', (column) => column.notNull())
        .addColumn('prefix', text, (column) => column.notNull())
        .addColumn('created_at', 'bigint', (column) => column.notNull())
        .addColumn('expires_at', 'bigint')
        .addColumn('revoked_at', 'bigint')
        .execute()
      await db.schema.alterTable('resource_locks').addColumn('api_key', text).execute()
    }
  }
}
