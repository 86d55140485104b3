import { sql, type RawBuilder, type SqlBool } from 'kysely'
import type { ReleaseCommand, ReleaseOutcome } from '../../locks/commands.js'
import { isMeant, whyNotHeld, type EndReason, type EpochMs } from '../../locks/lock.js'
import { KEEP_ENDED_MS } from '../tables.js'
import { statement } from '../statement.js'
import type { SqliteContext } from './context.js'
import { prepare } from './prepared.js'
import type { WaitQueue } from './wait-queue.js'

interface EndArgs {
  readonly name: string
  readonly how: EndReason
  readonly now: number
}

type Arg = <Name extends keyof EndArgs>(name: Name) => RawBuilder<EndArgs[Name]>

const ended = (arg: Arg) => ({ is_active: sql<SqlBool>`0`, ended_at: arg('now'), end_reason: arg('how') })

/** Releasing, and taking away, on SQLite. */
export function release({ database, db, readLatest, appendEvent }: SqliteContext, queue: WaitQueue) {
  const end = prepare<EndArgs>(
    database,
    statement((arg) => db.updateTable('resource_locks').set(ended(arg)).where('resource_name', '=', arg('name')))
  )
  const endAndSweep = prepare<EndArgs & { sweepAt: number }>(
    database,
    statement((arg) => db.updateTable('resource_locks').set({ ...ended(arg), sweep_at: arg('sweepAt') }).where('resource_name', '=', arg('name')))
  )
  const claimed = prepare<{ id: string }, { request_id: string }>(
    database,
    statement((arg) => db.selectFrom('lock_requests').select('request_id').where('request_id', '=', arg('id')).where('claimed', '=', sql.lit(1)))
  )

  return function release(command: ReleaseCommand, now: EpochMs): ReleaseOutcome {
    const { resourceName, processId, reason, unlessClaimed } = command
    const { latest } = readLatest(resourceName, now)
    if (!isMeant(latest, command, now) || (unlessClaimed !== undefined && claimed.get({ id: unlessClaimed.id }) !== undefined)) {
      return { kind: 'not-held', reason: whyNotHeld(latest, command, now) }
    }
    const { lockId, processId: holder, lockedAt, expiresAt, metadata } = latest
    const args = { name: resourceName, how: processId === null ? 'forced' : 'released', now } as const
    const sweepAt = now + KEEP_ENDED_MS
    // The sweeper comes by when the lease would have ended. Where that is soon, there is no index entry to move.
    if (expiresAt !== null && expiresAt <= sweepAt) end.run(args)
    else endAndSweep.run({ ...args, sweepAt })
    const kind = processId === null ? 'force_released' : 'released'
    appendEvent({ at: now, kind, resource_name: resourceName, lock_id: lockId, process_id: holder, reason })
    queue.wakeHead(resourceName, now)
    return { kind: 'released', grant: { lockId, resourceName, processId: holder, lockedAt, expiresAt, metadata }, releasedAt: now }
  }
}
