import type { VNode } from 'preact'
import { html } from '../html.js'
import { SAMPLES, type Figure } from '../model/figures.js'

const WIDTH = 120
const HEIGHT = 28
const EDGE = 3

/** The course of a figure. What is unknown is a gap, and the newest value is at the right. */
export function Sparkline({ values }: { readonly values: readonly Figure[] }): VNode {
  const known = values.filter((value): value is number => value !== undefined)
  const most = Math.max(1e-9, ...known)
  const least = Math.min(...known, most)
  // A figure that hardly moves is a calm line, not a mountain range.
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
