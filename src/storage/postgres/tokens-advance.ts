import { sql } from 'kysely'
import { StartupError } from '../../locks/errors.js'
import { target, type AdvancedTokens } from '../migrator.js'
import { LISTENER_NAME } from './listener.js'
import { openPostgres } from './connection.js'
import { CLOCK } from './sql.js'

/** Raises the numbers of a database on which no instance works. */
export async function advancePostgresTokens(url: string, above: number | undefined): Promise<AdvancedTokens> {
  await using opened = await openPostgres(url, 1, () => undefined)
  const { db } = opened
  const { rows } = await sql<{ from: number; now: number; instances: number }>`
    select
      greatest((select last_value from lock_numbers), (select max(id) from resource_locks)) as from,
      ${CLOCK} as now,
      (select count(*) from pg_stat_activity where datname = current_database() and application_name = ${LISTENER_NAME}) as instances`.execute(db)
  const [{ from, now, instances } = { from: 0, now: 0, instances: 0 }] = rows
  // It may draw a number at this moment, and what is set could then be smaller.
  if (instances > 0) throw new StartupError(`The service runs on this database (${instances} instances are connected); stop it first.`)
  const to = await target(db, from, now, above)
  await sql`select setval('lock_numbers', ${to})`.execute(db)
  return { from, to }
}
