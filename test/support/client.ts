import { setTimeout as sleep } from 'node:timers/promises'
import type { Test } from 'tap'
import type { Clock } from '../../src/client/clock.js'
import { HttpLocks, type HttpLocksOptions } from '../../src/client/index.js'
import { TestApp, type TestAppOptions } from './app.js'
import { type DatabaseName, DATABASES } from './databases.js'
import { Proxy } from './proxy.js'

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

/** A client, the service it talks to over a proxy, and the two clocks, both of which stand still until the test moves them. */
export interface ClientBench {
  readonly api: TestApp
  readonly proxy: Proxy
  readonly clock: ManualClock
  readonly locks: HttpLocks
  /** Another client of the same service, by the same clock. */
  readonly connect: (options?: HttpLocksOptions) => HttpLocks
  /** Moves the client's clock and the database's. */
  readonly advance: (ms: number) => Promise<void>
}

export interface BenchOptions {
  readonly service?: TestAppOptions
  readonly client?: HttpLocksOptions
}

/** Runs the body with a service on a fresh database and a client in front of it. */
export async function withClient(kind: DatabaseName, body: (bench: ClientBench) => Promise<void>, options: BenchOptions = {}): Promise<void> {
  await using api = await TestApp.open(kind, options.service)
  await using proxy = await Proxy.start(await api.listen())
  const clock = new ManualClock()
  const connect = (more: HttpLocksOptions = {}): HttpLocks =>
    new HttpLocks({ url: proxy.through('http://127.0.0.1'), clock, random: () => 0.5, ...options.client, ...more })
  const advance = async (ms: number): Promise<void> => {
    // The database goes first: the client may know less than it has, never more.
    await api.advance(ms)
    clock.advance(ms)
  }
  await body({ api, proxy, clock, connect, locks: connect({ processId: 'me' }), advance })
}

/** Makes one subtest on each kind of database. */
export function onEachClient(parent: Test, title: string, body: (t: Test, bench: ClientBench) => Promise<void>, options: BenchOptions = {}): void {
  for (const kind of DATABASES) void parent.test(`${title} (${kind})`, (t) => withClient(kind, (bench) => body(t, bench), options))
}
