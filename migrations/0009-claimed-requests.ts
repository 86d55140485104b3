import { sql, type Migration } from 'kysely'

/**
 * Notes that a repetition of a request was answered with its grants. What a waiter was granted whose connection is gone is
 * given back only as long as nobody else was told that it is his.
 */
export function claimedRequests(): Migration {
  return {
    async up(db) {
      await db.schema
        .alterTable('lock_requests')
        .addColumn('claimed', 'boolean', (column) => column.notNull().defaultTo(sql`false`))
        .execute()
    }
  }
}
