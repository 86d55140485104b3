import { milliseconds, median, perSecond, ratio, table } from './figures.js'
import type { LoadResult, LoadSpec } from './messages.js'
import { runLoad, Server } from './processes.js'
import { seedExpired, seedLive } from './seed.js'
import type { Surroundings } from './surroundings.js'
import { NAMES } from './throughput.js'

interface Stock {
  readonly live: number
  readonly url: string
  readonly server: Server
}

const CONNECTIONS = 64

/** What a request costs with many locks held, and whether clearing up gets in its way. */
export async function scale(around: Surroundings): Promise<string> {
  const parts: string[] = []
  await using idle = new Idle(await Server.start({ kind: 'map', sweeps: false }))
  for (const kind of ['sqlite', 'postgres'] as const) parts.push(await onDatabase(around, kind, idle))
  const { expiredRows } = around.effort
  return [
    '## Many locks',
    `Acquire and release (random names) and status at ${CONNECTIONS} connections, the first hundred of all-locked (with the total) one call after another, ` +
      `and sweeping ${expiredRows.toLocaleString('en')} expired rows while ${CONNECTIONS} connections acquire and release. ` +
      '"Held up": the longest time that the event loop was late in a run, median of the runs and worst. ' +
      `A process without anything to do, measured beside in the same ${idle.late.length} runs, was late by ${lateness(idle.late)} ms: so much is the machine's.`,
    ...parts
  ].join('\n\n')
}

/** A process that does nothing, to see how late the machine itself makes one. */
class Idle implements AsyncDisposable {
  readonly #server: Server
  readonly late: number[] = []

  constructor(server: Server) {
    this.#server = server
  }

  reset(): Promise<void> {
    return this.#server.reset()
  }

  async note(): Promise<void> {
    this.late.push((await this.#server.usage()).heldUpMs)
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#server[Symbol.asyncDispose]()
  }
}

function lateness(ms: readonly number[]): string {
  return `${median(ms).toFixed(0)}–${Math.max(...ms).toFixed(0)}`
}

async function onDatabase(around: Surroundings, kind: 'sqlite' | 'postgres', idle: Idle): Promise<string> {
  const { effort } = around
  const stocks: Stock[] = []
  try {
    for (const live of effort.liveLocks) {
      const url = await around.freshUrl(kind)
      await seedLive(url, live)
      stocks.push({ live, url, server: await Server.start({ kind: 'service', databaseUrl: url, sweeps: false }) })
    }
    const pairs = await rounds(around, idle, stocks, { what: 'pairs', connections: CONNECTIONS, prefix: 'new-', names: 1_000_000 })
    const status = await rounds(around, idle, stocks, { what: 'status', connections: CONNECTIONS, prefix: 'seed-' })
    const list = await rounds(around, idle, stocks, { what: 'list', connections: 1, prefix: '' })
    const rows: string[][] = []
    for (const stock of stocks) {
      const swept = await sweep(around, idle, stock)
      const { results: made = [], stalls = [] } = pairs.get(stock) ?? {}
      const first = pairs.get(stocks[0] ?? stock)?.results ?? []
      const read = status.get(stock)
      const listed = list.get(stock)
      rows.push([
        `${NAMES[kind]}, ${stock.live.toLocaleString('en')}`,
        `${perSecond(made.map(({ requestsPerSecond }) => requestsPerSecond))}/s`,
        ratio(made.map(({ requestsPerSecond }, round) => (first[round]?.requestsPerSecond ?? Number.NaN) / requestsPerSecond)),
        `${perSecond((read?.results ?? []).map(({ requestsPerSecond }) => requestsPerSecond))}/s`,
        milliseconds((listed?.results ?? []).map(({ p50 }) => p50)),
        swept.time,
        [stalls, read?.stalls ?? [], listed?.stalls ?? [], [swept.stall]].map(lateness).join(', ')
      ])
    }
    return table(
      ['live locks', 'acquire + release', 'cost, first = 1', 'status', 'first of all-locked', 'sweep', 'held up, ms: pairs, status, list, sweep'],
      rows
    )
  } finally {
    for (const { server } of stocks) await server[Symbol.asyncDispose]()
  }
}

async function rounds({ effort }: Surroundings, idle: Idle, stocks: readonly Stock[], load: Pick<LoadSpec, 'what' | 'connections' | 'prefix'> & { names?: number }) {
  const found = new Map(stocks.map((stock) => [stock, { results: [] as LoadResult[], stalls: [] as number[] }]))
  for (let round = 0; round < effort.rounds; round += 1) {
    for (const stock of stocks) {
      const { warmUpMs, measureMs } = effort
      await Promise.all([stock.server.reset(), idle.reset()])
      const result = await runLoad({ names: stock.live, ...load, port: stock.server.port, warmUpMs, measureMs })
      await idle.note()
      found.get(stock)?.results.push(result)
      found.get(stock)?.stalls.push((await stock.server.usage()).heldUpMs)
    }
  }
  return found
}

/** While the load goes on, all that is expired is cleared up. */
async function sweep({ effort }: Surroundings, idle: Idle, { url, server }: Stock): Promise<{ time: string; stall: number }> {
  await seedExpired(url, effort.expiredRows)
  const load = { what: 'pairs', connections: CONNECTIONS, prefix: 'new-', names: 1_000_000 } as const
  const running = runLoad({ ...load, port: server.port, warmUpMs: effort.warmUpMs, measureMs: 3000 })
  await new Promise((resolve) => setTimeout(resolve, 1000))
  await Promise.all([server.reset(), idle.reset()])
  const ms = await server.sweep()
  const { heldUpMs } = await server.usage()
  await idle.note()
  await running
  return { time: `${(ms / 1000).toFixed(1)} s`, stall: heldUpMs }
}
