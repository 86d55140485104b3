import { sql, type Migration } from 'kysely'
import type { DialectName } from './dialect.js'

/** Notes whose key a waiting request was made with: only that key, or an admin's, may remove it from the queue. */
export function waitersKey(dialect: DialectName): Migration {
  return {
    async up(db) {
      await db.schema
        .alterTable('lock_waiters')
        .addColumn('api_key', dialect === 'postgres' ? sql`text collate "C"` : sql`text`)
        .execute()
    }
  }
}
