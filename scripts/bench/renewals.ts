import { perSecond, ratio, table } from './figures.js'
import { Rounds, type Cell } from './rounds.js'
import { CEILING, services } from './subjects.js'
import type { Surroundings } from './surroundings.js'

/** Renewing one lock for each connection, and many locks with few requests. */
export async function renewals(around: Surroundings): Promise<string> {
  const one: Cell = { title: 'renew, 64 connections', what: 'renew', connections: 64, names: 64 }
  const many: Cell = { title: 'renew-many', what: 'renew-many', connections: 10, names: 10_000 }
  const rounds = await Rounds.measure(around, [CEILING, ...(await services(around))], [one, many])
  const perLock = (title: string): string[] => {
    const all = rounds.medianOf(title, many, 'requestsPerSecond') * 100
    return [title, perSecond([all]), `${(many.names / all).toFixed(2)} s`, (rounds.medianOf(title, many, 'allMicros') / 100).toFixed(1), ratio(rounds.shares(title, many, 'allMicros', CEILING.title))]
  }
  return [
    '## Renewing',
    'Sixty-four connections renew a lock each: answers a second, latency, and processor time of all processes for each answer. Processor time again as a multiple of the `Map`\'s.',
    table(
      ['', 'answers a second', 'p50 / p99', 'processor µs', 'Map = 1'],
      rounds.titles.map((title) => [
        title,
        perSecond([rounds.medianOf(title, one, 'requestsPerSecond')]),
        rounds.latency(title, one),
        rounds.medianOf(title, one, 'allMicros').toFixed(0),
        ratio(rounds.shares(title, one, 'allMicros', CEILING.title))
      ])
    ),
    `${many.names.toLocaleString('en')} locks of ${many.connections} processes, a hundred with each request of renew-many:`,
    table(['', 'locks a second', 'all once', 'processor µs a lock', 'Map = 1'], rounds.titles.map(perLock))
  ].join('\n\n')
}
