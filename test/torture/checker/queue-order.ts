import { groupBy } from './group-by.js'
import type { Operation, Tolerance } from './operation.js'

/** A place in line as it was seen in the database at some instant between the two, while it counted. */
export interface Sighting {
  readonly resource: string
  readonly ticket: string
  /** Each process has waited for one request only. */
  readonly process: string
  readonly from: number
  readonly to: number
  /** Until when it counts without a further sign of life; Infinity where nothing has to be heard. */
  readonly until: number
  /** It waits for a share without a limit; others of that kind may pass it. */
  readonly isUnlimited?: boolean
}

interface Stay {
  readonly process: string
  readonly isUnlimited: boolean
  readonly sightings: readonly Sighting[]
}

/**
 * First come, first served: nobody who asked after a place in line had been seen was granted the resource while that place
 * counted and was still held when the answer came. Before that the grant may not be committed, nor that the place was left.
 * A place that lapsed, with its instance for instance, may be passed; so may one for a share without a limit by another of that kind.
 * A writer waits for nobody but those who were there before, therefore, and for what they hold.
 *
 * @param sightings in the order in which they were made.
 * @returns a sentence for each one who was overtaken.
 */
export function overtaken(operations: readonly Operation[], sightings: readonly Sighting[], { clocksMs }: Tolerance): string[] {
  const firstCalls = new Map<string, number>()
  for (const { ask, calledAt } of operations) {
    if (ask.kind === 'request') firstCalls.set(ask.process, Math.min(calledAt, firstCalls.get(ask.process) ?? calledAt))
  }
  const stays = groupBy(sightings, ({ resource }) => resource)
  return operations.flatMap(({ resource, ask, answer, calledAt, answeredAt }) => {
    if (ask.kind !== 'request' || answer.kind !== 'granted' || answer.replayed) return []
    const asked = Math.min(calledAt, firstCalls.get(ask.process) ?? calledAt) - clocksMs
    const at = answer.grant.lockedAt
    const isUnlimited = ask.sharing?.limit === null
    return staysIn(stays.get(resource) ?? [])
      .filter((stay) => stay.process !== ask.process && !(isUnlimited && stay.isUnlimited) && stoodBefore(stay, asked, at - clocksMs, answeredAt + clocksMs))
      .map((stay) => `${ask.process} was granted ${resource} at ${at}, having asked at ${Math.round(asked)}, before ${stay.process}, whose place was seen ${spanOf(stay)}`)
  })
}

function staysIn(sightings: readonly Sighting[]): Stay[] {
  return [...groupBy(sightings, ({ ticket, process }) => `${ticket} ${process}`).values()].map((seen) => ({
    process: seen[0]?.process ?? '',
    isUnlimited: seen[0]?.isUnlimited ?? false,
    sightings: seen
  }))
}

/** It was seen before the other one asked, counted without a gap until the grant, and was still there after the answer. */
function stoodBefore({ sightings }: Stay, asked: number, before: number, after: number): boolean {
  const first = sightings.findIndex(({ to }) => to < asked)
  if (first === -1 || !sightings.some(({ from }) => from > after)) return false
  let until = 0
  for (const sighting of sightings.slice(first)) {
    if (sighting.to >= before) break
    if (until !== 0 && sighting.to > until) return false
    until = sighting.until
  }
  return until > after
}

function spanOf({ sightings }: Stay): string {
  return `from ${Math.round(sightings[0]?.from ?? 0)} to ${Math.round(sightings.at(-1)?.from ?? 0)}`
}
