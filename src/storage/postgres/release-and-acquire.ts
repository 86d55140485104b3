import { sql, type Kysely } from 'kysely'
import type { AcquireCommand, ReleaseCommand } from '../../locks/commands.js'
import type { Tables } from '../tables.js'
import { acquireArgs, acquireParts, isKeyed, plainRequests, type AcquireArgs, type FoundRow } from './acquire-sql.js'
import { firstPerResource } from './first-per-resource.js'
import { isConditional, plainReleases, releaseArgs, releaseParts, type EndedRow, type ReleaseArgs } from './release-sql.js'
import type { Session } from './session.js'
import { compiled } from './sql.js'

type Row = EndedRow | (FoundRow & { readonly ordinal: null })

/**
 * Releases and requests in one statement: what each statement and its flush cost is half of what a small batch costs.
 *
 * It takes rows in two passes, first those of the releases. Two such statements cannot wait for each other: what one ends,
 * the other still finds valid and leaves alone, and within each pass both take the rows in name order.
 */
export function releaseAndAcquire(db: Kysely<Tables>, keepsHistory: boolean) {
  const releaseAndAcquire = compiled<AcquireArgs & ReleaseArgs, Row>(db, (arg) => {
    const ended = releaseParts(plainReleases(arg), keepsHistory)
    const found = acquireParts(plainRequests(arg), keepsHistory)
    return sql`
      with ${ended.parts}, ${found.parts}
      ${ended.rows}
      union all
      select found.*, null::bigint from (${found.rows}) as found`
  })

  /** Sends both where both can go together. What then fails is tried again each kind by itself: the answers are for the first try. */
  return function send(session: Session, releases: readonly ReleaseCommand[], requests: readonly AcquireCommand[]) {
    if (releases.length === 0 || requests.length === 0 || releases.some(isConditional)) return APART
    const args = acquireArgs(firstPerResource(requests))
    if (isKeyed(args)) return APART
    const rows = session.run(releaseAndAcquire, { ...args, ...releaseArgs(releases) })
    return {
      ended: once(rows.then((all) => all.filter((row): row is EndedRow => row.ordinal !== null))),
      found: once(rows.then((all) => all.filter((row): row is FoundRow & { ordinal: null } => row.ordinal === null)))
    }
  }
}

const APART = { ended: () => undefined, found: () => undefined }

function once<T>(value: T): () => T | undefined {
  let left: T | undefined = value
  return () => {
    const taken = left
    left = undefined
    return taken
  }
}
