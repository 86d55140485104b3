import type { Sharing } from '../../../src/locks/lock.js'
import { groupBy } from './group-by.js'
import type { Operation } from './operation.js'
import type { Recorded } from './recorded.js'
import { limitOf, NO_TERMS, permitsOf } from './tenure.js'

/** A grant in the history of a resource, with what its process asked for. Of several possibilities that count which forbid least. */
interface Period {
  readonly granted: Recorded
  permits: number
  limit: number
  /** What its terms are, at the least and at the most. */
  readonly delayMs: Bounds
  readonly holdMs: Bounds
  /** Exclusive from its beginning to its end, and without terms: its end is written down no later than with the next grant. */
  readonly isPlain: boolean
  /** The end of its lease, where nothing can have moved it; 0 where it is not known. */
  readonly leaseEnd: number
  /** What is told of it later, in order. */
  readonly later: readonly Recorded[]
  end: Recorded | undefined
  /** When its permits are free, once it has ended, at the earliest and at the latest. */
  freeAt: Bounds
}

type Bounds = readonly [least: number, most: number]

/** From the instant on, for so long. */
const after = (at: number, [least, most]: Bounds): Bounds => [at + least, at + most]
const boundsOf = (values: readonly number[]): Bounds => (values.length === 0 ? [0, 0] : [Math.min(...values), Math.max(...values)])

/**
 * What the history of one resource says wrong: numbers that do not grow; a grant beside which a holder's statement is false, by the
 * order of what is told, and by the clock unless that was set; a grant within the time for which the resource was kept; and anything
 * that is told of a grant after its end.
 *
 * @param events in their order.
 * @param operations on that resource.
 */
export function faultsOfPeriods(events: readonly Recorded[], operations: readonly Operation[], byClock: boolean): string[] {
  const faults: string[] = []
  const asks = new AsksOfResource(operations)
  const periods = new Map<number, Period>()
  const told = groupBy(events, ({ lockId }) => lockId)
  let latest: Recorded | undefined
  for (const event of events) {
    const period = periods.get(event.lockId)
    if (event.kind === 'granted') {
      if (latest !== undefined && event.lockId <= latest.lockId) faults.push(`numbers do not grow: ${lines(latest, event)}`)
      latest = event
      const begun = asks.periodOf(event, (told.get(event.lockId) ?? []).filter(({ eventId }) => eventId > event.eventId), isConversion(event, events))
      faults.push(...faultsBeside(begun, [...periods.values()].filter((other) => isInTheWay(other, event, byClock))))
      periods.set(event.lockId, begun)
    } else if (period === undefined || (period.end !== undefined && !(event.kind === 'force_released' && isKept(period, event, byClock)))) {
      faults.push(`it speaks of a grant that has ended: ${lines(period?.granted ?? latest, period?.end, event)}; what its process asked: ${asks.told(event.process)}`)
    } else if (event.kind === 'converted') {
      const sharings = asks.conversionsOf(event.process).filter((sharing) => sharing !== null)
      Object.assign(period, least(sharings.length === 0 ? [{ limit: null, permits: 1 }] : sharings))
    } else if (event.kind !== 'renewed' && event.kind !== 'revoked') {
      period.freeAt = period.end === undefined ? asks.freeAt(period, event) : [event.at, event.at]
      period.end = event
    }
  }
  return faults
}

/** Whether a grant was made by converting another one: its end is told just before. */
export function isConversion({ process, at, eventId }: Recorded, events: readonly Recorded[]): boolean {
  return events.some((other) => other.kind === 'released' && other.reason === 'converted' && other.process === process && other.at === at && other.eventId < eventId)
}

/** Taken away, the resource is free, also after a grant that had ended before. */
function isKept({ end, freeAt: [, most], isPlain }: Period, { at }: Recorded, byClock: boolean): boolean {
  return end?.kind !== 'force_released' || most > end.at ? (byClock ? most > at : !isPlain) : false
}

function isInTheWay({ end, freeAt, later, delayMs, isPlain, leaseEnd }: Period, { at, eventId }: Recorded, byClock: boolean): boolean {
  if (end !== undefined) return byClock && freeAt[0] > at
  if (isPlain || leaseEnd === Number.POSITIVE_INFINITY || (byClock && leaseEnd + delayMs[0] > at)) return true
  return later.some((event) => event.eventId > eventId && (event.kind === 'expired' ? byClock && event.at + delayMs[0] > at : true))
}

function faultsBeside(begun: Period, others: readonly Period[]): string[] {
  const all = [...others, begun]
  const used = all.reduce((sum, { permits }) => sum + permits, 0)
  const limit = Math.min(...all.map((period) => period.limit))
  const said = all.flatMap(({ granted, end }) => [granted, end])
  const faults: string[] = []
  if (used > limit) faults.push(`${limit === 1 ? 'two grants at once' : `${used} permits of ${limit} are taken`}: ${lines(...said)}`)
  if (others.some(({ granted }) => granted.process === begun.granted.process)) faults.push(`a process holds two grants at once: ${lines(...said)}`)
  return faults
}

/** Of several possibilities the fewest permits, and the largest limit. */
function least(sharings: readonly (Sharing | null)[]): Pick<Period, 'permits' | 'limit'> {
  return { permits: Math.min(...sharings.map(permitsOf)), limit: Math.max(...sharings.map(limitOf)) }
}

/** What was asked of one resource. */
class AsksOfResource {
  readonly #operations: ReadonlyMap<string, readonly Operation[]>
  readonly #forced: readonly Operation[]
  readonly #isRevoked: boolean

  constructor(operations: readonly Operation[]) {
    this.#operations = groupBy(operations, ({ ask }) => ('process' in ask && ask.process !== null ? ask.process : ''))
    this.#forced = operations.filter(({ ask }) => ask.kind === 'release' && ask.process === null)
    this.#isRevoked = operations.some(({ ask }) => ask.kind === 'revoke')
  }

  periodOf(granted: Recorded, later: readonly Recorded[], isConverted: boolean): Period {
    const own = this.#operations.get(granted.process) ?? []
    const requests = own.flatMap(({ ask }) => (ask.kind === 'request' ? [ask] : []))
    // What nobody asked for is a fault by itself, whatever it is taken for.
    const sharings = isConverted ? this.conversionsOf(granted.process) : requests.map(({ sharing = null }) => sharing)
    if (sharings.length === 0) sharings.push(null)
    const terms = requests.map((request) => request.terms ?? NO_TERMS)
    const holdMs = boundsOf(terms.map(({ holdAtLeastMs }) => holdAtLeastMs))
    const delayMs = boundsOf(terms.map(({ lockDelayMs }) => lockDelayMs))
    const isChanged = this.#isRevoked || own.some(({ ask }) => ask.kind === 'convert' || (ask.kind === 'release' && (ask.keepMs ?? 0) > 0))
    const isPlain = !isChanged && terms.every((one) => one === NO_TERMS) && sharings.every((sharing) => sharing === null)
    const ends = requests.map(({ ttlMs }) => (ttlMs === null ? Number.POSITIVE_INFINITY : isConverted ? 0 : granted.at + ttlMs))
    const leaseEnd = this.#isRevoked || ends.length === 0 || own.some(({ ask }) => ask.kind === 'renew') ? 0 : Math.min(...ends)
    return { granted, ...least(sharings), delayMs, holdMs, isPlain, leaseEnd, later, end: undefined, freeAt: [0, 0] }
  }

  /** What that process may have converted its grant to. */
  conversionsOf(process: string): (Sharing | null)[] {
    return (this.#operations.get(process) ?? []).flatMap(({ ask, answer }) => (ask.kind === 'convert' && (answer.kind === 'converted' || answer.kind === 'unknown') ? [ask.sharing] : []))
  }

  /** What a process asked and was answered, to be read by people. */
  told(process: string): string {
    return (this.#operations.get(process) ?? []).map(({ ask, answer, calledAt, answeredAt }) => JSON.stringify({ ask, answer, calledAt, answeredAt })).join(', ')
  }

  /** When the permits of a grant that ends are free. */
  freeAt({ granted, delayMs, holdMs }: Period, { kind, at, process, reason }: Recorded): Bounds {
    if (kind === 'expired') return after(at, delayMs)
    if (kind === 'force_released') {
      const candidates = this.#forced.filter(({ answer }) => answer.kind === 'unknown' || (answer.kind === 'released' && answer.at === at))
      const isDelayed = candidates.map(({ ask }) => ask.kind === 'release' && ask.freesAtOnce !== true)
      return [isDelayed.every(Boolean) ? at + delayMs[0] : at, isDelayed.some(Boolean) ? at + delayMs[1] : at]
    }
    if (reason === 'converted') return [at, at]
    const own = this.#operations.get(process) ?? []
    const known = own.find(({ answer }) => answer.kind === 'released' && answer.at === at)
    const releases = known === undefined ? own.filter(({ answer }) => answer.kind === 'unknown') : [known]
    const keeps = releases.flatMap(({ ask }) => (ask.kind === 'release' ? [ask.keepMs ?? 0] : []))
    if (keeps.length === 0) return [at, at]
    const [least, most] = after(at, boundsOf(keeps))
    // What nobody was told of is given back at once, whatever its terms.
    const isGivenBack = known === undefined && releases.some(({ ask }) => ask.kind === 'request' && ask.waits)
    const heldUntil = (ms: number): number => (ms === 0 ? 0 : granted.at + ms)
    return [isGivenBack ? at : Math.max(least, heldUntil(holdMs[0])), Math.max(most, heldUntil(holdMs[1]))]
  }
}

function lines(...events: readonly (Recorded | undefined)[]): string {
  return events.filter((event) => event !== undefined).map((event) => JSON.stringify(event)).join(', ')
}
