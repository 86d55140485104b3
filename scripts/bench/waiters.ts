import { setTimeout as sleep } from 'node:timers/promises'
import { call } from './call.js'
import { perSecond, ratio, table, median } from './figures.js'
import { Server, startLoad } from './processes.js'
import { runTimed, type Timed } from './processor-time.js'
import { NAMES } from './subjects.js'
import type { Surroundings } from './surroundings.js'

const CONNECTIONS = 64
/** The waiters stand in so many queues. */
const QUEUES = 100
const PREFIX = 'queue-'
/** Longer than the whole measurement takes. */
const WAIT_MS = 600_000
const QUEUED_TIMEOUT_MS = 60_000

interface Crowd extends AsyncDisposable {
  readonly waiters: number
  readonly server: Server
}

/** What a request costs while many others wait in line for other locks. */
export async function waiters(around: Surroundings): Promise<string> {
  const parts: string[] = []
  for (const kind of ['sqlite', 'postgres'] as const) parts.push(await onDatabase(around, kind))
  return [
    '## Many waiters',
    `Acquire and release of random names at ${CONNECTIONS} connections, while so many requests wait in ${QUEUES} queues for other locks. ` +
      'Processor time of all processes for each answer in microseconds, and as a multiple of that without waiters.',
    ...parts
  ].join('\n\n')
}

async function onDatabase(around: Surroundings, kind: 'sqlite' | 'postgres'): Promise<string> {
  const { effort, postgres } = around
  const pids = kind === 'postgres' ? [postgres.pid] : []
  const results = new Map<Crowd, Timed[]>()
  try {
    for (const count of effort.waiters) results.set(await gather(await around.freshUrl(kind), count), [])
    for (let round = 0; round < effort.rounds; round += 1) {
      for (const [{ server }, measured] of results) measured.push(await measure(server, pids, effort))
    }
  } finally {
    for (const crowd of results.keys()) await crowd[Symbol.asyncDispose]()
  }
  const [first = []] = results.values()
  return table(
    ['waiters', 'acquire + release', 'p99', 'processor µs', 'cost, first = 1'],
    [...results].map(([{ waiters: count }, measured]) => [
      `${NAMES[kind]}, ${count.toLocaleString('en')}`,
      `${perSecond(measured.map(({ requestsPerSecond }) => requestsPerSecond))}/s`,
      `${median(measured.map(({ p99 }) => p99)).toFixed(1)} ms`,
      median(measured.map(({ micros }) => micros)).toFixed(0),
      ratio(measured.map(({ micros }, round) => micros / (first[round]?.micros ?? Number.NaN)))
    ])
  )
}

function measure(server: Server, pids: readonly number[], { warmUpMs, measureMs }: Surroundings['effort']): Promise<Timed> {
  return runTimed(server, pids, { what: 'pairs', port: server.port, connections: CONNECTIONS, names: 1_000_000, prefix: 'bench-', warmUpMs, measureMs })
}

/** A server in whose queues so many wait. */
async function gather(databaseUrl: string, count: number): Promise<Crowd> {
  const server = await Server.start({ kind: 'service', databaseUrl, sweeps: true })
  for (let queue = 0; queue < QUEUES; queue += 1) {
    await call({ port: server.port, method: 'POST', path: '/locks/request', body: { resource_name: nameOf(queue), process_id: 'holder' } })
  }
  const load = startLoad({ what: 'wait', port: server.port, connections: count, names: QUEUES, prefix: PREFIX, warmUpMs: 0, measureMs: WAIT_MS })
  if (count > 0) await untilQueued(server.port, nameOf(QUEUES - 1), count / QUEUES)
  return {
    waiters: count,
    server,
    async [Symbol.asyncDispose]() {
      await load[Symbol.asyncDispose]()
      await server[Symbol.asyncDispose]()
    }
  }
}

function nameOf(queue: number): string {
  return `${PREFIX}${String(queue).padStart(7, '0')}`
}

async function untilQueued(port: number, name: string, count: number): Promise<void> {
  for (const deadline = Date.now() + QUEUED_TIMEOUT_MS; ; await sleep(200)) {
    const response = await fetch(`http://127.0.0.1:${port}/locks/status?resource_name=${name}`)
    const { data } = (await response.json()) as { data: { waiters: number } }
    if (data.waiters >= count) return
    if (Date.now() > deadline) throw new Error('the waiters did not queue')
  }
}
