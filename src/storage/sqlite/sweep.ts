import { sql } from 'kysely'
import type { SweepCommand, SweepOutcome } from '../../locks/commands.js'
import type { EpochMs } from '../../locks/lock.js'
import { replayOf } from '../../locks/requests.js'
import { HistoryPruner } from '../history.js'
import { KEEP_ENDED_MS, KEEP_REQUEST_MS, NOBODY, type LockRequestsTable, type ResourceLocksTable } from '../tables.js'
import type { SqliteContext } from './context.js'
import type { Shares } from './shares.js'
import type { WaitQueue } from './wait-queue.js'

type DueRow = Pick<ResourceLocksTable, 'resource_name' | 'id' | 'process_id' | 'is_active' | 'expires_at' | 'ended_at'>

function statements(context: SqliteContext) {
  const { db } = context
  return {
    due: context.prepare<{ now: number; limit: number }, DueRow>((arg) =>
      db
        .selectFrom('resource_locks')
        .select(['resource_name', 'id', 'process_id', 'is_active', 'expires_at', 'ended_at'])
        .where('sweep_at', '<=', arg('now'))
        .orderBy('sweep_at')
        .limit(arg('limit'))
    ),
    expire: context.prepare<{ name: string; sweepAt: number }>((arg) =>
      db
        .updateTable('resource_locks')
        .set((eb) => ({ is_active: sql.lit(0), ended_at: eb.ref('expires_at'), end_reason: 'expired', sweep_at: arg('sweepAt') }))
        .where('resource_name', '=', arg('name'))
    ),
    postpone: context.prepare<{ name: string; sweepAt: number | null }>((arg) =>
      db.updateTable('resource_locks').set({ sweep_at: arg('sweepAt') }).where('resource_name', '=', arg('name'))
    ),
    remove: context.prepare<{ name: string }>((arg) => db.deleteFrom('resource_locks').where('resource_name', '=', arg('name'))),
    dueRequests: context.prepare<{ now: number; limit: number }, LockRequestsTable>((arg) =>
      db.selectFrom('lock_requests').selectAll().where('remembered_until', '<=', arg('now')).orderBy('remembered_until').limit(arg('limit'))
    ),
    forgetRequest: context.prepare<{ id: string }>((arg) => db.deleteFrom('lock_requests').where('request_id', '=', arg('id'))),
    keepRequest: context.prepare<{ id: string; until: number }>((arg) =>
      db.updateTable('lock_requests').set({ remembered_until: arg('until') }).where('request_id', '=', arg('id'))
    ),
    eventsAfter: context.prepare<{ after: number; limit: number }, { id: number; at: EpochMs }>((arg) =>
      db.selectFrom('lock_events').select(['id', 'at']).where('id', '>', arg('after')).orderBy('id').limit(arg('limit'))
    ),
    removeEvents: context.prepare<{ upTo: number; limit: number }>((arg) =>
      db
        .deleteFrom('lock_events')
        .where('id', 'in', (eb) => eb.selectFrom('lock_events').select('id').where('id', '<=', arg('upTo')).orderBy('id').limit(arg('limit')))
        // The newest stays: without it, ids would start again.
        .where('id', '<', (eb) => eb.selectFrom('lock_events').select(({ fn }) => fn.max('id').as('newest')))
    )
  }
}

/** Sweeps on SQLite. */
export class Sweep {
  readonly #context: SqliteContext
  readonly #queue: WaitQueue
  readonly #shares: Shares
  readonly #pruner: HistoryPruner
  readonly #statements: ReturnType<typeof statements>

  constructor(context: SqliteContext, queue: WaitQueue, shares: Shares, keepHistoryMs: number) {
    this.#context = context
    this.#queue = queue
    this.#shares = shares
    this.#pruner = new HistoryPruner(keepHistoryMs)
    this.#statements = statements(context)
  }

  sweep({ limit }: SweepCommand, now: EpochMs): SweepOutcome {
    this.#queue.sweep(now)
    const shares = this.#shares.sweep(limit, now)
    const rows = this.#statements.due.all({ now, limit })
    const done = rows.map((row) => this.#sweepRow(row, now))
    const requests = this.#statements.dueRequests.all({ now, limit })
    for (const request of requests) this.#sweepRequest(request, now)
    const upTo = this.#pruner.look(this.#statements.eventsAfter.all({ after: this.#pruner.after, limit }), now)
    const pruned = upTo === undefined ? 0 : this.#statements.removeEvents.run({ upTo, limit })
    if (pruned > 0) this.#context.forgetEvents()
    const moreEvents = this.#pruner.advance(pruned, limit)
    return {
      kind: 'swept',
      expired: shares.expired + done.filter((what) => what === 'expired').length,
      removed: shares.removed + done.filter((what) => what === 'removed').length,
      more: shares.seen === limit || rows.length === limit || requests.length === limit || moreEvents
    }
  }

  #sweepRow(row: DueRow, now: EpochMs): 'expired' | 'closed' | 'removed' | 'postponed' {
    const { resource_name: name, id: lock_id, process_id, is_active, expires_at, ended_at } = row
    if (is_active && expires_at !== null && expires_at <= now) {
      this.#statements.expire.run({ name, sweepAt: now + KEEP_ENDED_MS })
      // The shares that held it have events of their own.
      if (process_id === NOBODY) return 'closed'
      this.#context.appendEvent({ at: expires_at, kind: 'expired', resource_name: name, lock_id, process_id, reason: null })
      return 'expired'
    }
    const keptUntil = is_active ? expires_at : (ended_at ?? 0) + KEEP_ENDED_MS
    if (!is_active && keptUntil !== null && keptUntil <= now) {
      this.#statements.remove.run({ name })
      // A restored row may bear a token that this database has not reached yet: the next token exceeds it all the same.
      const { tokens } = this.#context
      tokens.last = Math.max(tokens.last, lock_id)
      return 'removed'
    }
    this.#statements.postpone.run({ name, sweepAt: keptUntil })
    return 'postponed'
  }

  /** A request whose grants are still held stays remembered. */
  #sweepRequest({ request_id: id, fingerprint, grants: text, remembered_until: until }: LockRequestsTable, now: EpochMs): void {
    const grants = JSON.parse(text) as [string, number][]
    if (replayOf({ fingerprint, grants, until }, fingerprint, (name, lockId) => this.#shares.snapshot(name, lockId, now)) === undefined) this.#statements.forgetRequest.run({ id })
    else this.#statements.keepRequest.run({ id, until: now + KEEP_REQUEST_MS })
  }
}
