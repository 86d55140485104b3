import { sql, type Migration } from 'kysely'
import type { DialectName } from './dialect.js'

/**
 * The queues: one row for each resource that a waiting request wants, in the order of the tickets. A waiter counts as long
 * as its instance gives signs of life, or until `lease_until` where that is set.
 */
export function lockWaiters(dialect: DialectName): Migration {
  const text = dialect === 'postgres' ? sql`text collate "C"` : sql`text`
  return {
    async up(db) {
      await db.schema
        .createTable('lock_waiters')
        .addColumn('resource_name', text, (column) => column.notNull())
        .addColumn('ticket', 'bigint', (column) => column.notNull())
        .addColumn('process_id', text, (column) => column.notNull())
        .addColumn('instance', text, (column) => column.notNull())
        .addColumn('request_id', text)
        .addColumn('fingerprint', 'text')
        .addColumn('lease_until', 'bigint')
        .addPrimaryKeyConstraint('lock_waiters_pkey', ['resource_name', 'ticket'])
        .execute()
      await db.schema.createIndex('lock_waiters_ticket').on('lock_waiters').column('ticket').execute()
      await sql`create index lock_waiters_request_id on lock_waiters (request_id) where request_id is not null`.execute(db)
      if (dialect === 'postgres') {
        await sql`create sequence lock_tickets`.execute(db)
        await db.schema
          .createTable('lock_instances')
          .addColumn('instance', text, (column) => column.primaryKey().notNull())
          .addColumn('lease_until', 'bigint', (column) => column.notNull())
          .execute()
      }
    }
  }
}
