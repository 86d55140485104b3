import { sql, type Migration } from 'kysely'
import type { DialectName } from './dialect.js'

/**
 * PostgreSQL only: the planner takes every process for another one, whatever it finds when it analyses. From statistics that
 * were made while one process held everything, it looked names up by the indexes of processes, and read all of them for each
 * name once there were many.
 */
export function postgresManyProcesses(dialect: DialectName): Migration {
  return {
    async up(db) {
      if (dialect !== 'postgres') return
      for (const table of ['resource_locks', 'lock_shares']) {
        // Counts from the next analysis on.
        await sql`alter table ${sql.table(table)} alter column process_id set (n_distinct = -1)`.execute(db)
      }
    }
  }
}
