import { sql, type RawBuilder, type SqlBool } from 'kysely'
import type { Renewal, RenewAllCommand, RenewAllOutcome, RenewCommand, RenewOutcome } from '../../locks/commands.js'
import { whyNotHeld, type EpochMs, type ResourceName } from '../../locks/lock.js'
import { renewedAll } from '../share-rows.js'
import { GRANT_COLUMNS, grantFromRow, metadataToText, NOBODY, RENEWAL_EVENT_INTERVAL_MS, type GrantRow } from '../tables.js'
import { isOpenTo, isValidAt, type SqliteContext } from './context.js'
import type { Shares } from './shares.js'
import type { WaitQueue } from './wait-queue.js'

interface LeaseArgs {
  /** 1 keeps the lease with which the grant was made. */
  readonly own: 0 | 1
  readonly ttlMs: number | null
  /** 1 counts the grant from now on. */
  readonly restartLease: 0 | 1
  readonly metadata: string | null
  /** 1 for new metadata, which is always recorded. */
  readonly proclaimed: 0 | 1
  readonly now: number
  /** Only grants that belong to this key or to no key; null renews all. */
  readonly key: string | null
}

type RenewedRow = GrantRow & { is_due: 0 | 1 }
type Arg = <Name extends keyof LeaseArgs>(name: Name) => RawBuilder<LeaseArgs[Name]>

function statements(context: SqliteContext) {
  const { db } = context
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
        // The sweeper may visit a row too early, never too late: a later expiry does not move the index entry.
        sweep_at: sql`min(coalesce(sweep_at, ${end}), coalesce(${end}, sweep_at))`,
        told_at: sql`iif(not ${arg('proclaimed')} and told_at between ${arg('now')} - ${sql.lit(RENEWAL_EVENT_INTERVAL_MS - 1)} and ${arg('now')}, told_at, ${arg('now')})`
      })
      .where(isValidAt(arg('now')))
      .where(isOpenTo(arg('key')))
      .returning([...GRANT_COLUMNS, sql<0 | 1>`told_at = ${arg('now')}`.as('is_due')])
  }
  return {
    renewOne: context.prepare<LeaseArgs & { name: string; process: string; lockId: number | null }, RenewedRow>((arg) =>
      renewal(arg)
        .where('resource_name', '=', arg('name'))
        .where('process_id', '=', arg('process'))
        .where((eb) => eb('id', '=', sql<number>`coalesce(${arg('lockId')}, ${eb.ref('id')})`))
    ),
    renewNext: context.prepare<LeaseArgs & { process: string; after: string; limit: number; prefix: string }, RenewedRow>((arg) =>
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
  }
}

/** Renewals on SQLite. */
export class Renew {
  readonly #context: SqliteContext
  readonly #queue: WaitQueue
  readonly #shares: Shares
  readonly #statements: ReturnType<typeof statements>

  constructor(context: SqliteContext, queue: WaitQueue, shares: Shares) {
    this.#context = context
    this.#queue = queue
    this.#shares = shares
    this.#statements = statements(context)
  }

  renew(command: RenewCommand, now: EpochMs): RenewOutcome {
    const { resourceName, processId, lockId, key } = command
    const row = this.#statements.renewOne.get({ ...leaseArgs(command, now), key, name: resourceName, process: processId, lockId })
    if (row !== undefined) return { kind: 'renewed', ...this.#renewed(row, now, isProclaimed(command)) }
    const { latest } = this.#context.readLatest(resourceName, now)
    if (latest?.processId === NOBODY) return this.#shares.renew(command, now)
    return { kind: 'not-held', reason: whyNotHeld(latest, { processId, key }, now) }
  }

  renewAll({ processId, ttlMs, after, limit, prefix, key }: RenewAllCommand, now: EpochMs): RenewAllOutcome {
    const args = { key, process: processId, after, limit, prefix }
    const rows = this.#statements.renewNext.all({ ...leaseArgs({ ttlMs }, now), ...args })
    const exclusive = rows.map((row) => this.#renewed(row, now))
    const names = this.#shares.namesOf(args)
    const shares = names.flatMap((name) => {
      const outcome = this.#shares.renew({ kind: 'renew', resourceName: name as ResourceName, processId, ttlMs, lockId: null, key }, now)
      return outcome.kind === 'renewed' ? [outcome] : []
    })
    return renewedAll(exclusive, shares, names, limit)
  }

  #renewed(row: RenewedRow, now: EpochMs, proclaims = false): Renewal {
    const { resource_name, id: lock_id, process_id } = row
    // An update returns only new values: a renewal in the very millisecond of the grant's latest event looks due too.
    if (proclaims || (row.is_due && !this.#context.hasEventAt(resource_name, now))) {
      this.#context.appendEvent({ at: now, kind: 'renewed', resource_name, lock_id, process_id, reason: null })
    }
    return { grant: grantFromRow(row), renewedAt: now, waiters: this.#queue.count(resource_name, now), revoked: null }
  }
}

/** A lease that restarts is a heartbeat, whatever it brings. */
function isProclaimed({ metadata = null, restartLease = false }: Pick<RenewCommand, 'metadata' | 'restartLease'>): boolean {
  return metadata !== null && !restartLease
}

function leaseArgs(command: Pick<RenewCommand, 'ttlMs' | 'metadata' | 'restartLease'>, now: EpochMs): Omit<LeaseArgs, 'key'> {
  const { ttlMs, metadata = null, restartLease } = command
  return {
    own: ttlMs === undefined ? 1 : 0,
    ttlMs: ttlMs ?? null,
    restartLease: restartLease === true ? 1 : 0,
    metadata: metadataToText(metadata),
    proclaimed: isProclaimed(command) ? 1 : 0,
    now
  }
}
