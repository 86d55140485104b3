import { sql, type Kysely } from 'kysely'
import type { ReleaseCommand, ReleaseOutcome } from '../../locks/commands.js'
import { isMeant, whyNotHeld } from '../../locks/ended-grant.js'
import { LockError } from '../../locks/errors.js'
import type { EpochMs } from '../../locks/lock.js'
import { GRANT_COLUMNS, grantFromRow, type GrantRow } from '../rows.js'
import type { Tables } from '../tables.js'
import type { Look } from './looking.js'
import type { Session } from './session.js'
import { CLOCK, columns, compiled, KEEP, openTo, VALID } from './sql.js'
import type { Line } from './waiting.js'

/** How often a grant that came in between is looked for anew. */
const MOST_TRIES = 3

interface EndArgs {
  readonly names: string[]
  /** Null ends whoever's grant it is. */
  readonly processes: (string | null)[]
  readonly lockIds: (number | null)[]
  readonly reasons: (string | null)[]
  readonly keys: (string | null)[]
  /** The requests that it was granted for, where it is to be ended only as long as no repetition was answered with it. */
  readonly requestIds: (string | null)[]
}

type EndedRow = GrantRow & { ended_at: EpochMs; ordinal: number; awaited: boolean }

/** Releasing, and taking away, on PostgreSQL. */
export function ending(db: Kysely<Tables>, keepsHistory: boolean, look: Look, line: Line) {
  const told = keepsHistory
    ? sql`,
      told as (
        insert into lock_events (at, kind, resource_name, lock_id, process_id, reason)
        select ended_at, case when end_reason = 'forced' then 'force_released' else 'released' end, resource_name, id, process_id, reason
        from ended
      )`
    : sql``

  /**
   * Answers with the grants that were ended, each with the place of the command that ended it: of several alike, the first.
   * The rows are locked in name order before; an update alone would not keep to it.
   *
   * A request's row is locked before those of its grants, so that a repetition that is being answered either finds the grants
   * ended or has claimed them.
   */
  const end = compiled<EndArgs, EndedRow>(
    db,
    (arg) => sql`
      with asked as materialized (
        select * from unnest(
          ${arg('names')}::text[], ${arg('processes')}::text[], ${arg('lockIds')}::bigint[], ${arg('reasons')}::text[], ${arg('keys')}::text[],
          ${arg('requestIds')}::text[]
        ) with ordinality as asked(resource_name, process_id, lock_id, reason, key, request_id, ordinal)
      ),
      unclaimed as materialized (
        select r.request_id from lock_requests r
        where r.request_id = any(${arg('requestIds')}::text[]) and not r.claimed
        order by r.request_id
        for update
      ),
      locked as materialized (
        select l.resource_name, asked.process_id, asked.reason, asked.ordinal
        from asked join resource_locks l on l.resource_name = asked.resource_name
        where l.process_id = coalesce(asked.process_id, l.process_id) and l.id = coalesce(asked.lock_id, l.id) and l.is_active
          and ${openTo(sql`asked.key`)}
          and (asked.request_id is null or asked.request_id in (select unclaimed.request_id from unclaimed))
        order by l.resource_name, asked.ordinal
        for update of l
      ),
      first as materialized (select distinct on (resource_name) * from locked order by resource_name, ordinal),
      ended as (
        update resource_locks l set
          is_active = false,
          ended_at = ${CLOCK},
          end_reason = case when first.process_id is null then 'forced' else 'released' end,
          sweep_at = least(l.sweep_at, ${CLOCK} + ${KEEP})
        from first
        where l.resource_name = first.resource_name and ${VALID}
        returning ${columns(GRANT_COLUMNS)}, l.ended_at, l.end_reason, first.reason, first.ordinal,
          exists (select from lock_waiters w where w.resource_name = l.resource_name) as awaited
      )${told}
      select * from ended`
  )

  async function release(session: Session, commands: readonly ReleaseCommand[], tries = 1): Promise<ReleaseOutcome[]> {
    const rows = await session.run(end, {
      names: commands.map(({ resourceName }) => resourceName),
      processes: commands.map(({ processId }) => processId),
      lockIds: commands.map(({ lockId }) => lockId),
      reasons: commands.map(({ reason }) => reason),
      keys: commands.map(({ key }) => key),
      requestIds: commands.map(({ unlessClaimed }) => unlessClaimed ?? null)
    })
    // After the commit: whoever is called would otherwise still find the resource held.
    await line.callFirsts(
      session,
      rows.flatMap(({ awaited, resource_name }) => (awaited ? [resource_name] : []))
    )
    const ended = new Map(rows.map((row) => [commands[row.ordinal - 1], row]))
    const endedAs = new Map(rows.map((row) => [row.resource_name, row.ordinal]))
    // What came before the command that ended the grant must not be told of an end that was still to come.
    const tooEarly = new Set(commands.filter(({ resourceName }, index) => index + 1 < (endedAs.get(resourceName) ?? 0)))
    const refused = commands.filter((command) => !ended.has(command) && !tooEarly.has(command))
    const answers = await refuse(session, refused, tries).catch((cause: unknown) => {
      // What was ended is committed: carrying out the commands once more would answer that nothing was held.
      throw rows.length === 0 ? cause : new LockError('OUTCOME_UNKNOWN', { cause })
    })
    return commands.map((command): ReleaseOutcome => {
      const row = ended.get(command)
      if (row !== undefined) return { kind: 'released', grant: grantFromRow(row), releasedAt: row.ended_at }
      return answers.get(command) ?? { kind: 'not-held', reason: 'held_by_other' }
    })
  }

  /** Says why; but what was granted only after the statement had looked is the very grant that was meant, and is ended now. */
  async function refuse(session: Session, commands: readonly ReleaseCommand[], tries: number): Promise<Map<ReleaseCommand, ReleaseOutcome>> {
    if (commands.length === 0) return new Map()
    const glances = await look(
      session,
      commands.map(({ resourceName }) => resourceName)
    )
    const late = commands.filter((command) => {
      const { latest, at = 0 } = glances.get(command.resourceName) ?? {}
      return tries < MOST_TRIES && command.unlessClaimed === undefined && isMeant(latest, command, at)
    })
    const outcomes = late.length === 0 ? [] : await release(session, late, tries + 1)
    return new Map([
      ...commands.map((command): [ReleaseCommand, ReleaseOutcome] => {
        const { latest, at = 0 } = glances.get(command.resourceName) ?? {}
        return [command, { kind: 'not-held', reason: whyNotHeld(latest, command, at) }]
      }),
      ...outcomes.map((outcome, index): [ReleaseCommand, ReleaseOutcome] => [late[index] as ReleaseCommand, outcome])
    ])
  }

  return release
}
