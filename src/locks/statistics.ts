import { randomUUID } from 'node:crypto'

/** How many names the tally of conflicts keeps; the ones with fewer conflicts make room. */
const MOST_NAMES = 1000

export interface Counters {
  readonly grants: number
  readonly conflicts: number
  readonly releases: number
  readonly renewals: number
  readonly forcedReleases: number
  readonly expiries: number
}

/** What this instance has seen since it started. */
export class Statistics {
  /** Tells the counters of one instance, and of one run of it, from those of another. */
  readonly instance: string = randomUUID()
  readonly #counters = { grants: 0, conflicts: 0, releases: 0, renewals: 0, forcedReleases: 0, expiries: 0 }
  readonly #contended = new Map<string, number>()

  count(what: keyof Counters, times = 1): void {
    this.#counters[what] += times
  }

  conflictOver(name: string): void {
    this.#counters.conflicts += 1
    const before = this.#contended.get(name)
    if (before === undefined && this.#contended.size >= MOST_NAMES) this.#makeRoom()
    this.#contended.set(name, (before ?? 0) + 1)
  }

  get counters(): Counters {
    return { ...this.#counters }
  }

  /** The names with the most conflicts, most first. */
  mostContended(limit: number): { readonly name: string; readonly conflicts: number }[] {
    return [...this.#contended]
      .map(([name, conflicts]) => ({ name, conflicts }))
      .toSorted((a, b) => b.conflicts - a.conflicts)
      .slice(0, limit)
  }

  #makeRoom(): void {
    const keep = this.mostContended(MOST_NAMES / 2)
    this.#contended.clear()
    for (const { name, conflicts } of keep) this.#contended.set(name, conflicts)
  }
}
