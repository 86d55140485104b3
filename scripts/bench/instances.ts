import { availableParallelism } from 'node:os'
import { median, table } from './figures.js'
import { runLoad, Server } from './processes.js'
import { processorMicros } from './processor-time.js'
import { onServer, type Surroundings } from './surroundings.js'

const CONNECTIONS = 64
/** What a database has done so far. */
interface Spent {
  readonly processorMicros: number
  readonly walBytes: number
  readonly historyBytes: number
}

interface Round {
  readonly requestsPerSecond: number
  readonly p99: number
  readonly serviceMicros: number
  readonly databaseMicros: number
  readonly walBytes: number
  readonly historyBytes: number
}

/** What each further instance on one PostgreSQL adds, and what a lock costs the database. */
export async function instances({ effort, freshUrl, postgres }: Surroundings): Promise<string> {
  const rows: string[][] = []
  let first = Number.NaN
  for (const count of effort.instances) {
    const url = await freshUrl('postgres')
    const servers: Server[] = []
    try {
      for (let index = 0; index < count; index += 1) servers.push(await Server.start({ kind: 'service', databaseUrl: url, sweeps: true }))
      const rounds: Round[] = []
      for (let round = 0; round < effort.rounds; round += 1) rounds.push(await measure({ url, pid: postgres.pid }, servers, effort))
      const of = (figure: keyof Round): number => median(rounds.map((round) => round[figure]))
      if (Number.isNaN(first)) first = of('requestsPerSecond')
      rows.push([
        String(count),
        `${Math.round(of('requestsPerSecond')).toLocaleString('en')}/s`,
        (of('requestsPerSecond') / first).toFixed(2),
        `${of('p99').toFixed(1)} ms`,
        of('serviceMicros').toFixed(0),
        of('databaseMicros').toFixed(0),
        Math.round(of('walBytes')).toLocaleString('en'),
        Math.round(of('historyBytes')).toLocaleString('en')
      ])
    } finally {
      for (const server of servers) await server[Symbol.asyncDispose]()
    }
  }
  return [
    '## Instances',
    `So many instances on one PostgreSQL, each with ${CONNECTIONS} connections of its own that acquire and release random names; ${availableParallelism()} processors for all of it, the load included. ` +
      'Processor time in microseconds for each request, of all instances together and of PostgreSQL; write-ahead log and history in bytes for each lock, which is two requests.',
    table(['instances', 'acquire + release', 'one = 1', 'p99', 'service', 'PostgreSQL', 'log', 'history'], rows)
  ].join('\n\n')
}

interface Database {
  readonly url: string
  /** Of PostgreSQL's first process. */
  readonly pid: number
}

async function measure(database: Database, servers: readonly Server[], { warmUpMs, measureMs }: Surroundings['effort']): Promise<Round> {
  await onServer(database.url, 'checkpoint')
  const before = await spentBy(database)
  for (const server of servers) await server.reset()
  const results = await Promise.all(
    servers.map(({ port }, index) => runLoad({ what: 'pairs', port, connections: CONNECTIONS, names: 1_000_000, prefix: `i${index}-`, warmUpMs, measureMs }))
  )
  const usages = await Promise.all(servers.map((server) => server.usage()))
  const after = await spentBy(database)
  const answers = results.reduce((sum, result) => sum + result.answers, 0)
  return {
    requestsPerSecond: results.reduce((sum, result) => sum + result.requestsPerSecond, 0),
    p99: Math.max(...results.map(({ p99 }) => p99)),
    serviceMicros: usages.reduce((sum, { cpuMicros }) => sum + cpuMicros, 0) / answers,
    databaseMicros: (after.processorMicros - before.processorMicros) / answers,
    walBytes: (2 * (after.walBytes - before.walBytes)) / answers,
    historyBytes: (2 * (after.historyBytes - before.historyBytes)) / answers
  }
}

async function spentBy({ url, pid }: Database): Promise<Spent> {
  const [spent] = await onServer<{ wal: string; history: string }>(
    url,
    "select pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::text as wal, pg_total_relation_size('lock_events')::text as history"
  )
  return { processorMicros: processorMicros([pid]), walBytes: Number(spent?.wal), historyBytes: Number(spent?.history) }
}
