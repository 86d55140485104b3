import type { WireStats } from './wire.js'

/** Undefined is unknown, which is never shown as 0. */
export type Figure = number | undefined

export interface Sample {
  readonly held: Figure
  readonly waiting: Figure
  readonly grantsPerSecond: Figure
  readonly conflictsPerSecond: Figure
  /** Null: nobody waited lately. */
  readonly waitP95Seconds: number | null | undefined
  /** Locks that ran out instead of being released, since the instances that were heard of started. */
  readonly expired: Figure
}

/** Samples that are kept: a minute and a half of them. */
export const SAMPLES = 45
/** An instance that has not answered for so long no longer counts towards the rates. */
const FORGOTTEN_MS = 15_000

interface Reading {
  readonly at: number
  readonly stats: WireStats
  readonly before: Reading | undefined
}

const UNKNOWN: Sample = {
  held: undefined,
  waiting: undefined,
  grantsPerSecond: undefined,
  conflictsPerSecond: undefined,
  waitP95Seconds: undefined,
  expired: undefined
}

/** The figures over time. Behind a balancer each answer may come from another instance, whose counters are its own. */
export class Figures {
  readonly #readings = new Map<string, Reading>()
  #samples: readonly Sample[] = []

  get samples(): readonly Sample[] {
    return this.#samples
  }

  get latest(): Sample {
    return this.#samples.at(-1) ?? UNKNOWN
  }

  /** @param stats undefined when they could not be read. @param at when they were read, in milliseconds. */
  add(stats: WireStats | undefined, at: number): void {
    this.#samples = [...this.#samples, stats === undefined ? UNKNOWN : this.#sample(stats, at)].slice(-SAMPLES)
  }

  #sample(stats: WireStats, at: number): Sample {
    const { instance = '' } = stats
    const before = this.#readings.get(instance)
    this.#readings.set(instance, { at, stats, before: before === undefined ? undefined : { ...before, before: undefined } })
    const recent = [...this.#readings.values()].filter((reading) => at - reading.at < FORGOTTEN_MS)
    return {
      held: stats.held ?? undefined,
      waiting: stats.waiters ?? undefined,
      grantsPerSecond: sum(recent.map((reading) => rate(reading, 'grants'))),
      conflictsPerSecond: sum(recent.map((reading) => rate(reading, 'conflicts'))),
      waitP95Seconds: stats.wait_seconds_p95,
      expired: sum([...this.#readings.values()].map((reading) => reading.stats.expiries))
    }
  }
}

function rate({ at, stats, before }: Reading, counter: 'grants' | 'conflicts'): Figure {
  const now = stats[counter]
  const then = before?.stats[counter]
  if (now === undefined || then === undefined || before === undefined || at <= before.at || now < then) return undefined
  return ((now - then) * 1000) / (at - before.at)
}

/** What is not known of one is not known of all. */
function sum(figures: readonly Figure[]): Figure {
  return figures.reduce((total: Figure, figure) => (total === undefined || figure === undefined ? undefined : total + figure), 0)
}
