import { randomUUID } from 'node:crypto'
import type { NotHeldReason } from './lock.js'
import type { ConvertOutcome, ReleaseOutcome, RenewOutcome } from './commands.js'
import type { RequestOutcome } from './requests.js'

/** Counts values by size in plain numbers, cheap enough for every request: some comparisons and two additions. */
export class Histogram {
  /** Upper ends of the buckets, ascending; a value belongs to the first that it does not exceed. */
  readonly bounds: readonly number[]
  readonly #counts: number[]
  #sum = 0

  constructor(bounds: readonly number[]) {
    this.bounds = bounds
    this.#counts = Array.from({ length: bounds.length + 1 }, () => 0)
  }

  /** Of all values so far. */
  get sum(): number {
    return this.#sum
  }

  /** How many values each bucket got; the last one has what exceeds every bound. */
  get counts(): readonly number[] {
    return this.#counts
  }

  observe(value: number): void {
    let bucket = 0
    while (value > (this.bounds[bucket] ?? Infinity)) bucket += 1
    this.#counts[bucket] = (this.#counts[bucket] ?? 0) + 1
    this.#sum += value
  }
}

/** How far back the window reaches, in milliseconds, and how many values it has at most. */
const WINDOW_MS = 5 * 60_000
const WINDOW_SIZE = 1024

/** The last values of the last five minutes, for percentiles of the present. */
export class RecentValues {
  readonly #now: () => number
  readonly #values: { readonly at: number; readonly value: number }[] = []
  #next = 0

  /** @param now milliseconds on a clock that only goes forward. */
  constructor(now: () => number) {
    this.#now = now
  }

  add(value: number): void {
    this.#values[this.#next] = { at: this.#now(), value }
    this.#next = (this.#next + 1) % WINDOW_SIZE
  }

  /** @returns the smallest value that the given share (0 to 1) of all does not exceed; null where there are none. */
  percentile(share: number): number | null {
    const since = this.#now() - WINDOW_MS
    const recent = this.#values.filter(({ at }) => at > since).map(({ value }) => value)
    return recent.toSorted((a, b) => a - b)[Math.max(0, Math.ceil(share * recent.length) - 1)] ?? null
  }
}

/** How many names have their conflicts counted; the ones with the fewest conflicts make room. */
const MOST_NAMES = 1000

/** From a hundredth of a second to a day. */
const HOLD_SECONDS = [0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 300, 900, 3600, 14_400, 86_400]
const REQUEST_SECONDS = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15]
const WAIT_SECONDS = [0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 3600]

export interface Counters {
  readonly grants: number
  readonly conflicts: number
  readonly releases: number
  readonly renewals: number
  readonly forcedReleases: number
  readonly expiries: number
}

const REQUEST_OUTCOMES = ['granted', 'replayed', 'held', 'waited_in_vain', 'request_id_reused'] as const
type RequestOutcomeName = (typeof REQUEST_OUTCOMES)[number]

/** The calls by outcome. A request for several locks counts once; a release or a renewal counts for each lock. */
const noCalls = () => ({
  request: ofEachOutcome(() => 0),
  release: { released: 0, not_held: 0 },
  renew: { renewed: 0, not_held: 0 },
  convert: { converted: 0, held: 0, not_held: 0 },
  force_release: { released: 0, not_held: 0 }
})

function ofEachOutcome<Value>(make: () => Value): Record<RequestOutcomeName, Value> {
  return Object.fromEntries(REQUEST_OUTCOMES.map((outcome) => [outcome, make()])) as Record<RequestOutcomeName, Value>
}

type Ended = Extract<ReleaseOutcome, { kind: 'released' }> | { readonly kind: 'not-held'; readonly reason: NotHeldReason }

/** What this instance has seen since it started. */
export class Statistics {
  readonly calls = noCalls()
  /** Seconds that requests took, without their time in line, by outcome. */
  readonly requests = ofEachOutcome(() => new Histogram(REQUEST_SECONDS))
  /** Seconds from a grant to its release; what expired is not among them. */
  readonly holds = new Histogram(HOLD_SECONDS)
  /** Seconds that requests waited, by whether they were granted. */
  readonly waits = { granted: new Histogram(WAIT_SECONDS), in_vain: new Histogram(WAIT_SECONDS) }
  readonly recentWaits: RecentValues
  /** Distinguishes the counters of one instance, and of one run of it, from those of another. */
  readonly instance: string = randomUUID()
  /** Since when it counts, by the clock of this machine, in milliseconds since 1970. */
  readonly since: number
  readonly #counters = { grants: 0, conflicts: 0, releases: 0, renewals: 0, forcedReleases: 0, expiries: 0 }
  readonly #contended = new Map<string, number>()

  /** @param now milliseconds on a clock that only goes forward. */
  constructor(now: () => number = () => performance.now(), since = Date.now()) {
    this.since = since
    this.recentWaits = new RecentValues(now)
  }

  /**
   * @param tookMs how long the request took altogether.
   * @param waitedMs how much of that it waited in line; undefined if it did not.
   */
  requested(outcome: RequestOutcome, tookMs: number, waitedMs: number | undefined): void {
    const name = nameOf(outcome, waitedMs !== undefined)
    this.calls.request[name] += 1
    this.requests[name].observe((tookMs - (waitedMs ?? 0)) / 1000)
    if (outcome.kind === 'held') for (const { resourceName } of outcome.conflicts) this.#conflictOver(resourceName)
    if (name === 'granted' && outcome.kind === 'granted') this.#counters.grants += outcome.grants.length
    if (waitedMs !== undefined) this.#waited(outcome, waitedMs / 1000)
  }

  /** @param forced it was taken away. */
  released(outcome: Ended, forced: boolean): void {
    const call = forced ? this.calls.force_release : this.calls.release
    if (outcome.kind === 'not-held') {
      call.not_held += 1
      return
    }
    for (const { lockedAt } of outcome.all ?? [outcome.grant]) {
      call.released += 1
      this.#counters[forced ? 'forcedReleases' : 'releases'] += 1
      this.holds.observe((outcome.releasedAt - lockedAt) / 1000)
    }
  }

  renewed({ kind }: Pick<RenewOutcome, 'kind'>): void {
    if (kind === 'not-held') this.calls.renew.not_held += 1
    else {
      this.calls.renew.renewed += 1
      this.#counters.renewals += 1
    }
  }

  converted({ kind }: Pick<ConvertOutcome, 'kind'>): void {
    this.calls.convert[kind === 'not-held' ? 'not_held' : kind] += 1
  }

  /** Grants that the sweeper found expired. */
  expired(grants: number): void {
    this.#counters.expiries += grants
  }

  get counters(): Counters {
    return { ...this.#counters }
  }

  /** Of the names with that prefix, those with the most conflicts, most first. */
  mostContended(limit: number, prefix = ''): { readonly name: string; readonly conflicts: number }[] {
    return [...this.#contended]
      .filter(([name]) => name.startsWith(prefix))
      .map(([name, conflicts]) => ({ name, conflicts }))
      .toSorted((a, b) => b.conflicts - a.conflicts)
      .slice(0, limit)
  }

  #waited({ kind }: RequestOutcome, seconds: number): void {
    this.waits[kind === 'granted' ? 'granted' : 'in_vain'].observe(seconds)
    this.recentWaits.add(seconds)
  }

  #conflictOver(name: string): void {
    this.#counters.conflicts += 1
    const before = this.#contended.get(name)
    if (before === undefined && this.#contended.size >= MOST_NAMES) this.#makeRoom()
    this.#contended.set(name, (before ?? 0) + 1)
  }

  #makeRoom(): void {
    const keep = this.mostContended(MOST_NAMES / 2)
    this.#contended.clear()
    for (const { name, conflicts } of keep) this.#contended.set(name, conflicts)
  }
}

function nameOf(outcome: RequestOutcome, hasWaited: boolean): RequestOutcomeName {
  if (outcome.kind === 'request-id-reused') return 'request_id_reused'
  if (outcome.kind === 'held') return hasWaited ? 'waited_in_vain' : 'held'
  return outcome.replayed ? 'replayed' : 'granted'
}
