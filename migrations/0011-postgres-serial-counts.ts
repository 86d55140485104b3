import { sql, type Migration } from 'kysely'
import type { DialectName } from './dialect.js'

/**
 * PostgreSQL only: the locks are counted by one process. Several are hardly faster, and take every processor while requests
 * are to be served.
 */
export function postgresSerialCounts(dialect: DialectName): Migration {
  return {
    async up(db) {
      if (dialect === 'postgres') await sql`alter table resource_locks set (parallel_workers = 0)`.execute(db)
    }
  }
}
