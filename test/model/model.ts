import type { AcquireCommand, AcquireOutcome, FindRequestCommand, FindRequestOutcome, InspectOutcome, ReleaseCommand, ReleaseOutcome, Renewal, RenewAllCommand, RenewAllOutcome, RenewCommand, RenewOutcome, SweepCommand, SweepOutcome } from '../../src/locks/commands.js'
import type { NotHeldReason, EpochMs, Grant, ProcessId, ResourceName } from '../../src/locks/lock.js'
import type { ListPage, ListQuery, LockEvent } from '../../src/locks/store.js'
import { conflictOf, KEEP_ENDED_MS, RENEWAL_EVENT_INTERVAL_MS } from '../../src/storage/tables.js'
import { endOf, ExpectedHistory, hasExpired, isOpenTo, isValid, type Latest, newest, RememberedRequests, Sweeping } from './grants.js'
import { bytewise, faultOfCount, faultOfPage, unlessOneOf, type CountQuery, type Listed } from './list.js'

/**
 * The engine as a plain map: what a store must answer, whatever its SQL does. Commands are applied in the order in which
 * they were submitted. Only two things are taken from the store's answers, and checked there: the numbers of the grants,
 * and how far the sweeper got.
 */
export class Model {
  now: EpochMs
  readonly requests = new RememberedRequests((name) => this.holder(name))
  readonly #latest = new Map<ResourceName, Latest>()
  readonly #sweeping = new Sweeping(this.#latest)
  readonly #history = new ExpectedHistory()
  /** The largest number of each name; unlike the store's row it is never forgotten. */
  readonly #lastNumber = new Map<ResourceName, number>()
  readonly #numbers = new Set<number>()
  /** What readers may have seen of the names that changed in this round, oldest first. */
  readonly #seen = new Map<ResourceName, (Grant | null)[]>()

  constructor(now: EpochMs) {
    this.now = now
  }

  /** Begins a round of commands that were submitted together. @param sweeping whether a sweeper ran by itself beside them. */
  begin(sweeping: boolean): void {
    this.#seen.clear()
    this.#sweeping.begin(this.now, sweeping)
    if (sweeping) this.requests.swept(this.now, false)
  }

  /** The valid grant of a resource. */
  holder(name: ResourceName): Grant | null {
    const latest = this.#latest.get(name)
    return latest !== undefined && isValid(latest, this.now) ? latest.grant : null
  }

  /** Who had the latest grant of a resource. */
  lastProcess(name: ResourceName): ProcessId | undefined {
    return this.#latest.get(name)?.grant.processId
  }

  /** The key that the latest grant of a resource belongs to. */
  lastKey(name: ResourceName): string | null {
    return this.#latest.get(name)?.key ?? null
  }

  /** The number of the latest grant of a resource; 0 before the first. */
  lastNumber(name: ResourceName): number {
    return this.#lastNumber.get(name) ?? 0
  }

  /** The instants to come at which something changes by itself: leases end, ended grants may be forgotten. */
  turningPoints(): { name: ResourceName; at: EpochMs }[] {
    return [...this.#latest]
      .flatMap(([name, latest]) => {
        const points = isValid(latest, this.now) ? [endOf(latest), latest.toldAt + RENEWAL_EVENT_INTERVAL_MS] : [endOf(latest) + KEEP_ENDED_MS]
        return points.filter((at) => at > this.now && Number.isFinite(at)).map((at) => ({ name, at }))
      })
      .toSorted((a, b) => a.at - b.at)
  }

  /** What is wrong with the answer to a request. */
  faultOfAcquire(command: AcquireCommand, answer: AcquireOutcome): string | undefined {
    const { resourceNames, idempotencyKey: mark } = command
    const before = mark === null ? undefined : this.requests.recognise(mark, this.now)
    if (before !== undefined && (before.surely || answer.kind === 'request-id-reused')) return unlessOneOf([before.outcome], answer)
    const conflicts = resourceNames.flatMap((name) => this.holder(name) ?? [])
    if (conflicts.length > 0) return unlessOneOf([{ kind: 'held', conflicts: conflicts.map(conflictOf), at: this.now, waiters: 0 }], answer)
    if (answer.kind !== 'granted') return 'expected a grant'
    const grants: Grant[] = []
    for (const [index, name] of resourceNames.entries()) {
      const lockId = answer.grants[index]?.lockId ?? 0
      const fault = this.#faultOfNumber(name, lockId)
      if (fault !== undefined) return fault
      grants.push(this.#grant(name, lockId, command))
    }
    this.requests.remember(command, grants, this.now)
    return unlessOneOf([{ kind: 'granted', grants, replayed: false }], answer)
  }

  /** What may come of it: more than one refusal where the sweeper may have removed what the refusal tells of. */
  release(command: ReleaseCommand): ReleaseOutcome[] {
    const { resourceName, processId, reason } = command
    const latest = this.#validOf(command)
    if (latest === undefined) return this.#refusals(command)
    this.#change(resourceName, () => (latest.releasedAt = this.now))
    this.#history.expect(processId === null ? 'force_released' : 'released', this.now, latest.grant, reason)
    return [{ kind: 'released', grant: latest.grant, releasedAt: this.now }]
  }

  /** Everything that the process holds, in the order of the names. */
  releaseAll({ processId, prefix, key }: { readonly processId: ProcessId; readonly prefix: string; readonly key: string | null }): ReleaseOutcome[] {
    return [...this.#latest]
      .filter(([name, latest]) => isValid(latest, this.now) && latest.grant.processId === processId && name.startsWith(prefix) && isOpenTo(latest, key))
      .toSorted(([a], [b]) => bytewise(a, b))
      .flatMap(([resourceName]) => this.release({ kind: 'release', resourceName, processId, lockId: null, reason: null, key }))
  }

  renew(command: RenewCommand): RenewOutcome[] {
    const latest = this.#validOf(command)
    return latest === undefined ? this.#refusals(command) : [{ kind: 'renewed', ...this.#renewal(latest, command) }]
  }

  renewAll({ processId, ttlMs, after, limit, prefix, key }: RenewAllCommand): RenewAllOutcome {
    const due = [...this.#latest]
      .filter(([name, latest]) => isValid(latest, this.now) && latest.grant.processId === processId && bytewise(name, after) > 0)
      .filter(([name, latest]) => name.startsWith(prefix) && isOpenTo(latest, key))
      .toSorted(([a], [b]) => bytewise(a, b))
      .slice(0, limit)
    return { kind: 'renewed-all', renewals: due.map(([, latest]) => this.#renewal(latest, { ttlMs })), next: due.length < limit ? null : (due.at(-1)?.[0] ?? null) }
  }

  /** What is wrong with what is remembered of a request. */
  faultOfFound({ idempotencyKey: mark }: FindRequestCommand, { before }: FindRequestOutcome): string | undefined {
    const known = this.requests.recognise(mark, this.now)
    if (before === null) return known?.surely === true ? 'expected it to be remembered' : undefined
    return unlessOneOf(known === undefined ? [] : [known.outcome], before)
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
  faultOfSweep(command: SweepCommand, outcome: SweepOutcome, concurrent: boolean): string | undefined {
    this.requests.swept(this.now, !concurrent && !outcome.more)
    return this.#sweeping.fault(command, outcome, this.now, concurrent)
  }

  /** What is wrong with the history since it was last read. */
  faultOfHistory(events: readonly LockEvent[]): string | undefined {
    return this.#history.fault(events, this.#latest, this.now)
  }

  /** What is wrong with the number of a new grant. */
  #faultOfNumber(name: ResourceName, lockId: number): string | undefined {
    if (!Number.isSafeInteger(lockId)) return 'the number is no safe integer'
    if (lockId <= this.lastNumber(name)) return `the number is not larger than ${this.lastNumber(name)}`
    return this.#numbers.has(lockId) ? 'another resource got that number before' : undefined
  }

  #grant(resourceName: ResourceName, lockId: number, { processId, ttlMs, metadata, key }: AcquireCommand): Grant {
    const expiresAt = ttlMs === null ? null : this.now + ttlMs
    const grant = { lockId, resourceName, processId, lockedAt: this.now, expiresAt, metadata }
    const before = this.#latest.get(resourceName)
    if (before !== undefined && hasExpired(before, this.now)) this.#history.expectExpiry(before)
    this.#history.expect('granted', this.now, grant)
    this.#numbers.add(lockId)
    this.#lastNumber.set(resourceName, lockId)
    this.#change(resourceName, () => this.#latest.set(resourceName, newest(grant, ttlMs, key)))
    return grant
  }

  #renewal(latest: Latest, { ttlMs, metadata, restartLease = false }: Pick<RenewCommand, 'ttlMs' | 'metadata' | 'restartLease'>): Renewal {
    const lease = ttlMs === undefined ? latest.ttlMs : ttlMs
    const counted = restartLease ? { lockedAt: this.now } : {}
    const grant = { ...latest.grant, ...counted, metadata: metadata ?? latest.grant.metadata, expiresAt: lease === null ? null : this.now + lease }
    if (restartLease) latest.ttlMs = lease
    this.#change(grant.resourceName, () => (latest.grant = grant))
    const isProclaimed = (metadata ?? null) !== null && !restartLease
    if (isProclaimed || latest.toldAt + RENEWAL_EVENT_INTERVAL_MS <= this.now) {
      latest.toldAt = this.now
      this.#history.expect('renewed', this.now, grant)
    }
    return { grant, renewedAt: this.now, waiters: 0, revoked: null }
  }

  /** The valid grant of that process, of that number and of that key; null takes any. */
  #validOf({ resourceName, processId, lockId, key }: ReleaseCommand | RenewCommand): Latest | undefined {
    const latest = this.#latest.get(resourceName)
    if (latest === undefined || !isValid(latest, this.now)) return undefined
    const { grant } = latest
    if (!isOpenTo(latest, key)) return undefined
    return (processId ?? grant.processId) === grant.processId && (lockId ?? grant.lockId) === grant.lockId ? latest : undefined
  }

  #refusals({ resourceName, processId, key }: ReleaseCommand | RenewCommand): Refusal[] {
    const latest = this.#latest.get(resourceName)
    if (latest === undefined) return refused('not_locked')
    if (isValid(latest, this.now)) return refused('held_by_other')
    if ((processId ?? latest.grant.processId) !== latest.grant.processId || latest.remembered === 'no' || !isOpenTo(latest, key)) return refused('not_locked')
    const exact = latest.releasedAt === null ? 'expired' : 'released'
    return latest.remembered === 'yes' ? refused(exact) : refused(exact, 'not_locked')
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

interface Refusal {
  readonly kind: 'not-held'
  readonly reason: NotHeldReason
}

function refused(...reasons: NotHeldReason[]): Refusal[] {
  return reasons.map((reason) => ({ kind: 'not-held', reason }))
}
