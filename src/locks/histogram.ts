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

/** The last values of the last five minutes, for percentiles that speak of now. */
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
