import { median, milliseconds, perSecond, ratio, table } from './figures.js'
import type { LoadResult, LoadSpec, ServerSpec, Usage } from './messages.js'
import { runLoad, Server } from './processes.js'
import type { Surroundings } from './surroundings.js'

interface Subject {
  readonly title: string
  readonly spec: ServerSpec
  /** The folder of the build, where it is not this one. */
  readonly build?: string
}

interface Cell {
  readonly title: string
  readonly connections: number
  readonly names: number
}

const MANY_NAMES = 1_000_000
const random = (connections: number): Cell => ({ title: `random, ${connections}`, connections, names: MANY_NAMES })
const hot = (connections: number): Cell => ({ title: `one name, ${connections}`, connections, names: 1 })

const CEILING: Subject = { title: 'Map (the ceiling)', spec: { kind: 'map', sweeps: false } }
/** Redis without HTTP: its load asks Redis itself. */
const REDIS_DIRECT = 'Redis, ioredis without HTTP'

/** The service beside the ceiling, the naive transaction and Redis. */
export async function throughput(around: Surroundings): Promise<string> {
  const cells = around.against.length > 0 ? [random(64), random(256), hot(64)] : [random(1), random(64), random(256), hot(1), hot(64), hot(256)]
  const others = around.against.length > 0 ? [] : [...(await naives(around)), ...redisOf(around)]
  const subjects = [CEILING, ...(await services(around)), ...others]
  const { results, note } = await measure(around, subjects, cells, others.length > 0 ? around.redis?.port : undefined)
  return [
    '## Throughput',
    'Acquire and release in pairs (on one hot name mostly refusals), as a share of what the same app does from a `Map` in the same round: median (quartiles).',
    ratios(results, cells, CEILING.title),
    'Answers per second, medians:',
    grid(results, cells, (title, cell) => perSecond(of(results, title, cell).map(({ requestsPerSecond }) => requestsPerSecond))),
    'Latency, median of the medians and of the 99th percentiles:',
    grid(results, cells, (title, cell) => latency(of(results, title, cell))),
    'Processor time of the server process for each answer, in microseconds, medians (the databases and Redis are processes of their own):',
    grid(results, cells, (title, cell) => perSecond(of(results, title, cell).map(({ cpuMicros, answers }) => cpuMicros / answers))),
    note
  ].join('\n\n')
}

/** What the history costs. */
export async function history(around: Surroundings): Promise<string> {
  const cells = [random(64), random(256)]
  const subjects: Subject[] = [CEILING]
  for (const kind of ['sqlite', 'postgres'] as const) {
    for (const keepsHistory of [true, false]) {
      const databaseUrl = await around.freshUrl(kind)
      subjects.push({ title: `${NAMES[kind]}, history ${keepsHistory ? 'on' : 'off'}`, spec: { kind: 'service', databaseUrl, keepsHistory, sweeps: true } })
    }
  }
  const { results } = await measure(around, subjects, cells)
  const cost = (['sqlite', 'postgres'] as const).map((kind) =>
    [NAMES[kind]].concat(
      cells.map((cell) => ratio(shares(of(results, `${NAMES[kind]}, history on`, cell), of(results, `${NAMES[kind]}, history off`, cell))))
    )
  )
  return [
    '## What the history costs',
    'Share of the ceiling:',
    ratios(results, cells, CEILING.title),
    'With history as a share of without:',
    table(['', ...cells.map(({ title }) => title)], cost)
  ].join('\n\n')
}

export const NAMES: Readonly<Record<'sqlite' | 'postgres', string>> = { sqlite: 'SQLite', postgres: 'PostgreSQL' }

async function services(around: Surroundings): Promise<Subject[]> {
  const subjects: Subject[] = []
  for (const kind of ['sqlite', 'postgres'] as const) {
    for (const [index, build] of [undefined, ...around.against].entries()) {
      const spec = { kind: 'service', databaseUrl: await around.freshUrl(kind), sweeps: true } as const
      subjects.push({ title: `this service, ${NAMES[kind]}${index === 0 ? '' : ` (build ${index})`}`, spec, ...(build === undefined ? {} : { build }) })
    }
  }
  return subjects
}

async function naives(around: Surroundings): Promise<Subject[]> {
  return [
    { title: 'naive transaction, SQLite', spec: { kind: 'naive', databaseUrl: await around.freshUrl('sqlite'), sweeps: false } },
    { title: 'naive transaction, PostgreSQL', spec: { kind: 'naive', databaseUrl: await around.freshUrl('postgres'), sweeps: false } }
  ]
}

function redisOf({ redis }: Surroundings): Subject[] {
  return redis === undefined ? [] : [{ title: 'Redis behind the same app', spec: { kind: 'redis', redisPort: redis.port, sweeps: false } }]
}

/** Without a server process of ours. */
const UNKNOWN: Usage = { heldUpMs: Number.NaN, cpuMicros: Number.NaN }

interface Measured extends LoadResult, Usage {}

type Results = ReadonlyMap<string, ReadonlyMap<Cell, Measured[]>>

/** Round after round, each subject in each cell, the order turned by one from round to round. */
async function measure(
  { effort }: Surroundings,
  subjects: readonly Subject[],
  cells: readonly Cell[],
  redisPort?: number
): Promise<{ results: Results; note: string }> {
  const servers: { title: string; what: LoadSpec['what']; port: number; server?: Server }[] = []
  try {
    for (const { title, spec, build } of subjects) {
      const server = await Server.start(spec, build)
      servers.push({ title, what: 'pairs', port: server.port, server })
    }
    if (redisPort !== undefined) servers.push({ title: REDIS_DIRECT, what: 'redis-pairs', port: redisPort })
    const results = new Map(servers.map(({ title }) => [title, new Map(cells.map((cell) => [cell, [] as Measured[]]))]))
    for (let round = 0; round < effort.rounds; round += 1) {
      for (const cell of cells) {
        const turn = round % servers.length
        for (const { title, what, port, server } of [...servers.slice(turn), ...servers.slice(0, turn)]) {
          await server?.reset()
          const { connections, names } = cell
          const { warmUpMs, measureMs } = effort
          const result = await runLoad({ what, port, connections, names, prefix: 'bench-', warmUpMs, measureMs })
          const usage = (await server?.usage()) ?? UNKNOWN
          results.get(title)?.get(cell)?.push({ ...result, ...usage })
        }
      }
      process.stderr.write(`round ${round + 1} of ${effort.rounds}\n`)
    }
    const worst = servers.flatMap(({ title, server }) => {
      if (server === undefined) return []
      const ms = [...(results.get(title)?.values() ?? [])].flatMap((cell) => cell.map(({ heldUpMs }) => heldUpMs))
      return [`${title} ${median(ms).toFixed(0)} / ${Math.max(...ms).toFixed(0)} ms`]
    })
    return { results, note: `Longest time the event loop was held up in a run, median of the runs / worst run: ${worst.join('; ')}.` }
  } finally {
    for (const { server } of servers) await server?.[Symbol.asyncDispose]()
  }
}

function of(results: Results, title: string, cell: Cell): Measured[] {
  return results.get(title)?.get(cell) ?? []
}

function titlesOf(results: Results): string[] {
  return [...results.keys()]
}

function ratios(results: Results, cells: readonly Cell[], to: string): string {
  return grid(results, cells, (title, cell) => ratio(shares(of(results, title, cell), of(results, to, cell))))
}

function grid(results: Results, cells: readonly Cell[], text: (title: string, cell: Cell) => string): string {
  return table(
    ['', ...cells.map(({ title }) => title)],
    titlesOf(results).map((title) => [title].concat(cells.map((cell) => text(title, cell))))
  )
}

function shares(some: readonly LoadResult[], whole: readonly LoadResult[]): number[] {
  return some.map(({ requestsPerSecond }, round) => requestsPerSecond / (whole[round]?.requestsPerSecond ?? Number.NaN))
}

function latency(results: readonly LoadResult[]): string {
  return `${milliseconds(results.map(({ p50 }) => p50)).split(' ')[0] ?? ''} / ${milliseconds(results.map(({ p99 }) => p99)).split(' ')[0] ?? ''} ms`
}
