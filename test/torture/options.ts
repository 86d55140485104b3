import { parseArgs } from 'node:util'
import type { DatabaseName } from '../support/databases.js'

export interface TortureOptions {
  readonly database: DatabaseName
  readonly minutes: number
  readonly seed: number
  /** Server processes; SQLite has one. */
  readonly instances: number
  readonly clients: number
  /** How long a client rests between two of its turns, on average, in milliseconds. */
  readonly thinkMs: number
  /** How long the same resources are used before what happened to them is judged, in seconds. */
  readonly epochSeconds: number
  /** Go on beyond that time until so many requests were granted. */
  readonly leastGrants?: number
  /** End with the first epoch in which something was wrong. */
  readonly untilViolation?: boolean
}

const USAGE = `npm run torture -- [--database sqlite|postgres] [--minutes 1] [--seed N] [--instances 3] [--clients 16] [--think-ms 25] [--epoch-seconds 10] [--until-violation]`

/** @throws RangeError that shows how it is used. */
export function readOptions(args: readonly string[]): TortureOptions {
  const { values } = parseArgs({
    args: [...args],
    options: {
      database: { type: 'string', default: 'postgres' },
      minutes: { type: 'string', default: '1' },
      seed: { type: 'string', default: String(Math.floor(Math.random() * 2 ** 31)) },
      instances: { type: 'string', default: '3' },
      clients: { type: 'string', default: '16' },
      'think-ms': { type: 'string', default: '25' },
      'epoch-seconds': { type: 'string', default: '10' },
      'until-violation': { type: 'boolean', default: false }
    }
  })
  const { database } = values
  if (database !== 'sqlite' && database !== 'postgres') throw new RangeError(USAGE)
  return {
    database,
    minutes: positive(values.minutes),
    seed: whole(values.seed),
    instances: database === 'sqlite' ? 1 : whole(values.instances),
    clients: whole(values.clients),
    thinkMs: positive(values['think-ms']),
    epochSeconds: positive(values['epoch-seconds']),
    untilViolation: values['until-violation']
  }
}

function positive(text: string): number {
  const number = Number(text)
  if (!(number > 0)) throw new RangeError(USAGE)
  return number
}

function whole(text: string): number {
  if (!/^[0-9]{1,10}$/.test(text) || Number(text) < 1) throw new RangeError(USAGE)
  return Number(text)
}
