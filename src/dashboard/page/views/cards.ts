import type { VNode } from 'preact'
import { html } from '../html.js'
import type { Figure, Figures, Sample } from '../model/figures.js'
import { count, rate, shortDuration } from '../model/format.js'
import { Sparkline } from './sparkline.js'

interface Card {
  readonly title: string
  readonly hint: string
  readonly read: (sample: Sample) => Figure
  readonly write: (value: number) => string
  /** What stands for a figure that is known to have no value. */
  readonly none?: { readonly text: string; readonly when: (sample: Sample) => boolean }
}

const CARDS: readonly Card[] = [
  { title: 'Held', hint: 'Locks that are held now', read: ({ held }) => held, write: count },
  { title: 'Waiting', hint: 'Places in line that are taken now', read: ({ waiting }) => waiting, write: count },
  { title: 'Grants / s', hint: 'Locks granted per second', read: ({ grantsPerSecond }) => grantsPerSecond, write: rate },
  { title: 'Conflicts / s', hint: 'Requests refused per second', read: ({ conflictsPerSecond }) => conflictsPerSecond, write: rate },
  {
    title: 'Wait, p95',
    hint: 'Of twenty requests that waited lately, nineteen waited no longer',
    read: ({ waitP95Seconds }) => waitP95Seconds ?? undefined,
    write: shortDuration,
    none: { text: 'nobody waited', when: ({ waitP95Seconds }) => waitP95Seconds === null }
  },
  { title: 'Ran out', hint: 'Locks that expired without being released, since the service started', read: ({ expired }) => expired, write: count }
]

interface CardsProps {
  readonly figures: Figures
  /** How many locks the table below has: nobody should have to wonder why two numbers differ. */
  readonly held: Figure
}

/** The figures of the whole service, each with its last minute and a half. */
export function Cards({ figures, held }: CardsProps): VNode {
  return html`<section class="cards" aria-label="Figures">
    ${CARDS.map((card) => {
      const { title, hint, read, write, none } = card
      const value = read({ ...figures.latest, held: held ?? figures.latest.held })
      const absent = none?.when(figures.latest) === true ? none.text : 'unknown'
      return html`<div class="card" key=${title} title=${hint}>
        <h3>${title}</h3>
        <p class=${value === undefined ? 'absent' : 'figure'}>${value === undefined ? absent : write(value)}</p>
        <${Sparkline} values=${figures.samples.map(read)} />
      </div>`
    })}
  </section>`
}
