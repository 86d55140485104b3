import type { VNode } from 'preact'
import { html } from '../html.js'
import { clockTime, counted, duration } from '../model/format.js'
import type { Lock } from '../model/lock-table.js'
import { LeaseBar } from './lease-bar.js'

interface HolderPanelProps {
  readonly lock: Lock | undefined
  /** Whether it is known that there is none. */
  readonly known: boolean
  readonly now: number
  /** Null where the key does not allow it. */
  readonly onTakeAway: (() => void) | null
}

/** Who has the resource. */
export function HolderPanel({ lock, known, now, onTakeAway }: HolderPanelProps): VNode {
  if (lock === undefined) {
    return html`<section class="panel holder"><h3>Holder</h3><p class="none">${known ? 'Nobody holds it.' : 'unknown'}</p></section>`
  }
  const { process, lockId, lockedAt, renewals, ttlMs, metadata } = lock
  const hasMetadata = metadata !== null && metadata !== undefined && Object.keys(metadata).length > 0
  return html`<section class="panel holder">
    <h3>Holder</h3>
    <p class="who"><bdi>${process}</bdi></p>
    <dl>
      <dt>Held for</dt>
      <dd>${duration(now - lockedAt)} <span class="aside">since ${clockTime(lockedAt, now)}</span></dd>
      <dt>Lease</dt>
      <dd class="wide"><${LeaseBar} lock=${lock} now=${now} key=${lockId} /></dd>
      <dt>Renewals</dt>
      <dd>${renewals === undefined ? '…' : renewals === 0 ? 'none' : counted(renewals, 'time')}${lease(ttlMs)}</dd>
      <dt>Fencing token</dt>
      <dd class="mono">${lockId}</dd>
      ${hasMetadata &&
      html`<dt>Metadata</dt>
        <dd class="wide"><pre>${JSON.stringify(metadata, null, 2)}</pre></dd>`}
    </dl>
    ${onTakeAway !== null && html`<button type="button" class="danger" onClick=${onTakeAway}>Force release …</button>`}
  </section>`
}

function lease(ttlMs: number | null | undefined): VNode | null {
  return ttlMs === null || ttlMs === undefined ? null : html` <span class="aside">lease of ${duration(ttlMs)}</span>`
}
