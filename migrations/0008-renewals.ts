import type { Migration } from 'kysely'

/** What people want to see beside a grant and a waiter: how often it was renewed, and since when it waits. */
export function renewals(): Migration {
  return {
    async up(db) {
      await db.schema
        .alterTable('resource_locks')
        .addColumn('renewals', 'bigint', (column) => column.notNull().defaultTo(0))
        .execute()
      // Null for waiters from before the column was added.
      await db.schema.alterTable('lock_waiters').addColumn('queued_at', 'bigint').execute()
    }
  }
}
