import { median, perSecond, ratio, table } from './figures.js'
import { Server } from './processes.js'
import { runTimed, type Timed } from './processor-time.js'
import { NAMES } from './subjects.js'
import type { Surroundings } from './surroundings.js'

interface Case {
  readonly title: string
  readonly names: number
  readonly prefix: string
  /** What a request says beside its name and process. */
  readonly asks?: string
  /** How many hold shares of the one name meanwhile. */
  readonly holders?: number
}

const CONNECTIONS = 64
const MANY_NAMES = 1_000_000
const LIMIT = 100_000

const CASES: readonly Case[] = [
  { title: 'exclusive, random names', names: MANY_NAMES, prefix: 'bench-' },
  { title: 'shared, random names', names: MANY_NAMES, prefix: 'bench-', asks: ',"mode":"shared"' },
  { title: 'one permit of five, random names', names: MANY_NAMES, prefix: 'bench-', asks: ',"limit":5' },
  { title: 'shared, one name with 10 holders', names: 1, prefix: 'ten-', asks: ',"mode":"shared"', holders: 10 },
  { title: 'shared, one name with 1,000 holders', names: 1, prefix: 'many-', asks: ',"mode":"shared"', holders: 1000 },
  { title: 'permits, one name with 10 holders', names: 1, prefix: 'few-', asks: `,"limit":${LIMIT}`, holders: 10 },
  { title: 'permits, one name with 1,000 holders', names: 1, prefix: 'most-', asks: `,"limit":${LIMIT}`, holders: 1000 }
]

/** What a share costs beside an exclusive lock, and beside many holders. */
export async function shares(around: Surroundings): Promise<string> {
  const parts: string[] = []
  for (const kind of ['sqlite', 'postgres'] as const) parts.push(await onDatabase(around, kind))
  return [
    '## Shares',
    `Acquire and release at ${CONNECTIONS} connections, in one run. Processor time of all processes for each answer in microseconds, and as a multiple of that of an exclusive pair of the same round; the same of the time that passes.`,
    ...parts
  ].join('\n\n')
}

async function onDatabase({ effort, freshUrl, postgres }: Surroundings, kind: 'sqlite' | 'postgres'): Promise<string> {
  await using server = await Server.start({ kind: 'service', databaseUrl: await freshUrl(kind), sweeps: true })
  for (const { prefix, asks, holders = 0 } of CASES) {
    const name = `${prefix}0000000`
    for (let index = 0; index < holders; index += 1) await hold(server.port, `{"resource_name":"${name}","process_id":"holder-${index}"${asks}}`)
  }
  const pids = kind === 'postgres' ? [postgres.pid] : []
  const results = new Map<string, Timed[]>(CASES.map(({ title }) => [title, []]))
  for (let round = 0; round < effort.rounds; round += 1) {
    for (const { title, names, prefix, asks = '' } of CASES) {
      const { warmUpMs, measureMs } = effort
      results.get(title)?.push(await runTimed(server, pids, { what: 'pairs', port: server.port, connections: CONNECTIONS, names, prefix, asks, warmUpMs, measureMs }))
    }
  }
  const exclusive = results.get(CASES[0]?.title ?? '') ?? []
  const rows = [...results].map(([title, found]) => [
    title,
    perSecond(found.map(({ requestsPerSecond }) => requestsPerSecond)),
    median(found.map(({ micros }) => micros)).toFixed(0),
    ratio(found.map(({ micros }, round) => micros / (exclusive[round]?.micros ?? Number.NaN))),
    ratio(found.map(({ requestsPerSecond }, round) => (exclusive[round]?.requestsPerSecond ?? Number.NaN) / requestsPerSecond))
  ])
  return table([NAMES[kind], 'answers a second', 'processor µs', 'processor time, exclusive = 1', 'time, exclusive = 1'], rows)
}

async function hold(port: number, body: string): Promise<void> {
  const { status } = await fetch(`http://127.0.0.1:${port}/locks/request`, { method: 'POST', headers: { 'content-type': 'application/json' }, body })
  if (status !== 200) throw new Error(`a share was refused with ${status}`)
}
