import type { VNode } from 'preact'
import { html } from '../html.js'
import { shareLeft } from '../model/attention.js'
import { remaining } from '../model/format.js'
import type { Lock } from '../model/lock-table.js'

const NEAR_END = 0.25

/** What is left of a lease: a bar that runs down, and the time in words. */
export function LeaseBar({ lock, now }: { readonly lock: Lock; readonly now: number }): VNode {
  if (lock.expiresAt === undefined) return html`<span class="lease"><span class="left absent">…</span></span>`
  const share = shareLeft(lock, now)
  if (lock.expiresAt === null || share === undefined) return html`<span class="lease"><span class="left never">no end</span></span>`
  const left = lock.expiresAt - now
  const state = left <= 0 ? 'over' : share <= NEAR_END ? 'low' : 'good'
  return html`<span class=${`lease ${state}`}>
    <span class="bar"><span class="fill" style=${{ transform: `scaleX(${share.toFixed(4)})` }}></span></span>
    <span class="left">${left <= 0 ? 'run out' : remaining(left)}</span>
  </span>`
}
