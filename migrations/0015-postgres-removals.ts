import { sql, type Migration } from 'kysely'
import type { DialectName } from './dialect.js'

/**
 * PostgreSQL only: counts how often rows were removed from `resource_locks`, so that who read that there is no row, and then
 * inserts one, notices whether there was one meanwhile. As a sequence, which everybody sees at once, before any commit.
 */
export function postgresRemovals(dialect: DialectName): Migration {
  return {
    async up(db) {
      if (dialect !== 'postgres') return
      await sql`create sequence lock_removals`.execute(db)
      // Until it is drawn from, a sequence shows the number that it gives next.
      await sql`select nextval('lock_removals')`.execute(db)
    }
  }
}
