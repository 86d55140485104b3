import type { VNode } from 'preact'
import { html } from './hooks.js'
import { count, rate, shortDuration, Moment } from './parts.js'

/** Undefined is unknown, which the page never shows as 0. */
type Figure = number | undefined

export interface Sample {
  readonly held: Figure
  readonly waiting: Figure
  readonly grantsPerSecond: Figure
  readonly conflictsPerSecond: Figure
  /** Null: no request has waited recently. */
  readonly waitP95Seconds: number | null | undefined
  /** Locks that expired instead of being released, since the known instances started. */
  readonly expired: Figure
}

/** How many samples are kept: a minute and a half of them. */
const SAMPLES = 45
/** An instance that has not answered for so long no longer counts towards the rates. */
const FORGOTTEN_MS = 15_000

/** What the page reads of the statistics. A key with a prefix gets null for what is counted over all names. */
export type KnownStats = { readonly [Name in 'held' | 'waiters' | 'grants' | 'conflicts' | 'expiries' | 'waitSecondsP95']?: number | null } & {
  readonly instance?: string
  readonly countedSince?: Date
}

interface Reading {
  readonly at: number
  readonly stats: KnownStats
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

/** The figures over time. Behind a load balancer each reply may come from another instance, which has counters of its own. */
export class Figures {
  readonly #readings = new Map<string, Reading>()
  #samples: readonly Sample[] = []

  get samples(): readonly Sample[] {
    return this.#samples
  }

  get latest(): Sample {
    return this.#samples.at(-1) ?? UNKNOWN
  }

  /** Since when the known instances count, in milliseconds since 1970; undefined where one does not say. */
  get since(): Figure {
    const all = [...this.#readings.values()].map(({ stats }) => stats.countedSince?.getTime())
    return all.length === 0 || all.includes(undefined) ? undefined : Math.min(...all.map(Number))
  }

  /** @param stats undefined when they could not be read. @param at when they were read, in milliseconds. */
  add(stats: KnownStats | undefined, at: number): void {
    this.#samples = [...this.#samples, stats === undefined ? UNKNOWN : this.#sample(stats, at)].slice(-SAMPLES)
  }

  #sample(stats: KnownStats, at: number): Sample {
    const { instance = '' } = stats
    const before = this.#readings.get(instance)
    this.#readings.set(instance, { at, stats, before: before === undefined ? undefined : { ...before, before: undefined } })
    const recent = [...this.#readings.values()].filter((reading) => at - reading.at < FORGOTTEN_MS)
    return {
      held: stats.held ?? undefined,
      waiting: stats.waiters ?? undefined,
      grantsPerSecond: sum(recent.map((reading) => rateOf(reading, 'grants'))),
      conflictsPerSecond: sum(recent.map((reading) => rateOf(reading, 'conflicts'))),
      waitP95Seconds: stats.waitSecondsP95,
      expired: sum([...this.#readings.values()].map((reading) => reading.stats.expiries ?? undefined))
    }
  }
}

function rateOf({ at, stats, before }: Reading, counter: 'grants' | 'conflicts'): Figure {
  const now = stats[counter]
  const then = before?.stats[counter]
  if (typeof now !== 'number' || typeof then !== 'number' || before === undefined || at <= before.at || now < then) return undefined
  return ((now - then) * 1000) / (at - before.at)
}

/** Unknown where one of them is. */
function sum(figures: readonly Figure[]): Figure {
  return figures.reduce((total: Figure, figure) => (total === undefined || figure === undefined ? undefined : total + figure), 0)
}

interface Card {
  readonly title: string
  readonly hint: string
  readonly read: (sample: Sample) => Figure
  readonly write: (value: number) => string
  /** The text in place of a figure that is known to have no value. */
  readonly none?: { readonly text: string; readonly when: (sample: Sample) => boolean }
  /** Whether the figure counts from some time on, which is then told. */
  readonly counted?: boolean
}

const CARDS: readonly Card[] = [
  { title: 'Held', hint: 'Locks that are held now', read: ({ held }) => held, write: count },
  { title: 'Waiting', hint: 'Places in the queues that are taken now', read: ({ waiting }) => waiting, write: count },
  { title: 'Grants / s', hint: 'Locks granted per second', read: ({ grantsPerSecond }) => grantsPerSecond, write: rate },
  { title: 'Conflicts / s', hint: 'Requests refused per second', read: ({ conflictsPerSecond }) => conflictsPerSecond, write: rate },
  {
    title: 'Wait, p95',
    hint: 'Of twenty requests that waited lately, nineteen waited no longer',
    read: ({ waitP95Seconds }) => waitP95Seconds ?? undefined,
    write: shortDuration,
    none: { text: 'nobody waited', when: ({ waitP95Seconds }) => waitP95Seconds === null }
  },
  { title: 'Ran out', hint: 'Locks that expired without being released', read: ({ expired }) => expired, write: count, counted: true }
]

interface CardsProps {
  readonly figures: Figures
  /** How many locks the table below has, so that the two numbers do not differ. */
  readonly held: Figure
  readonly now: number
}

/** The figures of the whole service, each with its last minute and a half. */
export function Cards({ figures, held, now }: CardsProps): VNode {
  return html`<section class="cards" aria-label="Figures">
    ${CARDS.map((card) => {
      const { title, hint, read, write, none, counted = false } = card
      const { since } = figures
      const value = read({ ...figures.latest, held: held ?? figures.latest.held })
      const absent = none?.when(figures.latest) === true ? none.text : 'unknown'
      return html`<div class="card" key=${title} title=${hint}>
        <h2>${title}${counted && since !== undefined && html` <span class="aside">since <${Moment} at=${since} now=${now} toMinute=${true} /></span>`}</h2>
        <p class=${value === undefined ? 'absent' : 'figure'}>${value === undefined ? absent : write(value)}</p>
        <${Sparkline} values=${figures.samples.map(read)} />
      </div>`
    })}
  </section>`
}

const WIDTH = 120
const HEIGHT = 28
const EDGE = 3

/** A figure over time. Unknown values are gaps, and the newest value is at the right. */
function Sparkline({ values }: { readonly values: readonly Figure[] }): VNode {
  const known = values.filter((value): value is number => value !== undefined)
  const most = Math.max(1e-9, ...known)
  const least = Math.min(...known, most)
  // A figure that hardly changes is nearly a straight line.
  const span = Math.max(most - least, most * 0.2, 1e-9)
  const floor = Math.max(0, (most + least - span) / 2)
  const x = (index: number): number => WIDTH - EDGE - ((values.length - 1 - index) * (WIDTH - 2 * EDGE)) / (SAMPLES - 1)
  const y = (value: number): number => HEIGHT - EDGE - ((value - floor) / span) * (HEIGHT - 2 * EDGE)
  const line = values
    .map((value, index) => {
      if (value === undefined) return ''
      return `${values[index - 1] === undefined ? 'M' : 'L'}${x(index).toFixed(1)} ${y(value).toFixed(1)}`
    })
    .join('')
  const last = values.at(-1)
  const begin = values.findIndex((value) => value !== undefined)
  const whole = known.length > 1 && known.length === values.length - begin
  return html`<svg class="spark" viewBox=${`0 0 ${WIDTH} ${HEIGHT}`} preserveAspectRatio="none" aria-hidden="true">
    ${whole && html`<path class="under" d=${`${line}L${x(values.length - 1)} ${HEIGHT}L${x(begin).toFixed(1)} ${HEIGHT}Z`} />`}
    <path class="line" d=${line} />
    ${last !== undefined && html`<path class="end" d=${`M${x(values.length - 1)} ${y(last).toFixed(1)}h0`} />`}
  </svg>`
}
