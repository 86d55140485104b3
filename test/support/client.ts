import type { Test } from 'tap'
import { HttpLocks, type HttpLocksOptions } from '../../src/client/index.js'
import { TestApp, type TestAppOptions } from './app.js'
import { DATABASES, type DatabaseName } from './databases.js'
import { ManualClock } from './manual-clock.js'
import { Proxy } from './proxy.js'

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
