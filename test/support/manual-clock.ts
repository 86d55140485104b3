import { setTimeout as sleep } from 'node:timers/promises'
import type { Clock } from '../../src/client/clock.js'

interface Timer {
  readonly at: number
  readonly action: () => void
}

/** A client's clock that stands still until the test moves it. */
export class ManualClock implements Clock {
  readonly #timers = new Set<Timer>()
  #now = 1_000_000

  now(): number {
    return this.#now
  }

  schedule(ms: number, action: () => void): () => void {
    const timer = { at: this.#now + ms, action }
    this.#timers.add(timer)
    return () => void this.#timers.delete(timer)
  }

  /** How many timers are set. */
  get pending(): number {
    return this.#timers.size
  }

  /** Moves the time forward; what falls due fires in its order, each at its own time. */
  advance(ms: number): void {
    const until = this.#now + ms
    for (;;) {
      const next = [...this.#timers].filter(({ at }) => at <= until).toSorted((a, b) => a.at - b.at)[0]
      if (next === undefined) break
      this.#timers.delete(next)
      this.#now = Math.max(this.#now, next.at)
      next.action()
    }
    this.#now = until
  }

  /** Lets the time go on, a step every few milliseconds, until the promise settles. */
  async drive<Result>(promise: Promise<Result>, stepMs = 50): Promise<Result> {
    const progress = { settled: false }
    const end = (): void => void (progress.settled = true)
    promise.then(end, end)
    while (!progress.settled) {
      this.advance(stepMs)
      await sleep(2)
    }
    return promise
  }
}
