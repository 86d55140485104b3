import type { Sharing, Terms } from '../../../src/locks/lock.js'
import type { Told, UsageTold } from './operation.js'

/**
 * One grant, from being made until its process is forgotten. What nobody was told has bounds instead of values, each from a least to
 * a most; the first answer that names it pins them down.
 */
export interface Tenure {
  readonly process: string
  /** Of its number. */
  readonly numberLeast: number
  readonly numberMost: number
  /** The operation that was granted it. */
  readonly from: number
  readonly requestId: string | null
  readonly ttlMs: number | null
  /** Null for all of the resource. */
  readonly sharing: Sharing | null
  /** Undefined until an answer tells. */
  readonly slots: readonly number[] | undefined
  readonly terms: Terms
  readonly lockedLeast: number
  readonly lockedMost: number
  /** Of the end of its lease. */
  readonly least: number
  readonly most: number
  /** No renewal moves its end past an instant between these. */
  readonly revoked: boolean
  readonly revokeLeast: number
  readonly revokeMost: number
  /** It was released or taken away; until some instant between these its permits stay taken. */
  readonly ended: boolean
  readonly freeLeast: number
  readonly freeMost: number
  /** Nobody was told of that end: its lease may have run out before. */
  readonly unseenEnd: boolean
  /** A repetition of its request was answered with it: from then on the service may not give it back by itself. */
  readonly claimed: boolean
  /** All of the resource was granted to another since: the service has forgotten it. */
  readonly gone: boolean
}

export interface State {
  /** A lower bound of the clock: the time of the latest change. */
  readonly now: number
  /** The largest number so far; where the latest is not known, what it must reach at least. */
  readonly last: number
  /** In the order in which they were granted. */
  readonly tenures: readonly Tenure[]
  /** The ids of requests that were granted. */
  readonly used: readonly string[]
}

export const NO_TERMS: Terms = { holdAtLeastMs: 0, lockDelayMs: 0 }

/** Whether its lease may last at that instant, and whether it must. */
export const mayHold = ({ ended, most }: Tenure, at: number): boolean => !ended && most > at
export const mustHold = ({ ended, least }: Tenure, at: number): boolean => !ended && least > at

/** Whether its permits may be taken at that instant, and whether they must: it is held, or the resource is kept after it. */
export const mayTake = ({ ended, most, freeMost, terms }: Tenure, at: number): boolean => (ended ? freeMost : most + terms.lockDelayMs) > at
export const mustTake = (tenure: Tenure, at: number): boolean => takenUntil(tenure) > at

/** The earliest instant at which its permits can be free. */
export function takenUntil({ ended, least, freeLeast, terms }: Tenure): number {
  return ended ? freeLeast : least + terms.lockDelayMs
}

export const limitOf = (sharing: Sharing | null): number => (sharing === null ? 1 : (sharing.limit ?? Number.POSITIVE_INFINITY))
export const permitsOf = (sharing: Sharing | null): number => sharing?.permits ?? 1

/** Whether a grant beside those keeps every statement true. Null asks for all of the resource. */
export function fits(sharing: Sharing | null, others: readonly Pick<Tenure, 'sharing'>[]): boolean {
  if (sharing === null) return others.length === 0
  const used = others.reduce((sum, other) => sum + permitsOf(other.sharing), permitsOf(sharing))
  return used <= Math.min(limitOf(sharing), ...others.map((other) => limitOf(other.sharing)))
}

export function isSame(one: Sharing | null | undefined, other: Sharing | null): boolean {
  return (one ?? null) === other || (one?.limit === other?.limit && one?.permits === other?.permits)
}

/** Whether those are the smallest slots that are free at that instant. @param others who may hold some. */
export function areSlots(slots: readonly number[], sharing: Sharing | null, others: readonly Tenure[], at: number): boolean {
  if (sharing === null || sharing.limit === null) return slots.length === 0
  if (slots.length !== sharing.permits || new Set(slots).size < slots.length || slots.some((slot) => slot < 1 || slot > limitOf(sharing))) return false
  const taken = new Set(others.filter((other) => mustTake(other, at)).flatMap((other) => other.slots ?? []))
  if (slots.some((slot) => taken.has(slot))) return false
  const perhaps = others.filter((other) => mayTake(other, at))
  if (perhaps.some((other) => other.slots === undefined)) return true
  const maybe = new Set(perhaps.flatMap((other) => other.slots ?? []))
  return Array.from({ length: Math.max(...slots) }, (_, index) => index + 1).every((slot) => slots.includes(slot) || maybe.has(slot))
}

/** Whether that is what the shares amount to at some instant between the two. */
export function isUsage({ holders, used, limit }: UsageTold, tenures: readonly Tenure[], since: number, until: number): boolean {
  const must = tenures.filter((tenure) => mustTake(tenure, until))
  const may = tenures.filter((tenure) => mayTake(tenure, since))
  const permits = (some: readonly Tenure[]): number => some.reduce((sum, { sharing }) => sum + permitsOf(sharing), 0)
  const limitOfAll = (some: readonly Tenure[]): number => Math.min(...some.map(({ sharing }) => limitOf(sharing)))
  const told = limit ?? Number.POSITIVE_INFINITY
  return holders >= must.length && holders <= may.length && used >= permits(must) && used <= permits(may) && told <= limitOfAll(must) && told >= limitOfAll(may)
}

/** The state with another tenure in that one's place, the same object where it is the same. */
export function replaced(state: State, before: Tenure, after: Tenure): State {
  return before === after ? state : { ...state, tenures: state.tenures.map((tenure) => (tenure === before ? after : tenure)) }
}

/** The tenure after one that is replaced, in the state after that. */
export function at(state: State, before: State, tenure: Tenure): Tenure {
  return state.tenures[before.tenures.indexOf(tenure)] ?? tenure
}

/** With the number known; undefined where it is another's, or out of order. */
export function numbered(state: State, tenure: Tenure, lockId: number): State | undefined {
  if (lockId < tenure.numberLeast || lockId > tenure.numberMost) return undefined
  if (tenure.numberLeast === tenure.numberMost) return state
  const index = state.tenures.indexOf(tenure)
  const tenures = state.tenures.map((other, place): Tenure => {
    if (place < index) return other.numberMost < lockId ? other : { ...other, numberMost: lockId - 1 }
    if (place > index) return other.numberLeast > lockId ? other : { ...other, numberLeast: lockId + 1 }
    return { ...other, numberLeast: lockId, numberMost: lockId }
  })
  if (tenures.some(({ numberLeast, numberMost }) => numberLeast > numberMost)) return undefined
  return { ...state, last: Math.max(state.last, lockId), tenures }
}

/** With the end of its lease known; undefined where that cannot be. */
export function endingAt(tenure: Tenure, end: number): Tenure | undefined {
  if (end < tenure.least || end > tenure.most) return undefined
  return tenure.least === end && tenure.most === end ? tenure : { ...tenure, least: end, most: end }
}

/** The same grant as an answer describes it, its unknown values now known; undefined where it is another, or elsewhere in its lease. */
export function pinned(state: State, tenure: Tenure, told: Omit<Told, 'lockedAt'> & { readonly lockedAt?: number }): State | undefined {
  if (told.process !== tenure.process) return undefined
  const { lockedAt = tenure.lockedLeast, slots = tenure.slots } = told
  if ('sharing' in told && !isSame(told.sharing, tenure.sharing)) return undefined
  if (told.lockedAt !== undefined && (lockedAt < tenure.lockedLeast || lockedAt > tenure.lockedMost)) return undefined
  if (tenure.slots !== undefined && slots !== undefined && tenure.slots.join() !== slots.join()) return undefined
  const named = numbered(state, tenure, told.lockId)
  const same = named && at(named, state, tenure)
  const ended = same && endingAt(same, told.expiresAt ?? Number.POSITIVE_INFINITY)
  if (named === undefined || same === undefined || ended === undefined) return undefined
  const isKnown = (ended.slots !== undefined || slots === undefined) && (told.lockedAt === undefined || ended.lockedLeast === ended.lockedMost)
  return replaced(named, same, isKnown ? ended : { ...ended, slots, ...(told.lockedAt === undefined ? {} : { lockedLeast: lockedAt, lockedMost: lockedAt }) })
}

/** The latest grant of that process. */
export function latestOf({ tenures }: State, process: string | null): Tenure | undefined {
  return tenures.findLast((tenure) => tenure.process === process)
}

/** Adds a grant that the others have admitted, and forgets them if it takes all of the resource. */
export function granted(state: State, tenure: Tenure, now: number): State {
  const { numberLeast, numberMost, sharing } = tenure
  const isNumbered = numberLeast === numberMost
  const before = state.tenures.map((other): Tenure => {
    const counted = isNumbered && other.numberMost >= numberLeast ? { ...other, numberMost: numberLeast - 1 } : other
    return sharing === null ? { ...counted, gone: true, least: 0, most: 0, freeLeast: 0, freeMost: 0, terms: NO_TERMS } : counted
  })
  return { ...state, now, last: numberLeast, tenures: [...before, tenure] }
}

/** A grant of which nothing is known but what was asked for. */
export function newTenure(asked: Pick<Tenure, 'process' | 'from' | 'requestId' | 'ttlMs' | 'sharing' | 'terms'>): Tenure {
  const never = Number.POSITIVE_INFINITY
  const ends = { least: never, most: never, revoked: false, revokeLeast: never, revokeMost: never, ended: false, freeLeast: 0, freeMost: 0, unseenEnd: false }
  return { ...asked, numberLeast: 0, numberMost: never, slots: undefined, lockedLeast: 0, lockedMost: never, ...ends, claimed: false, gone: false }
}
