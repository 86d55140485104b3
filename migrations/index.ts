import type { Migration } from 'kysely'
import { resourceLocks } from './0001-resource-locks.js'

export type DialectName = 'sqlite' | 'postgres'

/** All migrations in the order in which they run. A migration that was released is never edited; a new one follows it. */
export function migrationsFor(dialect: DialectName): Record<string, Migration> {
  return {
    '0001-resource-locks': resourceLocks(dialect)
  }
}
