import { sql, type Kysely } from 'kysely'
import type { InspectCommand } from '../../locks/commands.js'
import { isValid, type EpochMs } from '../../locks/lock.js'
import { RETRY, attempt, type CommandResult } from '../batcher.js'
import { LATEST_COLUMNS, latestFromRow, type LockSnapshot, type LatestRow, type Tables } from '../tables.js'
import type { Session } from './session.js'
import { CLOCK, columns, compiled, waitersFor } from './sql.js'

export type ReadLatest = ReturnType<typeof latestReader>['readLatest']

/** Reading on PostgreSQL, without taking any row. */
export function latestReader(db: Kysely<Tables>) {
  /** One row per name, whether or not there is a lock. */
  const byNames = compiled<{ names: string[] }, { name: string; at: EpochMs; waiters: number } & LatestRow>(
    db,
    (arg) => sql`
      select asked.name, ${CLOCK} as at, ${waitersFor(sql`asked.name`)} as waiters, ${columns(LATEST_COLUMNS)}
      from unnest(${arg('names')}::text[]) as asked(name) left join resource_locks l on l.resource_name = asked.name`
  )

  async function readLatest(session: Session, names: readonly string[]): Promise<Map<string, LockSnapshot & { waiters: number }>> {
    const rows = await session.run(byNames, { names: [...new Set(names)] })
    return new Map(
      rows.map((row) => [
        row.name,
        {
          at: row.at,
          waiters: row.waiters,
          // Not before it is asked for: a row that cannot be read concerns its own name only.
          get latest() {
            // A name without a row comes with nulls, `id` among them.
            return row.id === null ? undefined : latestFromRow(row)
          }
        }
      ])
    )
  }

  async function inspect(session: Session, commands: readonly InspectCommand[]): Promise<CommandResult[]> {
    const snapshots = await readLatest(
      session,
      commands.map(({ resourceName }) => resourceName)
    )
    return commands.map(({ resourceName }) =>
      attempt(() => {
        const snapshot = snapshots.get(resourceName)
        if (snapshot === undefined) return RETRY
        const { at, latest, waiters } = snapshot
        return { kind: 'done', outcome: { kind: 'inspected', at, grant: isValid(latest, at) ? latest : null, waiters } }
      })
    )
  }

  return { readLatest, inspect }
}
