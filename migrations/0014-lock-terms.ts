import { sql, type Migration } from 'kysely'

/**
 * What a grant says about its end: a delay, how long it is kept, until when it may be renewed. Such a grant is a row of `lock_shares`,
 * also where it is one of all of the resource. An instance of an earlier version finds the resource held, and grants nothing.
 */
export function lockTerms(): Migration {
  return {
    async up(db) {
      await db.schema.alterTable('lock_shares').addColumn('is_exclusive', 'boolean', (column) => column.notNull().defaultTo(sql`false`)).execute()
      for (const column of ['held_until', 'delay_ms', 'hold_at_least_ms', 'revoke_at'] as const) await db.schema.alterTable('lock_shares').addColumn(column, 'bigint').execute()
      await db.schema.alterTable('lock_shares').addColumn('revoke_reason', 'text').execute()
    }
  }
}
