import type { SweepCommand, SweepOutcome } from '../../src/locks/commands.js'
import type { EpochMs } from '../../src/locks/lock.js'
import { hasExpired, mayForget, mustForget, type Latest } from './grants.js'

/** What sweeps may do to the latest grants; how far they got is taken from their answers. */
export class Sweeping {
  readonly #latest: ReadonlyMap<unknown, Latest>
  #mayExpire = 0

  constructor(latest: ReadonlyMap<unknown, Latest>) {
    this.#latest = latest
  }

  /** Begins a round. @param sweeping whether a sweeper runs by itself. */
  begin(now: EpochMs, sweeping: boolean): void {
    this.#mayExpire = this.#expired(now).length
    if (sweeping) this.#sweptSome(now, { expired: true, removed: true })
  }

  /** What is wrong with the counts of a sweep. */
  fault({ limit: bite }: SweepCommand, { expired, removed, more }: SweepOutcome, now: EpochMs, concurrent: boolean): string | undefined {
    if (expired + removed > bite) return `worked on more than ${bite} rows`
    this.#mayExpire -= expired
    if (this.#mayExpire < 0) return 'expired grants that were valid or had ended before'
    if (concurrent) {
      // A row that was laid but is not granted yet may be removed too, and another sweep may have done some of the work.
      this.#sweptSome(now, { expired: expired > 0, removed: removed > 0 })
      return undefined
    }
    const due = this.#expired(now)
    const ended = [...this.#latest.values()].filter((latest) => latest.remembered !== 'no' && mayForget(latest, now))
    const mustRemove = ended.filter((latest) => latest.remembered === 'yes' && mustForget(latest, now))
    if (removed > ended.length) return `removed more than the ${ended.length} grants that ended long enough ago`
    if (!more && expired < due.filter(({ marked }) => marked === 'no').length) return 'left an expired grant as it was'
    if (!more && removed < mustRemove.length) return `removed less than the ${mustRemove.length} grants that ended long ago`
    for (const latest of removed > 0 ? ended : []) latest.remembered = more || !mustForget(latest, now) ? 'maybe' : 'no'
    for (const latest of due) mark(latest, now, more ? 'maybe' : 'yes')
    return undefined
  }

  /** The sweeper has run and got somewhere, nobody knows how far. */
  #sweptSome(now: EpochMs, { expired, removed }: { readonly expired: boolean; readonly removed: boolean }): void {
    for (const latest of removed ? this.#latest.values() : []) {
      if (latest.remembered === 'yes' && mayForget(latest, now)) latest.remembered = 'maybe'
    }
    for (const latest of expired ? this.#expired(now) : []) mark(latest, now, 'maybe')
  }

  /** Those whose expiry is perhaps not written down yet. */
  #expired(now: EpochMs): Latest[] {
    return [...this.#latest.values()].filter((latest) => latest.marked !== 'yes' && hasExpired(latest, now))
  }
}

function mark(latest: Latest, now: EpochMs, marked: 'maybe' | 'yes'): void {
  latest.marked = marked
  latest.markedAt = now
}
