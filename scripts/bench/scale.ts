import { milliseconds, median, perSecond, ratio, table } from './figures.js'
import type { LoadResult, LoadSpec } from './messages.js'
import { runLoad, Server } from './processes.js'
import { seedExpired, seedLive } from './seed.js'
import { NAMES } from './subjects.js'
import type { Surroundings } from './surroundings.js'

interface Stock {
  readonly live: number
  readonly url: string
  readonly server: Server
}

const CONNECTIONS = 64

/** What a request costs with many locks held, and whether clearing up gets in its way. */
export async function scale(around: Surroundings): Promise<string> {
  const parts: string[] = []
  await using idle = await Server.start({ kind: 'map', sweeps: false })
  for (const kind of ['sqlite', 'postgres'] as const) parts.push(await onDatabase(around, kind, idle))
  const { expiredRows } = around.effort
  return [
    '## Many locks',
    `Acquire and release (random names) and status at ${CONNECTIONS} connections, the first hundred of all-locked (with the total) one call after another, ` +
      `and sweeping ${expiredRows.toLocaleString('en')} expired rows while ${CONNECTIONS} connections acquire and release. ` +
      '"Held up": the longest time that the event loop was late in a run, median of the runs and worst; in brackets by how much at most it was later ' +
      'than that of a process beside it that had nothing to do. PostgreSQL has the same processors, also for its autovacuum.',
    ...parts
  ].join('\n\n')
}

/** How long the event loop was held up in a run, and how late a process was beside it that had nothing to do. */
interface Stall {
  readonly ms: number
  readonly idleMs: number
}

/** Two servers of which one has nothing to do: what holds up both is the machine's. */
async function resetBoth(server: Server, idle: Server): Promise<void> {
  await Promise.all([server.reset(), idle.reset()])
}

async function stallOf(server: Server, idle: Server): Promise<Stall> {
  const [{ heldUpMs: ms }, { heldUpMs: idleMs }] = await Promise.all([server.usage(), idle.usage()])
  return { ms, idleMs }
}

function lateness(stalls: readonly Stall[]): string {
  const beyond = Math.max(0, ...stalls.map(({ ms, idleMs }) => ms - idleMs))
  const all = stalls.map(({ ms }) => ms)
  return `${median(all).toFixed(0)}–${Math.max(...all).toFixed(0)} (${beyond.toFixed(0)})`
}

async function onDatabase(around: Surroundings, kind: 'sqlite' | 'postgres', idle: Server): Promise<string> {
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

async function rounds({ effort }: Surroundings, idle: Server, stocks: readonly Stock[], load: Pick<LoadSpec, 'what' | 'connections' | 'prefix'> & { names?: number }) {
  const found = new Map(stocks.map((stock) => [stock, { results: [] as LoadResult[], stalls: [] as Stall[] }]))
  for (let round = 0; round < effort.rounds; round += 1) {
    for (const stock of stocks) {
      const { warmUpMs, measureMs } = effort
      await resetBoth(stock.server, idle)
      const result = await runLoad({ names: stock.live, ...load, port: stock.server.port, warmUpMs, measureMs })
      found.get(stock)?.results.push(result)
      found.get(stock)?.stalls.push(await stallOf(stock.server, idle))
    }
  }
  return found
}

/** While the load goes on, all that is expired is cleared up. */
async function sweep({ effort }: Surroundings, idle: Server, { url, server }: Stock): Promise<{ time: string; stall: Stall }> {
  await seedExpired(url, effort.expiredRows)
  const load = { what: 'pairs', connections: CONNECTIONS, prefix: 'new-', names: 1_000_000 } as const
  const running = runLoad({ ...load, port: server.port, warmUpMs: effort.warmUpMs, measureMs: 3000 })
  await new Promise((resolve) => setTimeout(resolve, 1000))
  await resetBoth(server, idle)
  const ms = await server.sweep()
  const stall = await stallOf(server, idle)
  await running
  return { time: `${(ms / 1000).toFixed(1)} s`, stall }
}
