import { sql } from 'kysely'
import type { SweepCommand, SweepOutcome } from '../../locks/commands.js'
import type { EpochMs } from '../../locks/lock.js'
import { KEEP_ENDED_MS, recognise, REMEMBER_MS } from '../rows.js'
import { statement } from '../statement.js'
import type { LockRequestsTable, ResourceLocksTable } from '../tables.js'
import type { SqliteContext } from './context.js'
import type { NumberSource } from './numbers.js'
import { prepare } from './prepared.js'

type DueRow = Pick<ResourceLocksTable, 'resource_name' | 'id' | 'process_id' | 'is_active' | 'expires_at' | 'ended_at'>

/**
 * Sweeping on SQLite.
 *
 * @param keepHistoryMs older events are removed.
 */
export function sweeping({ database, db, look, tell, forgetEvents }: SqliteContext, numbers: NumberSource, keepHistoryMs: number) {
  const due = prepare<{ now: number; bite: number }, DueRow>(
    database,
    statement((arg) =>
      db
        .selectFrom('resource_locks')
        .select(['resource_name', 'id', 'process_id', 'is_active', 'expires_at', 'ended_at'])
        .where('sweep_at', '<=', arg('now'))
        .orderBy('sweep_at')
        .limit(arg('bite'))
    )
  )
  const expire = prepare<{ name: string; sweepAt: number }>(
    database,
    statement((arg) =>
      db
        .updateTable('resource_locks')
        .set((eb) => ({ is_active: sql.lit(0), ended_at: eb.ref('expires_at'), end_reason: 'expired', sweep_at: arg('sweepAt') }))
        .where('resource_name', '=', arg('name'))
    )
  )
  const postpone = prepare<{ name: string; sweepAt: number | null }>(
    database,
    statement((arg) => db.updateTable('resource_locks').set({ sweep_at: arg('sweepAt') }).where('resource_name', '=', arg('name')))
  )
  const remove = prepare<{ name: string }>(
    database,
    statement((arg) => db.deleteFrom('resource_locks').where('resource_name', '=', arg('name')))
  )
  const dueRequests = prepare<{ now: number; bite: number }, LockRequestsTable>(
    database,
    statement((arg) =>
      db.selectFrom('lock_requests').selectAll().where('remembered_until', '<=', arg('now')).orderBy('remembered_until').limit(arg('bite'))
    )
  )
  const forget = prepare<{ id: string }>(database, statement((arg) => db.deleteFrom('lock_requests').where('request_id', '=', arg('id'))))
  const rememberLonger = prepare<{ id: string; until: number }>(
    database,
    statement((arg) => db.updateTable('lock_requests').set({ remembered_until: arg('until') }).where('request_id', '=', arg('id')))
  )
  const pruneHistory = prepare<{ before: number; bite: number }>(
    database,
    statement((arg) =>
      db
        .deleteFrom('lock_events')
        .where('id', 'in', (eb) => eb.selectFrom('lock_events').select('id').orderBy('id').limit(arg('bite')))
        .where('at', '<', arg('before'))
        // The newest stays: without it, ids would begin anew.
        .where('id', '<', (eb) => eb.selectFrom('lock_events').select(({ fn }) => fn.max('id').as('newest')))
    )
  )

  function sweepRow(row: DueRow, now: EpochMs): 'expired' | 'removed' | 'postponed' {
    const { resource_name: name, id: lock_id, process_id, is_active, expires_at, ended_at } = row
    if (is_active && expires_at !== null && expires_at <= now) {
      expire.run({ name, sweepAt: now + KEEP_ENDED_MS })
      tell({ at: expires_at, kind: 'expired', resource_name: name, lock_id, process_id, reason: null })
      return 'expired'
    }
    const keptUntil = is_active ? expires_at : (ended_at ?? 0) + KEEP_ENDED_MS
    if (!is_active && keptUntil !== null && keptUntil <= now) {
      remove.run({ name })
      // A restored row may bear a number that this database has not reached yet; it goes, and is counted from.
      numbers.last = Math.max(numbers.last, lock_id)
      return 'removed'
    }
    postpone.run({ name, sweepAt: keptUntil })
    return 'postponed'
  }

  /** A request whose grants are still held stays remembered. */
  function sweepRequest({ request_id: id, fingerprint, grants: text, remembered_until: until }: LockRequestsTable, now: EpochMs): void {
    const grants = JSON.parse(text) as [string, number][]
    const glances = new Map(grants.map(([name]) => [name, look(name, now)]))
    if (recognise({ fingerprint, grants, until }, fingerprint, glances) === undefined) forget.run({ id })
    else rememberLonger.run({ id, until: now + REMEMBER_MS })
  }

  return function sweep({ bite }: SweepCommand, now: EpochMs): SweepOutcome {
    const rows = due.all({ now, bite })
    const done = rows.map((row) => sweepRow(row, now))
    const requests = dueRequests.all({ now, bite })
    for (const request of requests) sweepRequest(request, now)
    const pruned = pruneHistory.run({ before: now - keepHistoryMs, bite })
    if (pruned > 0) forgetEvents()
    return {
      kind: 'swept',
      expired: done.filter((what) => what === 'expired').length,
      removed: done.filter((what) => what === 'removed').length,
      more: rows.length === bite || requests.length === bite || pruned === bite
    }
  }
}
