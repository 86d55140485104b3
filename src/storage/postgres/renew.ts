import { sql, type Kysely, type RawBuilder, type SqlBool } from 'kysely'
import type { Renewal, RenewAllCommand, RenewAllOutcome, RenewCommand, RenewManyOutcome, RenewOutcome } from '../../locks/commands.js'
import { type EpochMs, isMeant, type ResourceName, whyNotHeld } from '../../locks/lock.js'
import { attempt, RETRY, type CommandResult, done } from '../batcher.js'
import { renewedAll } from '../share-rows.js'
import { GRANT_COLUMNS, grantFromRow, type GrantRow, metadataToText, RENEWAL_EVENT_INTERVAL_MS, type Tables, wasShared } from '../tables.js'
import type { Shares } from './shares.js'
import { columns, compiled, openTo, SOMEBODY_WAITS, VALID, waitersFor, whileValid, type Session, type SnapshotReader } from './sql.js'

type RenewedRow = GrantRow & { at: EpochMs; ordinal: number; waiters: number }

interface RenewArgs {
  readonly names: string[]
  readonly processes: string[]
  readonly lockIds: (number | null)[]
  /** True where the grant keeps the lease with which it was made. */
  readonly own: boolean[]
  readonly ttls: (number | null)[]
  readonly keys: (string | null)[]
  /** True where the lease starts again now. */
  readonly restartLease: boolean[]
  readonly metadata: (string | null)[]
}

interface RenewAllArgs {
  readonly process: string
  readonly own: boolean
  readonly ttlMs: number | null
  readonly after: string
  readonly limit: number
  readonly prefix: string
  readonly key: string | null
}

/** How often `renew-many` is tried while grants come in between. */
const MAX_TRIES = 3

const EVERY = sql.lit(RENEWAL_EVENT_INTERVAL_MS)

/** Renewals: one, many, and all of a process. */
export class Renew {
  readonly #statements: ReturnType<typeof renewStatements>
  readonly #reader: SnapshotReader
  readonly #shares: Shares

  constructor(db: Kysely<Tables>, keepsHistory: boolean, reader: SnapshotReader, shares: Shares) {
    this.#statements = renewStatements(db, keepsHistory)
    this.#reader = reader
    this.#shares = shares
  }

  /** Takes commands for different resources. A command whose grant was made only after the statement ran has to be retried. */
  async renew(session: Session, commands: readonly RenewCommand[]): Promise<CommandResult[]> {
    const rows = await session.run(this.#statements.renewOnes, renewArgs(commands))
    const renewed = new Map(rows.map((row) => [row.ordinal, row]))
    const refused = commands.flatMap(({ resourceName }, index) => (renewed.has(index + 1) ? [] : [resourceName]))
    const snapshots = refused.length === 0 ? undefined : await this.#reader.readLatest(session, refused)
    const shared = commands.filter((command, index) => !renewed.has(index + 1) && wasShared(snapshots?.get(command.resourceName)))
    const ofShares = shared.length === 0 ? [] : await this.#shares.executeAll(session, shared)
    return commands.map((command, index) =>
      attempt(() => {
        if (shared.includes(command)) return ofShares[shared.indexOf(command)] ?? RETRY
        const row = renewed.get(index + 1)
        if (row !== undefined) return done({ kind: 'renewed', ...renewalFromRow(row) })
        const { latest, at = 0 } = snapshots?.get(command.resourceName) ?? {}
        return isMeant(latest, command, at) ? RETRY : done({ kind: 'not-held', reason: whyNotHeld(latest, command, at) })
      })
    )
  }

  /** Renews all in one statement; a further one renews those whose grants were made only after it ran. */
  async renewMany(session: Session, commands: readonly RenewCommand[]): Promise<RenewManyOutcome> {
    const outcomes = new Map<RenewCommand, RenewOutcome>()
    let left = commands
    for (let tries = 0; left.length > 0 && tries < MAX_TRIES; tries += 1) {
      const results = await this.renew(session, left)
      left = left.filter((command, index) => {
        const result = results[index] ?? RETRY
        if (result.kind === 'failed') throw result.error
        if (result.kind === 'done') outcomes.set(command, result.outcome as RenewOutcome)
        return result.kind === 'retry'
      })
    }
    return { kind: 'renewed-many', outcomes: commands.map((command) => outcomes.get(command) ?? { kind: 'not-held', reason: 'held_by_other' }) }
  }

  async renewAll(session: Session, { processId, ttlMs, ...limit }: RenewAllCommand): Promise<RenewAllOutcome> {
    const [rows, names] = await session.together([
      session.run(this.#statements.renewChunk, { process: processId, own: ttlMs === undefined, ttlMs: ttlMs ?? null, ...limit }),
      this.#shares.holders.namesOf(session, { process: processId, ...limit })
    ])
    const { key } = limit
    const commands = names.map((name): RenewCommand => ({ kind: 'renew', resourceName: name as ResourceName, processId, ttlMs, lockId: null, key }))
    const results = commands.length === 0 ? [] : await this.#shares.executeAll(session, commands)
    const shares = results.flatMap((result) => {
      if (result.kind === 'failed') throw result.error
      return result.kind === 'done' && result.outcome.kind === 'renewed' ? [result.outcome] : []
    })
    const exclusive = rows.map(renewalFromRow)
    return renewedAll(exclusive, shares, names, limit.limit)
  }
}

function renewalFromRow(row: RenewedRow): Renewal {
  return { grant: grantFromRow(row), renewedAt: row.at, waiters: row.waiters, revoked: null }
}

function renewArgs(commands: readonly RenewCommand[]): RenewArgs {
  return {
    names: commands.map(({ resourceName }) => resourceName),
    processes: commands.map(({ processId }) => processId),
    lockIds: commands.map(({ lockId }) => lockId),
    own: commands.map(({ ttlMs }) => ttlMs === undefined),
    ttls: commands.map(({ ttlMs }) => ttlMs ?? null),
    keys: commands.map(({ key }) => key),
    restartLease: commands.map(({ restartLease = false }) => restartLease),
    metadata: commands.map(({ metadata = null }) => metadataToText(metadata))
  }
}

function renewStatements(db: Kysely<Tables>, keepsHistory: boolean) {
  const renewOnes = compiled<RenewArgs, RenewedRow>(db, (arg) =>
    renewal(sql`
      asked as materialized (
        select * from unnest(
          ${arg('names')}::text[], ${arg('processes')}::text[], ${arg('lockIds')}::bigint[], ${arg('own')}::boolean[], ${arg('ttls')}::bigint[],
          ${arg('keys')}::text[], ${arg('restartLease')}::boolean[], ${arg('metadata')}::text[]
        ) with ordinality as asked(resource_name, process_id, lock_id, own, ttl_ms, key, restarts, metadata, ordinal)
      ),
      chosen as materialized (
        select l.resource_name, l.told_at, l.expires_at, asked.own, asked.ttl_ms, asked.restarts, asked.metadata, asked.ordinal
        from asked join resource_locks l on l.resource_name = asked.resource_name
        where l.process_id = asked.process_id and l.id = coalesce(asked.lock_id, l.id) and l.is_active
          and ${openTo(sql`asked.key`)}
        order by l.resource_name
        for update of l
      )`, keepsHistory)
  )

  const renewChunk = compiled<RenewAllArgs, RenewedRow>(db, (arg) =>
    renewal(sql`
      chosen as materialized (
        select l.resource_name, l.told_at, l.expires_at, ${arg('own')}::boolean as own, ${arg('ttlMs')}::bigint as ttl_ms,
          false as restarts, null::text as metadata, 1 as ordinal
        from resource_locks l
        where l.process_id = ${arg('process')} and l.resource_name > ${arg('after')} and ${VALID}
          and starts_with(l.resource_name, ${arg('prefix')}) and ${openTo(sql`${arg('key')}::text`)}
        order by l.resource_name
        limit ${arg('limit')}
        for update of l
      )`, keepsHistory)
  )

  return { renewOnes, renewChunk }
}

/** When a grant is renewed. */
const AT = whileValid(sql`chosen.expires_at`)

/** New metadata is always recorded; a lease that restarts is a heartbeat, whatever it brings. */
const IS_PROCLAIMED = sql<SqlBool>`(chosen.metadata is not null and not chosen.restarts)`

/**
 * A row's `told_at` is when the history last recorded a renewal; it changes only where another entry is due.
 *
 * @param chosen locks rows in name order: `resource_name, told_at, expires_at, own, ttl_ms, restarts, metadata, ordinal`, each name once.
 */
function renewal(chosen: RawBuilder<unknown>, keepsHistory: boolean): RawBuilder<unknown> {
  const appendedEvents = keepsHistory
    ? sql`,
      told as (
        insert into lock_events (at, kind, resource_name, lock_id, process_id)
        select told_at, 'renewed', resource_name, id, process_id from renewed where told
      )`
    : sql``
  return sql`
    with ${chosen},
    renewed as (
      update resource_locks l set
        ttl_ms = case when chosen.restarts and not chosen.own then chosen.ttl_ms else l.ttl_ms end,
        metadata = coalesce(chosen.metadata, l.metadata),
        renewals = l.renewals + 1,
        (locked_at, expires_at, sweep_at, told_at) = (
          select case when chosen.restarts then at else l.locked_at end, at + ttl, least(l.sweep_at, at + ttl),
            case when l.told_at > at - ${EVERY} and l.told_at <= at and not ${IS_PROCLAIMED} then l.told_at else at end
          from (select ${AT} as at, case when chosen.own then l.ttl_ms else chosen.ttl_ms end as ttl offset 0) as lease
        )
      from chosen
      where l.resource_name = chosen.resource_name and ${VALID}
      returning ${columns(GRANT_COLUMNS)}, l.told_at,
        case
          when chosen.restarts then l.locked_at
          else coalesce(l.expires_at - case when chosen.own then l.ttl_ms else chosen.ttl_ms end, ${AT})
        end as at,
        l.told_at <> chosen.told_at or ${IS_PROCLAIMED} as told, chosen.ordinal,
        case when ${SOMEBODY_WAITS} then ${waitersFor(sql`l.resource_name`)} else 0 end as waiters
    )${appendedEvents}
    select * from renewed order by resource_name`
}
