import type { Kysely } from 'kysely'
import type { ReleaseCommand, ReleaseOutcome } from '../../locks/commands.js'
import { isMeant, whyNotHeld } from '../../locks/lock.js'
import { LockError } from '../../locks/errors.js'
import { RETRY, attempt, type CommandResult } from '../batcher.js'
import { grantFromRow, type Tables } from '../tables.js'
import { isBug } from './errors.js'
import type { ReadLatest } from './read-latest.js'
import { isConditional, releaseArgs, releaseStatements, type EndedRow } from './release-sql.js'
import type { Session } from './session.js'
import type { WaitQueue } from './wait-queue.js'

/** How often a grant that came in between is looked for anew. */
const MOST_TRIES = 3

/** Releasing, and taking away, on PostgreSQL. */
export function ending(db: Kysely<Tables>, keepsHistory: boolean, readLatest: ReadLatest, queue: WaitQueue) {
  const statements = releaseStatements(db, keepsHistory)

  /** @param sent the answer of the statement, where it has been sent already. */
  async function release(session: Session, commands: readonly ReleaseCommand[], sent?: Promise<readonly EndedRow[]>, tries = 1): Promise<CommandResult[]> {
    const rows = await (sent ?? session.run(commands.some(isConditional) ? statements.endUnclaimed : statements.end, releaseArgs(commands)))
    // After the commit: whoever is called would otherwise still find the resource held.
    await queue.wakeHeads(
      session,
      rows.flatMap(({ waiters, resource_name }) => (waiters > 0 ? [resource_name] : []))
    )
    const ended = new Map(rows.map((row) => [commands[row.ordinal - 1], row]))
    const endedAs = new Map(rows.map((row) => [row.resource_name, row.ordinal]))
    // What came before the command that ended the grant must not be told of an end that was still to come.
    const tooEarly = new Set(commands.filter(({ resourceName }, index) => index + 1 < (endedAs.get(resourceName) ?? 0)))
    const refused = commands.filter((command) => !ended.has(command) && !tooEarly.has(command))
    const answers = await refuse(session, refused, tries).catch((cause: unknown) => {
      // What was ended is committed: carrying out the commands once more would answer that nothing was held.
      throw rows.length === 0 || isBug(cause) ? cause : new LockError('OUTCOME_UNKNOWN', { cause })
    })
    return commands.map((command) => {
      const row = ended.get(command)
      if (row === undefined) return answers.get(command) ?? done({ kind: 'not-held', reason: 'held_by_other' })
      return attempt(() => done({ kind: 'released', grant: grantFromRow(row), releasedAt: row.at }))
    })
  }

  /** Says why; but what was granted only after the statement had looked is the very grant that was meant, and is ended now. */
  async function refuse(session: Session, commands: readonly ReleaseCommand[], tries: number): Promise<Map<ReleaseCommand, CommandResult>> {
    if (commands.length === 0) return new Map()
    const snapshots = await readLatest(
      session,
      commands.map(({ resourceName }) => resourceName)
    )
    const answers = new Map(
      commands.map((command) => [
        command,
        attempt(() => {
          const { latest, at = 0 } = snapshots.get(command.resourceName) ?? {}
          if (tries < MOST_TRIES && !isConditional(command) && isMeant(latest, command, at)) return RETRY
          return done({ kind: 'not-held', reason: whyNotHeld(latest, command, at) })
        })
      ])
    )
    const late = commands.filter((command) => answers.get(command)?.kind === 'retry')
    const results = late.length === 0 ? [] : await release(session, late, undefined, tries + 1)
    for (const [index, command] of late.entries()) answers.set(command, results[index] ?? RETRY)
    return answers
  }

  /** All of them, as the outcomes of one command. */
  async function releaseMany(session: Session, releases: readonly ReleaseCommand[]): Promise<ReleaseOutcome[]> {
    const results = await release(session, releases)
    return results.flatMap((result) => {
      if (result.kind === 'failed') throw result.error
      return result.kind === 'done' ? [result.outcome as ReleaseOutcome] : []
    })
  }

  return { release, releaseMany }
}

function done(outcome: ReleaseOutcome): CommandResult {
  return { kind: 'done', outcome }
}
