import { sql, type Kysely, type RawBuilder } from 'kysely'
import type { ReleaseCommand, ReleaseOutcome } from '../../locks/commands.js'
import { LockError } from '../../locks/errors.js'
import { type EpochMs, isMeant, whyNotHeld } from '../../locks/lock.js'
import { attempt, RETRY, type CommandResult, done } from '../batcher.js'
import { GRANT_COLUMNS, grantFromRow, NOBODY, wasShared, type GrantRow, type Tables } from '../tables.js'
import { isBug } from './connection.js'
import type { Shares } from './shares.js'
import { CLOCK, columns, compiled, KEEP, openTo, SOMEBODY_WAITS, sparse, VALID, whileValid, whole, type Arg, type Parts, type Session, type SnapshotReader } from './sql.js'
import type { WaitQueue } from './wait-queue.js'

/** How often a release is tried while grants come in between. */
const MAX_TRIES = 3

/** Releases and force releases. */
export class Release {
  readonly #statements: ReturnType<typeof releaseStatements>
  readonly #reader: SnapshotReader
  readonly #queue: WaitQueue
  readonly #shares: Shares

  constructor(db: Kysely<Tables>, keepsHistory: boolean, reader: SnapshotReader, queue: WaitQueue, shares: Shares) {
    this.#statements = releaseStatements(db, keepsHistory)
    this.#reader = reader
    this.#queue = queue
    this.#shares = shares
  }

  /** @param sent the rows of the statement, where it has been sent already. */
  async release(session: Session, commands: readonly ReleaseCommand[], sent?: Promise<readonly EndedRow[]>, tries = 1): Promise<CommandResult[]> {
    const { end, endUnclaimed, endExclusive } = this.#statements
    const rows = await (sent ?? session.run(commands.some(isConditional) ? endUnclaimed : commands.some(isForced) ? endExclusive : end, releaseArgs(commands)))
    // After the commit: a waiter that is woken up earlier still finds the resource held.
    await this.#queue.wakeHeads(
      session,
      rows.flatMap(({ waiters, resource_name }) => (waiters > 0 ? [resource_name] : []))
    )
    const results: (CommandResult | undefined)[] = commands.map(() => undefined)
    const endedBy = new Map<string, number>()
    for (const row of rows) {
      endedBy.set(row.resource_name, row.ordinal)
      results[row.ordinal - 1] = attempt(() => done({ kind: 'released', grant: grantFromRow(row), releasedAt: row.at }))
    }
    // A command before the one that ended the grant must not be answered that the grant has ended.
    for (const [index, { resourceName }] of commands.entries()) {
      if (index + 1 < (endedBy.get(resourceName) ?? 0)) results[index] = done({ kind: 'not-held', reason: 'held_by_other' })
    }
    const refused = commands.filter((_, index) => results[index] === undefined)
    if (refused.length === 0) return results as CommandResult[]
    const reasons = await this.#refuse(session, refused, tries).catch((cause: unknown) => {
      // The rows' grants have ended: running the commands again would answer that nothing was held.
      throw rows.length === 0 || isBug(cause) ? cause : new LockError('OUTCOME_UNKNOWN', { cause })
    })
    let next = 0
    return results.map((result) => result ?? reasons[next++] ?? RETRY)
  }

  /** All of them, as the outcomes of one command. */
  async releaseMany(session: Session, releases: readonly ReleaseCommand[]): Promise<ReleaseOutcome[]> {
    const results = await this.release(session, releases)
    return results.map((result) => {
      if (result.kind === 'failed') throw result.error
      // Other instances changed the resource again and again meanwhile.
      return result.kind === 'done' ? (result.outcome as ReleaseOutcome) : { kind: 'not-held', reason: 'held_by_other' }
    })
  }

  /** Says why nothing was released. A grant that was made after the statement ran is the one that the command means, and is released now. */
  async #refuse(session: Session, commands: readonly ReleaseCommand[], tries: number): Promise<CommandResult[]> {
    const snapshots = await this.#reader.readLatest(
      session,
      commands.map(({ resourceName }) => resourceName)
    )
    const shared = commands.filter(({ resourceName }) => wasShared(snapshots.get(resourceName)))
    const ofShares = shared.length === 0 ? [] : await this.#shares.executeAll(session, shared)
    const results = commands.map((command) =>
      attempt(() => {
        if (shared.includes(command)) return ofShares[shared.indexOf(command)] ?? RETRY
        const { latest, at = 0 } = snapshots.get(command.resourceName) ?? {}
        if (tries < MAX_TRIES && !isConditional(command) && isMeant(latest, command, at)) return RETRY
        return done({ kind: 'not-held', reason: whyNotHeld(latest, command, at) })
      })
    )
    const late = commands.filter((_, index) => results[index] === RETRY)
    if (late.length === 0 || tries >= MAX_TRIES) return results
    const lateResults = await this.release(session, late, undefined, tries + 1)
    let next = 0
    return results.map((result) => (result === RETRY ? (lateResults[next++] ?? RETRY) : result))
  }
}

export interface ReleaseArgs {
  readonly endNames: string[]
  /** Null ends the grant of any process. */
  readonly endProcesses: (string | null)[]
  readonly endLockIds: (number | null)[]
  readonly endReasons: (string | null)[]
  readonly endKeys: (string | null)[]
  /** The request of the grant, where the grant is ended only if no repetition has been answered with it. */
  readonly endRequestIds: (string | null)[]
}

type PlainArgs = Omit<ReleaseArgs, 'endRequestIds'>

/** A grant that was ended, when, how many wait for its resource, and which command (counted from 1) ended it. */
export type EndedRow = GrantRow & { readonly at: EpochMs; readonly waiters: number; readonly ordinal: number }

export function releaseArgs(commands: readonly ReleaseCommand[]): ReleaseArgs {
  return {
    endNames: commands.map(({ resourceName }) => resourceName),
    endProcesses: commands.map(({ processId }) => processId),
    endLockIds: sparse(commands.map(({ lockId }) => lockId)),
    endReasons: sparse(commands.map(({ reason }) => reason)),
    endKeys: sparse(commands.map(({ key }) => key)),
    endRequestIds: sparse(commands.map(({ unlessClaimed }) => unlessClaimed?.id ?? null))
  }
}

/** It may end the grant of any process; but where shares hold the resource, {@link Shares} has to end them. */
export function isForced({ processId }: ReleaseCommand): boolean {
  return processId === null
}

export function isConditional({ unlessClaimed }: ReleaseCommand): boolean {
  return unlessClaimed !== undefined
}

export function plainReleases(arg: Arg<PlainArgs>): RawBuilder<unknown> {
  return sql`
    to_end as materialized (${numbered(sql`select ${columnsOf(arg)}`)})`
}

/**
 * Locks the row of a request before the rows of its grants, so that a repetition that is answered meanwhile either finds the
 * grants ended or has claimed them.
 */
function unclaimedReleases(arg: Arg<ReleaseArgs>): RawBuilder<unknown> {
  return sql`
    granted_for as materialized (
      select r.request_id, r.claimed from lock_requests r
      where r.request_id = any(${arg('endRequestIds')}::text[])
      order by r.request_id
      for update
    ),
    to_end as materialized (
      select * from (${numbered(sql`select ${columnsOf(arg)}, unnest(${arg('endRequestIds')}::text[]) as request_id`)}) as meant
      where not exists (select from granted_for g where g.request_id = meant.request_id and g.claimed)
    )`
}

/** @param arg every array but `endNames` may be shorter than the others: the missing values are null. */
function columnsOf(arg: Arg<PlainArgs>): RawBuilder<unknown> {
  return sql`
    unnest(${arg('endNames')}::text[]) as resource_name, unnest(${arg('endProcesses')}::text[]) as process_id,
    unnest(${arg('endLockIds')}::bigint[]) as lock_id, unnest(${arg('endReasons')}::text[]) as reason, unnest(${arg('endKeys')}::text[]) as key`
}

/**
 * Rows with their ordinals. PostgreSQL expects ten rows of this, and a thousand of `generate_series`: with so many it would rather
 * read every row of a table that was small when it made the plan.
 */
function numbered(rows: RawBuilder<unknown>): RawBuilder<unknown> {
  return sql`select asked_end.*, row_number() over () as ordinal from (${rows}) as asked_end`
}

/**
 * Returns the grants that were ended, each with the ordinal of the command that ended it: the first of several that fit,
 * since an update uses the first row that joins. The rows are locked in name order beforehand, which an update alone would
 * not do.
 *
 * @param releases defines `to_end`.
 */
export function releaseParts(releases: RawBuilder<unknown>, keepsHistory: boolean, which: 'any' | 'exclusive' = 'any'): Parts {
  const appendedEvents = keepsHistory
    ? sql`,
      told_ended as (
        insert into lock_events (at, kind, resource_name, lock_id, process_id, reason)
        select ended_at, case when end_reason = 'forced' then 'force_released' else 'released' end, resource_name, id, process_id, reason
        from ended
      )`
    : sql``
  return {
    parts: sql`
      ${releases},
      locked as materialized (
        select l.resource_name, to_end.process_id, to_end.reason, to_end.ordinal
        from to_end join resource_locks l on l.resource_name = to_end.resource_name
        where l.process_id = coalesce(to_end.process_id, l.process_id) and l.id = coalesce(to_end.lock_id, l.id) and ${VALID}
          and ${openTo(sql`to_end.key`)}${which === 'any' ? sql`` : sql` and l.process_id <> ${sql.lit(NOBODY)}`}
        order by l.resource_name, to_end.ordinal
        for update of l
      ),
      ended as (
        update resource_locks l set
          is_active = false,
          ended_at = ${whileValid(sql`l.expires_at`)},
          end_reason = case when locked.process_id is null then 'forced' else 'released' end,
          sweep_at = least(l.sweep_at, ${CLOCK} + ${KEEP})
        from locked
        where l.resource_name = locked.resource_name and ${VALID}
        returning ${columns(GRANT_COLUMNS)}, l.ended_at, l.end_reason, locked.reason, locked.ordinal,
          case when ${SOMEBODY_WAITS}
            then (select count(*) from lock_waiters w where w.resource_name = l.resource_name) else 0
          end as waiters
      )${appendedEvents}`,
    rows: sql`select ${columns(GRANT_COLUMNS)}, ended_at as at, waiters, ordinal from ended l`
  }
}

function releaseStatements(db: Kysely<Tables>, keepsHistory: boolean) {
  return {
    end: compiled<PlainArgs, EndedRow>(db, (arg) => whole(releaseParts(plainReleases(arg), keepsHistory))),
    /** The same, where some command ends the grant of any process. */
    endExclusive: compiled<PlainArgs, EndedRow>(db, (arg) => whole(releaseParts(plainReleases(arg), keepsHistory, 'exclusive'))),
    /** The same, where some command ends its grant only unless the request was claimed. */
    endUnclaimed: compiled<ReleaseArgs, EndedRow>(db, (arg) => whole(releaseParts(unclaimedReleases(arg), keepsHistory, 'exclusive')))
  }
}
