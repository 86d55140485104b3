import { sql, type Kysely } from 'kysely'
import { StartupError } from '../locks/errors.js'
import { MIGRATION_TABLE } from './migrator.js'
import type { Tables } from './tables.js'

/** Far more than any database grants within a second. */
const NUMBERS_PER_SECOND = 1_000_000
/** Clocks are not that exact. */
const MARGIN_SECONDS = 60

/** The largest number of a grant before and after. */
export interface AdvancedTokens {
  readonly from: number
  readonly to: number
}

/**
 * What the numbers of a restored database have to be raised to, so that they exceed every one that was given after the
 * backup was made: nobody knows how many those were, but for how long they were given out, which is since the last thing
 * that the backup tells of, and how many can be given within a second.
 *
 * @param last the largest number that the database knows.
 * @param now the database's clock.
 * @param above the largest number that is known to have been given, which then decides; undefined reckons.
 * @throws StartupError when no number would be left.
 */
export async function target(db: Kysely<Tables>, last: number, now: number, above: number | undefined): Promise<number> {
  const seconds = Math.max(0, now - (await knownUntil(db))) / 1000 + MARGIN_SECONDS
  const to = Math.max(last, above ?? last + Math.ceil(seconds * NUMBERS_PER_SECOND))
  if (Number.isSafeInteger(to * 2)) return to
  throw new StartupError(`The numbers would be raised to ${to}, which leaves too few; say with --above up to which they were given.`)
}

/** When the last thing happened that the database tells of, in milliseconds since 1970. */
async function knownUntil(db: Kysely<Tables>): Promise<number> {
  const { rows } = await sql<{ locked: number | null; told: number | null; migrated: string | null }>`
    select
      (select max(locked_at) from resource_locks) as locked,
      (select at from lock_events order by id desc limit 1) as told,
      (select max(timestamp) from ${sql.table(MIGRATION_TABLE)}) as migrated`.execute(db)
  const { locked, told, migrated } = rows[0] ?? {}
  return Math.max(locked ?? 0, told ?? 0, Date.parse(migrated ?? '1970-01-01T00:00:00Z'))
}
