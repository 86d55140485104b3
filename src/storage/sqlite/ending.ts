import { sql } from 'kysely'
import type { ReleaseCommand, ReleaseOutcome } from '../../locks/commands.js'
import { whyNotHeld, type EndReason } from '../../locks/ended-grant.js'
import type { EpochMs } from '../../locks/lock.js'
import { GRANT_COLUMNS, grantFromRow, KEEP_ENDED_MS, type GrantRow } from '../rows.js'
import { statement } from '../statement.js'
import { isOpenTo, isValidAt, type SqliteContext } from './context.js'
import { prepare } from './prepared.js'
import type { Line } from './waiting.js'

/** Releasing, and taking away, on SQLite. */
export function ending({ database, db, look, tell }: SqliteContext, line: Line) {
  const end = prepare<
    { name: string; process: string | null; lockId: number | null; how: EndReason; now: number; sweepAt: number; key: string | null },
    GrantRow
  >(
    database,
    statement((arg) =>
      db
        .updateTable('resource_locks')
        .set({
          is_active: sql.lit(0),
          ended_at: arg('now'),
          end_reason: arg('how'),
          // Left alone where the sweeper will come by soon anyway: an index entry less to move.
          sweep_at: sql`min(coalesce(sweep_at, ${arg('sweepAt')}), ${arg('sweepAt')})`
        })
        .where('resource_name', '=', arg('name'))
        .where((eb) => eb('process_id', '=', sql<string>`coalesce(${arg('process')}, ${eb.ref('process_id')})`))
        .where((eb) => eb('id', '=', sql<number>`coalesce(${arg('lockId')}, ${eb.ref('id')})`))
        .where(isValidAt(arg('now')))
        .where(isOpenTo(arg('key')))
        .returning(GRANT_COLUMNS)
    )
  )

  const claimed = prepare<{ id: string }, { request_id: string }>(
    database,
    statement((arg) => db.selectFrom('lock_requests').select('request_id').where('request_id', '=', arg('id')).where('claimed', '=', sql.lit(1)))
  )

  return function release({ resourceName, processId, lockId, reason, key, unlessClaimed: id }: ReleaseCommand, now: EpochMs): ReleaseOutcome {
    const why = (): ReleaseOutcome => ({ kind: 'not-held', reason: whyNotHeld(look(resourceName, now).latest, { processId, key }, now) })
    if (id !== undefined && claimed.get({ id }) !== undefined) return why()
    const how = processId === null ? 'forced' : 'released'
    const row = end.get({ name: resourceName, process: processId, lockId, how, now, sweepAt: now + KEEP_ENDED_MS, key })
    if (row === undefined) return why()
    const { id: lock_id, process_id } = row
    tell({ at: now, kind: processId === null ? 'force_released' : 'released', resource_name: resourceName, lock_id, process_id, reason })
    line.callFirst(resourceName, now)
    return { kind: 'released', grant: grantFromRow(row), releasedAt: now }
  }
}
