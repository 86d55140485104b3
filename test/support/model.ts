import type {
  AcquireCommand,
  AcquireOutcome,
  InspectOutcome,
  NotHeldReason,
  ReleaseCommand,
  ReleaseOutcome,
  SweepCommand,
  SweepOutcome
} from '../../src/locks/commands.js'
import type { EpochMs, Grant, ResourceName } from '../../src/locks/lock.js'
import type { ListPage, ListQuery } from '../../src/locks/lock-store.js'
import { KEEP_ENDED_MS } from '../../src/storage/rows.js'
import { faultOfCount, faultOfPage, type CountQuery, type Listed } from './model-list.js'

/** How much longer than it has to a store may keep an ended row that the sweeper has already met once. */
const SLACK_MS = 1000

/** The latest grant of a resource, and what the sweeper may have done about it. */
interface Latest {
  readonly grant: Grant
  releasedAt: EpochMs | null
  /** Whether the sweeper has written the expiry down, and the last instant at which it may have. */
  marked: 'no' | 'maybe' | 'yes'
  markedAt: EpochMs
  /** Whether the store still remembers that the grant ever was. */
  remembered: 'yes' | 'maybe' | 'no'
}

/**
 * The engine as a plain map: what a store must answer, whatever its SQL does. Commands are applied in the order in which
 * they were submitted. Only two things are taken from the store's answers, and checked there: the numbers of the grants,
 * and how far the sweeper got.
 */
export class Model {
  now: EpochMs
  readonly #latest = new Map<ResourceName, Latest>()
  /** The largest number of each name; unlike the store's row it is never forgotten. */
  readonly #lastNumber = new Map<ResourceName, number>()
  readonly #numbers = new Set<number>()
  /** What readers may have seen of the names that changed in this round, oldest first. */
  readonly #seen = new Map<ResourceName, (Grant | null)[]>()
  #mayExpire = 0

  constructor(now: EpochMs) {
    this.now = now
  }

  /** Begins a round of commands that were submitted together. @param sweeping whether a sweeper ran by itself beside them. */
  begin(sweeping: boolean): void {
    this.#seen.clear()
    this.#mayExpire = this.#expired().length
    if (sweeping) this.#sweptSome({ expired: true, removed: true })
  }

  /** The valid grant of a resource. */
  holder(name: ResourceName): Grant | null {
    const latest = this.#latest.get(name)
    return latest !== undefined && this.#isValid(latest) ? latest.grant : null
  }

  /** The number of the latest grant of a resource; 0 before the first. */
  lastNumber(name: ResourceName): number {
    return this.#lastNumber.get(name) ?? 0
  }

  /** The instants to come at which something changes by itself: leases end, ended grants may be forgotten. */
  turningPoints(): { name: ResourceName; at: EpochMs }[] {
    return [...this.#latest]
      .flatMap(([name, latest]) => {
        const end = this.#isValid(latest) ? latest.grant.expiresAt : this.#endOf(latest) + KEEP_ENDED_MS
        return end !== null && end > this.now ? [{ name, at: end }] : []
      })
      .toSorted((a, b) => a.at - b.at)
  }

  /** What is wrong with the number of a new grant. */
  faultOfNumber(name: ResourceName, lockId: number): string | undefined {
    if (!Number.isSafeInteger(lockId)) return 'the number is no safe integer'
    if (lockId <= this.lastNumber(name)) return `the number is not larger than ${this.lastNumber(name)}`
    return this.#numbers.has(lockId) ? 'another resource got that number before' : undefined
  }

  /** What must come of it. @param lockId the number that the store gave, should it have granted. */
  acquire({ resourceNames, processId, ttlMs, metadata }: AcquireCommand, lockId: number): AcquireOutcome {
    const [resourceName] = resourceNames as [ResourceName]
    const holder = this.holder(resourceName)
    if (holder !== null) return { kind: 'held', conflicts: [holder], at: this.now, waiters: 0 }
    const expiresAt = ttlMs === null ? null : this.now + ttlMs
    const grant = { lockId, resourceName, processId, lockedAt: this.now, expiresAt, metadata }
    this.#numbers.add(lockId)
    this.#lastNumber.set(resourceName, lockId)
    this.#change(resourceName, () =>
      this.#latest.set(resourceName, { grant, releasedAt: null, marked: 'no', markedAt: this.now, remembered: 'yes' })
    )
    return { kind: 'granted', grants: [grant], replayed: false }
  }

  /** What may come of it: more than one refusal where the sweeper may have removed what the refusal tells of. */
  release({ resourceName, processId, lockId }: ReleaseCommand): ReleaseOutcome[] {
    const latest = this.#latest.get(resourceName)
    if (latest === undefined) return [refused('not_locked')]
    const { grant } = latest
    if (this.#isValid(latest)) {
      if (grant.processId !== processId || (lockId ?? grant.lockId) !== grant.lockId) return [refused('held_by_other')]
      this.#change(resourceName, () => (latest.releasedAt = this.now))
      return [{ kind: 'released', grant, releasedAt: this.now }]
    }
    if (grant.processId !== processId || latest.remembered === 'no') return [refused('not_locked')]
    const exact = refused(latest.releasedAt === null ? 'expired' : 'released')
    return latest.remembered === 'yes' ? [exact] : [exact, refused('not_locked')]
  }

  inspect(name: ResourceName): InspectOutcome[] {
    return this.#statesOf(name).map((grant) => ({ kind: 'inspected', at: this.now, grant, waiters: 0 }))
  }

  /** What is wrong with a page of the list. */
  faultOfPage(query: ListQuery, page: ListPage): string | undefined {
    return faultOfPage(this.#listed(), query, page)
  }

  faultOfCount(query: CountQuery, count: number): string | undefined {
    return faultOfCount(this.#listed(), query, count)
  }

  /**
   * What is wrong with the counts of a sweep. Sweeps are judged before what they run beside: whatever they removed may be
   * missing already when the first of the others comes.
   */
  faultOfSweep({ bite }: SweepCommand, { expired, removed, more }: SweepOutcome, concurrent: boolean): string | undefined {
    if (expired + removed > bite) return `worked on more than ${bite} rows`
    this.#mayExpire -= expired
    if (this.#mayExpire < 0) return 'expired grants that were valid or had ended before'
    if (concurrent) {
      // A row that was laid but is not granted yet may be removed too, and another sweep may have done some of the work.
      this.#sweptSome({ expired: expired > 0, removed: removed > 0 })
      return undefined
    }
    const due = this.#expired()
    const ended = [...this.#latest.values()].filter((latest) => latest.remembered !== 'no' && this.#mayForget(latest))
    const mustRemove = ended.filter((latest) => latest.remembered === 'yes' && this.#mustForget(latest))
    if (removed > ended.length) return `removed more than the ${ended.length} grants that ended long enough ago`
    if (!more && expired < due.filter(({ marked }) => marked === 'no').length) return 'left an expired grant as it was'
    if (!more && removed < mustRemove.length) return `removed less than the ${mustRemove.length} grants that ended long ago`
    for (const latest of removed > 0 ? ended : []) latest.remembered = more || !this.#mustForget(latest) ? 'maybe' : 'no'
    for (const latest of due) this.#mark(latest, more ? 'maybe' : 'yes')
    return undefined
  }

  /** The sweeper has run and got somewhere, nobody knows how far. */
  #sweptSome({ expired, removed }: { readonly expired: boolean; readonly removed: boolean }): void {
    for (const latest of removed ? this.#latest.values() : []) {
      if (latest.remembered === 'yes' && this.#mayForget(latest)) latest.remembered = 'maybe'
    }
    for (const latest of expired ? this.#expired() : []) this.#mark(latest, 'maybe')
  }

  #mark(latest: Latest, marked: 'maybe' | 'yes'): void {
    latest.marked = marked
    latest.markedAt = this.now
  }

  #expired(): Latest[] {
    return [...this.#latest.values()].filter(
      (latest) => latest.marked !== 'yes' && latest.releasedAt === null && !this.#isValid(latest)
    )
  }

  #isValid({ grant, releasedAt }: Latest): boolean {
    return releasedAt === null && (grant.expiresAt === null || this.now < grant.expiresAt)
  }

  #endOf({ grant, releasedAt }: Latest): EpochMs {
    return releasedAt ?? grant.expiresAt ?? Number.POSITIVE_INFINITY
  }

  #mayForget(latest: Latest): boolean {
    return this.#endOf(latest) + KEEP_ENDED_MS <= this.now
  }

  /** The sweeper keeps what it marks for another while, so that an expiry it saw late is remembered too. */
  #mustForget(latest: Latest): boolean {
    if (latest.releasedAt === null && latest.marked !== 'yes') return false
    const from = latest.releasedAt ?? latest.markedAt
    return from + KEEP_ENDED_MS + SLACK_MS <= this.now
  }

  #listed(): Listed[] {
    return [...this.#latest.keys()].map((name) => ({ name, states: this.#statesOf(name) }))
  }

  #statesOf(name: ResourceName): readonly (Grant | null)[] {
    return this.#seen.get(name) ?? [this.holder(name)]
  }

  #change(name: ResourceName, change: () => void): void {
    const states = this.#seen.get(name) ?? [this.holder(name)]
    change()
    this.#seen.set(name, [...states, this.holder(name)])
  }
}

function refused(reason: NotHeldReason): ReleaseOutcome {
  return { kind: 'not-held', reason }
}
