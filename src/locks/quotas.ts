import { LockError } from './errors.js'

/** What one caller, and all callers together at one resource, may use. */
export interface Limits {
  /** Requests that wait for one resource on this instance. */
  readonly waitersPerResource: number
  /** Requests of one caller that wait on this instance. */
  readonly waitersPerCaller: number
  /** Valid grants of one key on the whole database; of everybody together where nobody has a key. */
  readonly locksPerKey: number
}

export const NO_LIMITS: Limits = { waitersPerResource: Infinity, waitersPerCaller: Infinity, locksPerKey: Infinity }

/** How long a key that was found full is refused without being counted again, in milliseconds. */
const FULL_FOR_MS = 1000

/** How many requests wait for each resource, and of each caller. */
export class WaiterQuota {
  readonly #limits: Limits
  readonly #atResource = new Map<string, number>()
  readonly #ofCaller = new Map<string, number>()

  constructor(limits: Limits) {
    this.#limits = limits
  }

  /**
   * Why a request may not wait for those resources: `TOO_MANY_REQUESTS` when a queue or the caller has enough waiters.
   *
   * @param caller identifies the caller; undefined is not limited.
   */
  faultOf(names: readonly string[], caller: string | undefined): LockError | undefined {
    if (names.some((name) => (this.#atResource.get(name) ?? 0) >= this.#limits.waitersPerResource)) {
      return new LockError('TOO_MANY_REQUESTS', { detail: 'Too many requests are waiting for this resource; nothing was changed' })
    }
    if (caller !== undefined && (this.#ofCaller.get(caller) ?? 0) >= this.#limits.waitersPerCaller) {
      return new LockError('TOO_MANY_REQUESTS', { detail: 'Too many requests of this caller are waiting; nothing was changed' })
    }
    return undefined
  }

  /** Counts a request that waits for those resources; returns a function to call once when it has ended. */
  enter(names: readonly string[], caller: string | undefined): () => void {
    const add = (difference: 1 | -1): void => {
      for (const name of names) addTo(this.#atResource, name, difference)
      if (caller !== undefined) addTo(this.#ofCaller, caller, difference)
    }
    add(1)
    return () => add(-1)
  }
}

/** How many event streams are open, and of which caller. */
export class WatcherQuota {
  readonly #limit: number
  readonly #limitPerCaller: number
  readonly #ofCaller = new Map<string, number>()
  #all = 0

  constructor(limit: number, limitPerCaller: number) {
    this.#limit = limit
    this.#limitPerCaller = limitPerCaller
  }

  /**
   * Lets one more stream begin.
   *
   * @returns a function to call once when it has ended.
   * @throws LockError `TOO_MANY_REQUESTS` when there are enough of them, or the caller has enough.
   */
  enter(caller: string): () => void {
    if (this.#all >= this.#limit) throw new LockError('TOO_MANY_REQUESTS', { detail: 'Too many streams of events are open' })
    if ((this.#ofCaller.get(caller) ?? 0) >= this.#limitPerCaller) {
      throw new LockError('TOO_MANY_REQUESTS', { detail: 'Too many streams of events of this caller are open' })
    }
    const add = (difference: 1 | -1): void => {
      this.#all += difference
      addTo(this.#ofCaller, caller, difference)
    }
    add(1)
    return () => add(-1)
  }
}

function addTo(counts: Map<string, number>, name: string, difference: 1 | -1): void {
  const count = (counts.get(name) ?? 0) + difference
  if (count === 0) counts.delete(name)
  else counts.set(name, count)
}

interface Tally {
  /** At least as many as this instance knows to be valid; ends are only noticed by counting again. Infinite until they are counted. */
  atMost: number
  /** Granted here since the present count began. */
  meanwhile: number
  counting: Promise<void> | undefined
  fullUntil: number
}

/**
 * Keeps each key from holding more grants than it may. The grants are counted in the database when this instance hears of a
 * key for the first time, and again when those made here since would fill it up; in between a request costs an addition.
 * What is asked for in the same moment, here or at other instances, can pass together.
 */
export class LockQuota {
  readonly #limit: number
  readonly #count: (key: string | null) => Promise<number>
  readonly #now: () => number
  readonly #tallies = new Map<string | null, Tally>()

  /**
   * @param count how many valid grants a key has on the database; null are those without a key.
   * @param now milliseconds on a clock that only goes forward.
   */
  constructor(limit: number, count: (key: string | null) => Promise<number>, now: () => number = () => performance.now()) {
    this.#limit = limit
    this.#count = count
    this.#now = now
  }

  /**
   * @param locks how many more are asked for.
   * @returns undefined when there is room; else a promise that resolves when there turns out to be.
   * @throws LockError `TOO_MANY_REQUESTS`, by rejection.
   */
  makeRoom(key: string | null, locks: number): Promise<void> | undefined {
    if (this.#limit === Infinity) return undefined
    const tally = this.#tallies.get(key)
    return tally !== undefined && tally.counting === undefined && tally.atMost + locks <= this.#limit ? undefined : this.#countAgain(key, locks)
  }

  /** Call it for every new grant. */
  granted(key: string | null, locks: number): void {
    const tally = this.#tallies.get(key)
    if (tally === undefined) return
    tally.atMost += locks
    tally.meanwhile += locks
  }

  async #countAgain(key: string | null, locks: number): Promise<void> {
    const tally = this.#tallies.get(key) ?? { atMost: Infinity, meanwhile: 0, counting: undefined, fullUntil: -Infinity }
    this.#tallies.set(key, tally)
    if (this.#now() >= tally.fullUntil) {
      tally.counting ??= this.#recount(key, tally).finally(() => (tally.counting = undefined))
      await tally.counting
    }
    if (tally.atMost + locks <= this.#limit) return
    throw new LockError('TOO_MANY_REQUESTS', { detail: `No more than ${this.#limit} locks may be held at once; nothing was changed` })
  }

  async #recount(key: string | null, tally: Tally): Promise<void> {
    tally.meanwhile = 0
    const counted = await this.#count(key)
    tally.atMost = counted + tally.meanwhile
    if (counted >= this.#limit) tally.fullUntil = this.#now() + FULL_FOR_MS
  }
}
