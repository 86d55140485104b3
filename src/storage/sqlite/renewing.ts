import { sql, type RawBuilder } from 'kysely'
import type { RenewAllCommand, RenewAllOutcome, RenewCommand, RenewOutcome } from '../../locks/commands.js'
import { whyNotHeld } from '../../locks/ended-grant.js'
import type { EpochMs, TtlMs } from '../../locks/lock.js'
import { GRANT_COLUMNS, grantFromRow, TELL_RENEWALS_EVERY_MS, type EventRow, type GrantRow } from '../rows.js'
import { statement } from '../statement.js'
import { isValidAt, type SqliteContext } from './context.js'
import { prepare } from './prepared.js'

/** `own` is 1 where the grant keeps the lease with which it was made. */
interface Lease {
  readonly own: 0 | 1
  readonly ttlMs: number | null
  readonly now: number
}

type RenewedRow = GrantRow & { told: 0 | 1 }
type Arg = <Name extends keyof Lease>(name: Name) => RawBuilder<Lease[Name]>

/** Renewing on SQLite. */
export function renewing({ database, db, look, tell }: SqliteContext) {
  const renewal = (arg: Arg) => {
    const end = sql<number | null>`${arg('now')} + iif(${arg('own')}, ttl_ms, ${arg('ttlMs')})`
    return db
      .updateTable('resource_locks')
      .set({
        expires_at: end,
        renewals: sql`renewals + 1`,
        // The sweeper may come too early, never too late: a later expiry need not move the index entry.
        sweep_at: sql`min(coalesce(sweep_at, ${end}), coalesce(${end}, sweep_at))`,
        told_at: sql`iif(told_at + ${sql.lit(TELL_RENEWALS_EVERY_MS)} <= ${arg('now')}, ${arg('now')}, told_at)`
      })
      .where(isValidAt(arg('now')))
      .returning([...GRANT_COLUMNS, sql<0 | 1>`told_at = ${arg('now')} and locked_at < ${arg('now')}`.as('told')])
  }

  const renewOne = prepare<Lease & { name: string; process: string; lockId: number | null }, RenewedRow>(
    database,
    statement((arg) =>
      renewal(arg)
        .where('resource_name', '=', arg('name'))
        .where('process_id', '=', arg('process'))
        .where((eb) => eb('id', '=', sql<number>`coalesce(${arg('lockId')}, ${eb.ref('id')})`))
    )
  )
  const renewBite = prepare<Lease & { process: string; after: string; bite: number }, RenewedRow>(
    database,
    statement((arg) =>
      renewal(arg).where('resource_name', 'in', (eb) =>
        eb
          .selectFrom('resource_locks')
          .select('resource_name')
          .where('process_id', '=', arg('process'))
          .where('resource_name', '>', arg('after'))
          .where(isValidAt(arg('now')))
          .orderBy('resource_name')
          .limit(arg('bite'))
      )
    )
  )

  const newestEvent = prepare<{ name: string }, Pick<EventRow, 'kind' | 'at'>>(
    database,
    statement((arg) =>
      db
        .selectFrom('lock_events')
        .select(['kind', 'at'])
        .where('resource_name', '=', arg('name'))
        .orderBy('id', 'desc')
        .limit(sql.lit(1))
    )
  )

  /** An update answers with new values only, so that a second renewal of the same millisecond looks as if it were due as well. */
  function isToldAlready(name: string, now: EpochMs): boolean {
    const newest = newestEvent.get({ name })
    return newest?.kind === 'renewed' && newest.at === now
  }

  function renewed(row: RenewedRow, now: EpochMs) {
    const { resource_name, id: lock_id, process_id } = row
    if (row.told && !isToldAlready(resource_name, now)) tell({ at: now, kind: 'renewed', resource_name, lock_id, process_id, reason: null })
    return { grant: grantFromRow(row), renewedAt: now }
  }

  return {
    renew({ resourceName, processId, ttlMs, lockId }: RenewCommand, now: EpochMs): RenewOutcome {
      const row = renewOne.get({ ...lease(ttlMs, now), name: resourceName, process: processId, lockId })
      if (row !== undefined) return { kind: 'renewed', ...renewed(row, now) }
      return { kind: 'not-held', reason: whyNotHeld(look(resourceName, now).latest, processId, now) }
    },

    renewAll({ processId, ttlMs, after, bite }: RenewAllCommand, now: EpochMs): RenewAllOutcome {
      const rows = renewBite.all({ ...lease(ttlMs, now), process: processId, after, bite })
      // An update answers in no promised order.
      rows.sort((a, b) => Buffer.compare(Buffer.from(a.resource_name), Buffer.from(b.resource_name)))
      return { kind: 'renewed-all', renewals: rows.map((row) => renewed(row, now)) }
    }
  }
}

function lease(ttlMs: TtlMs | undefined, now: EpochMs): Lease {
  return { own: ttlMs === undefined ? 1 : 0, ttlMs: ttlMs ?? null, now }
}
