import type { VNode } from 'preact'
import { html } from '../html.js'
import { count, duration, remaining } from '../model/format.js'
import type { WireQueue, WireWaiter } from '../model/wire.js'

/** Who waits, the next to be served on top. */
export function QueueList({ queue, now }: { readonly queue: WireQueue | undefined; readonly now: number }): VNode {
  return html`<section class="panel queue">
    <h3>Queue${queue !== undefined && queue.total_waiters > 0 && html` <span class="more">${count(queue.total_waiters)}</span>`}</h3>
    ${content(queue, now)}
  </section>`
}

function content(queue: WireQueue | undefined, now: number): VNode {
  if (queue === undefined) return html`<p class="none">unknown</p>`
  if (queue.waiters.length === 0) return html`<p class="none">Nobody waits.</p>`
  const unseen = queue.total_waiters - queue.waiters.length
  return html`<ol>
      ${queue.waiters.map(
        (waiter) => html`<li key=${`${waiter.position} ${waiter.process_id}`}>
          <span class="place">${waiter.position}</span>
          <bdi class="who" title=${waiter.process_id}>${waiter.process_id}</bdi>
          <span class="aside">${since(waiter, now)}</span>
        </li>`
      )}
    </ol>
    ${unseen > 0 && html`<p class="none">and ${count(unseen)} more</p>`}`
}

function since({ waiting_since: from, kept_until: until }: WireWaiter, now: number): string {
  if (until !== null) return `place kept for ${remaining(Date.parse(until) - now)}`
  return from === null ? 'since when is unknown' : duration(now - Date.parse(from))
}
