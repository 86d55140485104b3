import type { VNode } from 'preact'
import { useMemo, useRef } from 'preact/hooks'
import { html } from '../html.js'
import { count, counted } from '../model/format.js'
import { filterLocks } from '../model/rows.js'
import type { Live } from '../net/live.js'
import { AttentionList } from './attention-list.js'
import { Cards } from './cards.js'
import { Table } from './table.js'
import { isForPage, useKeys, type Navigation } from './use.js'

interface OverviewProps {
  readonly live: Live
  readonly navigation: Navigation
}

/** The figures, what to look at first, and every lock. */
export function Overview({ live, navigation }: OverviewProps): VNode {
  const { view, go } = navigation
  const { locks } = live.table
  const now = live.now()
  const { ready } = live
  const input = useRef<HTMLInputElement>(null)
  const matching = useMemo(() => filterLocks(locks, view.filter).length, [locks, view.filter])
  useKeys((event) => {
    if (event.key !== '/' || !isForPage(event)) return
    event.preventDefault()
    input.current?.select()
  })
  const leave = (event: KeyboardEvent): void => {
    if (event.key !== 'Escape') return
    event.preventDefault()
    go({ filter: '' }, 'replace')
    input.current?.blur()
  }
  return html`<main>
    <${Cards} figures=${live.figures} held=${ready ? locks.length : undefined} />
    <${AttentionList} locks=${locks} now=${now} navigation=${navigation} />
    <div class="toolbar">
      <label class="filter">
        <span class="hidden">Filter by resource or holder</span>
        <input
          ref=${input}
          type="search"
          placeholder="Filter by resource or holder"
          autocomplete="off"
          spellcheck=${false}
          value=${view.filter}
          onInput=${(event: Event) => go({ filter: (event.currentTarget as HTMLInputElement).value }, 'replace')}
          onKeyDown=${leave}
        />
        <kbd aria-hidden="true">/</kbd>
      </label>
      <span class="total" role="status"
        >${!ready ? 'unknown' : view.filter.trim() === '' ? counted(locks.length, 'lock') : `${count(matching)} of ${counted(locks.length, 'lock')}`}</span
      >
    </div>
    <${Table} locks=${locks} now=${now} navigation=${navigation} ready=${ready} />
  </main>`
}
