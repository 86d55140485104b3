import type { VNode } from 'preact'
import { useMemo } from 'preact/hooks'
import { html } from '../html.js'
import { attention, type Notable } from '../model/attention.js'
import { count, counted, duration, remaining } from '../model/format.js'
import type { Lock } from '../model/lock-table.js'
import { ResourceLink } from './resource-link.js'
import type { Navigation } from './use.js'

interface AttentionProps {
  readonly locks: readonly Lock[]
  readonly now: number
  readonly navigation: Navigation
}

const SHOWN = 4

/** Where an operator should look first. */
export function AttentionList({ locks, now, navigation }: AttentionProps): VNode {
  // Once a second is enough, however many events there are: it looks at every lock.
  const { waitedFor, long, expiring } = useMemo(() => attention(locks, now), [Math.floor(now / 1000), locks.length > 0])
  const say = (notable: Notable): VNode => sentence(notable, now)
  const panel = (title: string, none: string, all: readonly Notable[]): VNode => html`<div class="panel">
    <h3>${title}${all.length > SHOWN && html` <span class="more">${SHOWN} of ${all.length}</span>`}</h3>
    ${all.length === 0
      ? html`<p class="none">${none}</p>`
      : html`<ol>
          ${all.slice(0, SHOWN).map(
            (notable) => html`<li key=${notable.lock.name}>
              <${ResourceLink} name=${notable.lock.name} navigation=${navigation} />
              <span class="note">${say(notable)}</span>
            </li>`
          )}
        </ol>`}
  </div>`
  return html`<section class="attention" aria-label="Look here first">
    ${panel('Most waited for', 'Nobody waits.', waitedFor)} ${panel('Held unusually long', 'Nothing stands out.', long)}
    ${panel('Expiring without renewal', 'Nothing is about to run out.', expiring)}
  </section>`
}

function sentence({ lock, note, measure }: Notable, now: number): VNode {
  if (note === 'waited-for') return html`<b>${counted(measure ?? 0, 'waiter')}</b>`
  if (note === 'long') return html`<b>${duration(now - lock.lockedAt)}</b>${measure !== undefined && `, ${count(Math.floor(measure))} × the usual`}`
  const renewed = (lock.renewals ?? 0) > 0 ? `renewed ${lock.renewals} ×, no more` : 'never renewed'
  return html`<b class="warn">${remaining((lock.expiresAt ?? now) - now)} left</b>, ${renewed}`
}
