import { sql } from 'kysely'
import type { SweepCommand, SweepOutcome } from '../../locks/commands.js'
import type { EpochMs } from '../../locks/lock.js'
import { HistoryPruner } from '../history.js'
import { KEEP_ENDED_MS, replayOf, KEEP_REQUEST_MS, type LockRequestsTable, type ResourceLocksTable } from '../tables.js'
import { statement } from '../statement.js'
import type { SqliteContext } from './context.js'
import type { TokenSource } from './token-source.js'
import { prepare } from './prepared.js'

type DueRow = Pick<ResourceLocksTable, 'resource_name' | 'id' | 'process_id' | 'is_active' | 'expires_at' | 'ended_at'>

/**
 * Sweeping on SQLite.
 *
 * @param keepHistoryMs older events are removed.
 */
export function sweep({ database, db, readLatest, appendEvent, forgetEvents }: SqliteContext, tokens: TokenSource, keepHistoryMs: number) {
  const due = prepare<{ now: number; limit: number }, DueRow>(
    database,
    statement((arg) =>
      db
        .selectFrom('resource_locks')
        .select(['resource_name', 'id', 'process_id', 'is_active', 'expires_at', 'ended_at'])
        .where('sweep_at', '<=', arg('now'))
        .orderBy('sweep_at')
        .limit(arg('limit'))
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
  const dueRequests = prepare<{ now: number; limit: number }, LockRequestsTable>(
    database,
    statement((arg) =>
      db.selectFrom('lock_requests').selectAll().where('remembered_until', '<=', arg('now')).orderBy('remembered_until').limit(arg('limit'))
    )
  )
  const forget = prepare<{ id: string }>(database, statement((arg) => db.deleteFrom('lock_requests').where('request_id', '=', arg('id'))))
  const keepRequestLonger = prepare<{ id: string; until: number }>(
    database,
    statement((arg) => db.updateTable('lock_requests').set({ remembered_until: arg('until') }).where('request_id', '=', arg('id')))
  )
  const eventsAfter = prepare<{ after: number; limit: number }, { id: number; at: EpochMs }>(
    database,
    statement((arg) => db.selectFrom('lock_events').select(['id', 'at']).where('id', '>', arg('after')).orderBy('id').limit(arg('limit')))
  )
  const removeEvents = prepare<{ upTo: number; limit: number }>(
    database,
    statement((arg) =>
      db
        .deleteFrom('lock_events')
        .where('id', 'in', (eb) => eb.selectFrom('lock_events').select('id').where('id', '<=', arg('upTo')).orderBy('id').limit(arg('limit')))
        // The newest stays: without it, ids would begin anew.
        .where('id', '<', (eb) => eb.selectFrom('lock_events').select(({ fn }) => fn.max('id').as('newest')))
    )
  )
  const pruner = new HistoryPruner(keepHistoryMs)

  function sweepRow(row: DueRow, now: EpochMs): 'expired' | 'removed' | 'postponed' {
    const { resource_name: name, id: lock_id, process_id, is_active, expires_at, ended_at } = row
    if (is_active && expires_at !== null && expires_at <= now) {
      expire.run({ name, sweepAt: now + KEEP_ENDED_MS })
      appendEvent({ at: expires_at, kind: 'expired', resource_name: name, lock_id, process_id, reason: null })
      return 'expired'
    }
    const keptUntil = is_active ? expires_at : (ended_at ?? 0) + KEEP_ENDED_MS
    if (!is_active && keptUntil !== null && keptUntil <= now) {
      remove.run({ name })
      // A restored row may bear a number that this database has not reached yet; it goes, and is counted from.
      tokens.last = Math.max(tokens.last, lock_id)
      return 'removed'
    }
    postpone.run({ name, sweepAt: keptUntil })
    return 'postponed'
  }

  /** A request whose grants are still held stays remembered. */
  function sweepRequest({ request_id: id, fingerprint, grants: text, remembered_until: until }: LockRequestsTable, now: EpochMs): void {
    const grants = JSON.parse(text) as [string, number][]
    const snapshots = new Map(grants.map(([name]) => [name, readLatest(name, now)]))
    if (replayOf({ fingerprint, grants, until }, fingerprint, snapshots) === undefined) forget.run({ id })
    else keepRequestLonger.run({ id, until: now + KEEP_REQUEST_MS })
  }

  return function sweep({ limit }: SweepCommand, now: EpochMs): SweepOutcome {
    const rows = due.all({ now, limit })
    const done = rows.map((row) => sweepRow(row, now))
    const requests = dueRequests.all({ now, limit })
    for (const request of requests) sweepRequest(request, now)
    const upTo = pruner.look(eventsAfter.all({ after: pruner.after, limit }), now)
    const pruned = upTo === undefined ? 0 : removeEvents.run({ upTo, limit })
    if (pruned > 0) forgetEvents()
    const moreEvents = pruner.advance(pruned, limit)
    return {
      kind: 'swept',
      expired: done.filter((what) => what === 'expired').length,
      removed: done.filter((what) => what === 'removed').length,
      more: rows.length === limit || requests.length === limit || moreEvents
    }
  }
}
