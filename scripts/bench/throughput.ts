import { perSecond, quantile, ratio, table } from './figures.js'
import { Rounds, type Cell, type Subject } from './rounds.js'
import { BARE, CEILING, naives, NAMES, otherBuilds, peers, service, services } from './subjects.js'
import type { Surroundings } from './surroundings.js'

const MANY_NAMES = 1_000_000
const random = (connections: number): Cell => ({ title: `random, ${connections}`, connections, names: MANY_NAMES })
const hot = (connections: number): Cell => ({ title: `one name, ${connections}`, connections, names: 1 })

/** The service beside the ceilings, the naive transaction, Redis and etcd. */
export async function throughput(around: Surroundings): Promise<string> {
  const subjects = [CEILING, BARE, ...(await services(around)), ...(await naives(around)), ...peers(around)]
  return ['## Throughput', ...(await compared(around, subjects, [random(64), random(256), hot(64), random(1)]))].join('\n\n')
}

/** The service beside other builds of itself. */
export async function builds(around: Surroundings): Promise<string> {
  const subjects = [CEILING, BARE, ...(await services(around)), ...(await otherBuilds(around))]
  return ['## Beside earlier builds', ...(await compared(around, subjects, [random(64), random(256), hot(64)]))].join('\n\n')
}

async function compared(around: Surroundings, subjects: readonly Subject[], cells: readonly Cell[]): Promise<string[]> {
  const rounds = await Rounds.measure(around, subjects, cells)
  return [summary(rounds, subjects, cells), details(rounds), rounds.stalls()]
}

/** The figures that are aims, one column each. */
function summary(rounds: Rounds, subjects: readonly Subject[], cells: readonly Cell[]): string {
  const [few, many] = cells
  if (few === undefined || many === undefined) throw new Error('no cells')
  const columns = [
    { head: 'processor time, Map = 1: 64', cell: few, figure: 'allMicros', of: CEILING.title },
    { head: '256', cell: many, figure: 'allMicros', of: CEILING.title },
    { head: 'bare = 1: 64', cell: few, figure: 'allMicros', of: BARE.title },
    { head: '256', cell: many, figure: 'allMicros', of: BARE.title },
    { head: 'p99, Map = 1: 64', cell: few, figure: 'p99', of: CEILING.title },
    { head: 'throughput, Map = 1: 64', cell: few, figure: 'requestsPerSecond', of: CEILING.title },
    { head: '256', cell: many, figure: 'requestsPerSecond', of: CEILING.title }
  ] as const
  return table(
    ['random names', ...columns.map(({ head }) => head)],
    subjects.map(({ title }) => [title, ...columns.map(({ cell, figure, of }) => ratio(rounds.shares(title, cell, figure, of)))])
  )
}

function details(rounds: Rounds): string {
  const flushes = rounds.flushMs.toSorted((a, b) => a - b)
  return [
    `A flush of this disk took ${quantile(flushes, 0.5).toFixed(2)} ms, of a hundred flushes the slowest ${quantile(flushes, 0.99).toFixed(2)} ms. ` +
      'With one connection nothing is there to share a flush with: an answer cannot come sooner than that.',
    'Processor time for each answer in microseconds, all processes (of them the server process):',
    rounds.grid((title, cell) => `${micros(rounds.medianOf(title, cell, 'allMicros'))} (${micros(rounds.medianOf(title, cell, 'serviceMicros'))})`),
    'Latency, median of the medians and of the 99th percentiles:',
    rounds.grid((title, cell) => rounds.latency(title, cell)),
    'Answers per second as a share of the `Map`\'s:',
    rounds.ratios('requestsPerSecond', CEILING.title),
    'Answers per second:',
    rounds.grid((title, cell) => perSecond([rounds.medianOf(title, cell, 'requestsPerSecond')]))
  ].join('\n\n')
}

function micros(value: number): string {
  return Number.isNaN(value) ? '–' : value.toFixed(0)
}

/** What the history costs. */
export async function history(around: Surroundings): Promise<string> {
  const cells = [random(64), random(256)]
  const subjects: Subject[] = [CEILING]
  for (const kind of ['sqlite', 'postgres'] as const) {
    for (const keepsHistory of [true, false]) {
      subjects.push(await service(around, kind, `${NAMES[kind]}, history ${keepsHistory ? 'on' : 'off'}`, keepsHistory))
    }
  }
  const rounds = await Rounds.measure(around, subjects, cells)
  const cost = (['sqlite', 'postgres'] as const).map((kind) =>
    [NAMES[kind]].concat(
      (['requestsPerSecond', 'allMicros'] as const).flatMap((figure) =>
        cells.map((cell) => ratio(rounds.shares(`${NAMES[kind]}, history on`, cell, figure, `${NAMES[kind]}, history off`)))
      )
    )
  )
  return [
    '## What the history costs',
    'With history as a multiple of without:',
    table(['', ...['answers a second', 'processor time'].flatMap((what) => cells.map(({ connections }) => `${what}, ${connections}`))], cost)
  ].join('\n\n')
}
