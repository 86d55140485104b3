import type { Sharing } from '../../../src/locks/lock.js'
import { groupBy } from './group-by.js'

/** A grant as its answers told of it, by the database's clock. */
export interface HeldGrant {
  readonly resource: string
  readonly process: string
  readonly lockId: number
  /** Null for all of the resource. */
  readonly sharing: Sharing | null
  readonly slots: readonly number[]
  readonly from: number
  /** When it was released, or when its lease ended. */
  readonly until: number
}

/**
 * What is wrong with a history of grants: at some instant a holder's statement about the permits was false, a slot had two holders,
 * a process two grants, or a number did not grow, for the resource or for a slot.
 */
export function faultsOfShares(grants: readonly HeldGrant[]): string[] {
  return [...groupBy(grants, ({ resource }) => resource).values()].flatMap((some) => faultsOfNumbers(some).concat(faultsOfPermits(some)))
}

function faultsOfNumbers(grants: readonly HeldGrant[]): string[] {
  const byNumber = grants.toSorted((a, b) => a.lockId - b.lockId)
  const slots = new Set(byNumber.flatMap((grant) => grant.slots))
  const ofSlots = Array.from(slots, (slot) => ({ what: `slot ${slot}`, line: byNumber.filter((grant) => grant.slots.includes(slot)) }))
  return [{ what: 'the resource', line: byNumber }, ...ofSlots].flatMap(({ what, line }) =>
    line.flatMap((grant, index) => {
      const before = line[index - 1]
      return before !== undefined && (before.lockId === grant.lockId || before.from > grant.from) ? [`${said(grant)}: its number is not above that of ${said(before)}, for ${what}`] : []
    })
  )
}

function faultsOfPermits(grants: readonly HeldGrant[]): string[] {
  const faults: string[] = []
  let held: HeldGrant[] = []
  for (const grant of grants.toSorted((a, b) => a.from - b.from || a.lockId - b.lockId)) {
    held = [...held.filter(({ until }) => until > grant.from), grant]
    const used = held.reduce((sum, { sharing }) => sum + (sharing?.permits ?? 1), 0)
    const limit = Math.min(...held.map(({ sharing }) => (sharing === null ? 1 : (sharing.limit ?? Infinity))))
    if (used > limit) faults.push(`${said(grant)}: ${used} permits of ${limit} are held, beside ${held.map(said).join('; ')}`)
    if (new Set(held.map(({ process }) => process)).size < held.length) faults.push(`${said(grant)}: its process holds another grant`)
    const slots = held.flatMap((one) => one.slots)
    if (new Set(slots).size < slots.length) faults.push(`${said(grant)}: a slot of it is held by another`)
    if (grant.slots.some((slot) => slot > (grant.sharing?.limit ?? 0))) faults.push(`${said(grant)}: a slot is above its limit`)
  }
  return faults
}

function said({ resource, process, lockId, sharing, slots, from, until }: HeldGrant): string {
  return `${resource} ${lockId} of ${process} ${JSON.stringify(sharing)} [${slots.join()}] ${from} to ${until}`
}
