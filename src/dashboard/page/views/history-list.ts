import type { VNode } from 'preact'
import { html } from '../html.js'
import { clockTime } from '../model/format.js'
import type { EventKind } from '../model/wire.js'
import type { History } from './use-resource.js'

interface HistoryListProps {
  readonly history: History | undefined
  readonly now: number
  readonly onMore: () => void
}

const WORDS: Readonly<Record<EventKind, string>> = {
  granted: 'granted',
  renewed: 'renewed',
  released: 'released',
  expired: 'ran out',
  force_released: 'taken away'
}

/** What happened to the resource, the newest first. */
export function HistoryList({ history, now, onMore }: HistoryListProps): VNode {
  return html`<section class="panel history">
    <h3>History</h3>
    ${content(history, now)}
    ${history?.cursor !== null && history !== undefined && html`<button type="button" class="quiet" onClick=${onMore}>Older</button>`}
  </section>`
}

function content(history: History | undefined, now: number): VNode {
  if (history === undefined) return html`<p class="none">unknown</p>`
  if (history.events.length === 0) return html`<p class="none">Nothing is remembered.</p>`
  return html`<ol>
    ${history.events.map(
      ({ event_id, event, at, process_id, lock_id, reason }) => html`<li key=${event_id} class=${event}>
        <time datetime=${at}>${clockTime(Date.parse(at), now)}</time>
        <span class="what">${WORDS[event]}</span>
        <span class="mono token">${lock_id}</span>
        <bdi class="who" title=${process_id}>${process_id}</bdi>
        ${reason !== null && html`<q><bdi>${reason}</bdi></q>`}
      </li>`
    )}
  </ol>`
}
