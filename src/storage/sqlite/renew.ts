import { sql, type RawBuilder, type SqlBool } from 'kysely'
import type { LeaseRestart, RenewAllCommand, RenewAllOutcome, RenewCommand, RenewOutcome } from '../../locks/commands.js'
import { whyNotHeld, type EpochMs, type TtlMs } from '../../locks/lock.js'
import { GRANT_COLUMNS, grantFromRow, metadataToText, RENEWAL_EVENT_INTERVAL_MS, type GrantRow } from '../tables.js'
import { statement } from '../statement.js'
import { isOpenTo, isValidAt, type SqliteContext } from './context.js'
import { prepare } from './prepared.js'

/** `own` is 1 where the grant keeps the lease with which it was made, `afresh` where it is counted from now on. */
interface Lease {
  readonly own: 0 | 1
  readonly ttlMs: number | null
  readonly restartLease: 0 | 1
  readonly metadata: string | null
  readonly now: number
  /** Only grants that belong to this key or to nobody; null takes all. */
  readonly key: string | null
}

type RenewedRow = GrantRow & { told: 0 | 1 }
type Arg = <Name extends keyof Lease>(name: Name) => RawBuilder<Lease[Name]>

/** Renewing on SQLite. */
export function renew({ database, db, readLatest, appendEvent, hasEventAt }: SqliteContext) {
  const renewal = (arg: Arg) => {
    const end = sql<number | null>`${arg('now')} + iif(${arg('own')}, ttl_ms, ${arg('ttlMs')})`
    return db
      .updateTable('resource_locks')
      .set({
        expires_at: end,
        locked_at: sql`iif(${arg('restartLease')}, ${arg('now')}, locked_at)`,
        ttl_ms: sql`iif(${arg('restartLease')} and not ${arg('own')}, ${arg('ttlMs')}, ttl_ms)`,
        metadata: sql`coalesce(${arg('metadata')}, metadata)`,
        renewals: sql`renewals + 1`,
        // The sweeper may come too early, never too late: a later expiry need not move the index entry.
        sweep_at: sql`min(coalesce(sweep_at, ${end}), coalesce(${end}, sweep_at))`,
        told_at: sql`iif(told_at between ${arg('now')} - ${sql.lit(RENEWAL_EVENT_INTERVAL_MS - 1)} and ${arg('now')}, told_at, ${arg('now')})`
      })
      .where(isValidAt(arg('now')))
      .where(isOpenTo(arg('key')))
      .returning([...GRANT_COLUMNS, sql<0 | 1>`told_at = ${arg('now')}`.as('told')])
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
  const renewChunk = prepare<Lease & { process: string; after: string; limit: number; prefix: string }, RenewedRow>(
    database,
    statement((arg) =>
      renewal(arg).where('resource_name', 'in', (eb) =>
        eb
          .selectFrom('resource_locks')
          .select('resource_name')
          .where('process_id', '=', arg('process'))
          .where('resource_name', '>', arg('after'))
          .where(sql<SqlBool>`substr(resource_name, 1, length(${arg('prefix')})) = ${arg('prefix')}`)
          .where(isValidAt(arg('now')))
          .where(isOpenTo(arg('key')))
          .orderBy('resource_name')
          .limit(arg('limit'))
      )
    )
  )

  function renewed(row: RenewedRow, now: EpochMs) {
    const { resource_name, id: lock_id, process_id } = row
    // An update answers with new values only: a renewal in the millisecond in which the grant was last told of looks due as well.
    if (row.told && !hasEventAt(resource_name, now)) appendEvent({ at: now, kind: 'renewed', resource_name, lock_id, process_id, reason: null })
    return { grant: grantFromRow(row), renewedAt: now }
  }

  return {
    renew({ resourceName, processId, ttlMs, lockId, restartLease, key }: RenewCommand, now: EpochMs): RenewOutcome {
      const row = renewOne.get({ ...lease(ttlMs, now, restartLease), key, name: resourceName, process: processId, lockId })
      if (row !== undefined) return { kind: 'renewed', ...renewed(row, now) }
      return { kind: 'not-held', reason: whyNotHeld(readLatest(resourceName, now).latest, { processId, key }, now) }
    },

    renewAll({ processId, ttlMs, after, limit, prefix, key }: RenewAllCommand, now: EpochMs): RenewAllOutcome {
      const rows = renewChunk.all({ ...lease(ttlMs, now), key, process: processId, after, limit, prefix })
      // An update answers in no promised order.
      rows.sort((a, b) => Buffer.compare(Buffer.from(a.resource_name), Buffer.from(b.resource_name)))
      return { kind: 'renewed-all', renewals: rows.map((row) => renewed(row, now)) }
    }
  }
}

function lease(ttlMs: TtlMs | undefined, now: EpochMs, restartLease?: LeaseRestart): Omit<Lease, 'key'> {
  return {
    own: ttlMs === undefined ? 1 : 0,
    ttlMs: ttlMs ?? null,
    restartLease: restartLease === undefined ? 0 : 1,
    metadata: metadataToText(restartLease?.metadata ?? null),
    now
  }
}
