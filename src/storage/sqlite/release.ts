import { sql, type RawBuilder, type SqlBool } from 'kysely'
import type { ReleaseCommand, ReleaseOutcome } from '../../locks/commands.js'
import { type IdempotencyKey, isMeant, whyNotHeld, type EndReason, type EpochMs } from '../../locks/lock.js'
import { KEEP_ENDED_MS, NOBODY } from '../tables.js'
import type { PreparedStatement, SqliteContext } from './context.js'
import type { Shares } from './shares.js'
import type { WaitQueue } from './wait-queue.js'

interface EndArgs {
  readonly name: string
  readonly how: EndReason
  readonly now: number
}

type Arg = <Name extends keyof EndArgs>(name: Name) => RawBuilder<EndArgs[Name]>

const ended = (arg: Arg) => ({ is_active: sql<SqlBool>`0`, ended_at: arg('now'), end_reason: arg('how') })

/** Releases on SQLite, forced ones included. */
export class Release {
  readonly #context: SqliteContext
  readonly #queue: WaitQueue
  readonly #shares: Shares
  readonly #end: PreparedStatement<EndArgs>
  readonly #endAndSweep: PreparedStatement<EndArgs & { sweepAt: number }>
  readonly #claimed: PreparedStatement<{ id: string }, { request_id: string }>

  constructor(context: SqliteContext, queue: WaitQueue, shares: Shares) {
    const { db } = context
    this.#context = context
    this.#queue = queue
    this.#shares = shares
    this.#end = context.prepare((arg) => db.updateTable('resource_locks').set(ended(arg)).where('resource_name', '=', arg('name')))
    this.#endAndSweep = context.prepare((arg) =>
      db.updateTable('resource_locks').set({ ...ended(arg), sweep_at: arg('sweepAt') }).where('resource_name', '=', arg('name'))
    )
    this.#claimed = context.prepare((arg) =>
      db.selectFrom('lock_requests').select('request_id').where('request_id', '=', arg('id')).where('claimed', '=', sql.lit(1))
    )
  }

  release(command: ReleaseCommand, now: EpochMs): ReleaseOutcome {
    const { resourceName, processId, reason, unlessClaimed } = command
    const { latest } = this.#context.readLatest(resourceName, now)
    if (latest?.processId === NOBODY || command.keepMs !== undefined) return this.#shares.release(command, this.#isClaimed(unlessClaimed), now)
    if (!isMeant(latest, command, now) || this.#isClaimed(unlessClaimed)) {
      return { kind: 'not-held', reason: whyNotHeld(latest, command, now) }
    }
    const { lockId, processId: holder, lockedAt, expiresAt, metadata } = latest
    const args = { name: resourceName, how: processId === null ? 'forced' : 'released', now } as const
    const sweepAt = now + KEEP_ENDED_MS
    // The sweeper visits the row when the lease would have ended. If that is soon, no index entry needs to move.
    if (expiresAt !== null && expiresAt <= sweepAt) this.#end.run(args)
    else this.#endAndSweep.run({ ...args, sweepAt })
    const kind = processId === null ? 'force_released' : 'released'
    this.#context.appendEvent({ at: now, kind, resource_name: resourceName, lock_id: lockId, process_id: holder, reason })
    this.#queue.wakeHead(resourceName, now)
    return { kind: 'released', grant: { lockId, resourceName, processId: holder, lockedAt, expiresAt, metadata }, releasedAt: now }
  }

  #isClaimed(request: IdempotencyKey | undefined): boolean {
    return request !== undefined && this.#claimed.get({ id: request.id }) !== undefined
  }
}
