import type { VNode } from 'preact'
import { useMemo, useRef, useState } from 'preact/hooks'
import { html } from '../html.js'
import { count } from '../model/format.js'
import type { Lock } from '../model/lock-table.js'
import { rowsOf, type Sort } from '../model/rows.js'
import { GroupRow, LockRow } from './row.js'
import { useRowKeys } from './row-keys.js'
import type { Navigation } from './use.js'
import { useWindow } from './window.js'

interface TableProps {
  readonly locks: readonly Lock[]
  readonly now: number
  readonly navigation: Navigation
  /** Whether the list was ever read. */
  readonly ready: boolean
}

const COLUMNS: readonly { readonly sort: Sort; readonly title: string }[] = [
  { sort: 'name', title: 'Resource' },
  { sort: 'holder', title: 'Holder' },
  { sort: 'age', title: 'Held for' },
  { sort: 'ends', title: 'Lease' },
  { sort: 'renewals', title: 'Renewals' },
  { sort: 'token', title: 'Token' },
  { sort: 'waiters', title: 'Waiters' }
]

/** The locks, grouped by prefix. However many there are, only what can be seen is drawn. */
export function Table({ locks, now, navigation, ready }: TableProps): VNode {
  const { view, go } = navigation
  const [folded, setFolded] = useState<ReadonlySet<string>>(new Set())
  const rows = useMemo(() => rowsOf(locks, { filter: view.filter, sort: view.sort, folded }), [locks, view.filter, view.sort, folded])
  const body = useRef<HTMLDivElement>(null)
  const { first, last, offsets } = useWindow(body, rows)
  const focus = useRowKeys(body, offsets)
  const fold = (prefix: string): void => {
    const next = new Set(folded)
    if (!next.delete(prefix)) next.add(prefix)
    setFolded(next)
  }
  const shown = rows.slice(first, last)
  return html`<section class="table" role="table" aria-label="Locks" aria-rowcount=${rows.length + 1}>
    <div class="head" role="row">
      ${COLUMNS.map(
        ({ sort, title }) => html`<span role="columnheader" class=${`cell ${sort}`} key=${sort} aria-sort=${view.sort === sort ? 'other' : 'none'}>
          <button type="button" onClick=${() => go({ sort }, 'replace')} aria-pressed=${view.sort === sort}>${title}</button>
        </span>`
      )}
    </div>
    <div class="body" role="rowgroup" ref=${body} style=${{ height: `${offsets.at(-1) ?? 0}px`, paddingTop: `${offsets[first] ?? 0}px` }}>
      ${shown.map((row, offset) => {
        const index = first + offset
        return row.kind === 'group'
          ? html`<${GroupRow} key=${`group ${row.prefix}`} row=${row} index=${index} onFold=${fold} />`
          : html`<${LockRow} key=${row.lock.name} lock=${row.lock} index=${index} now=${now} navigation=${navigation} onFocus=${focus} />`
      })}
    </div>
    ${rows.length === 0 && html`<p class="empty">${emptiness(ready, locks.length, view.filter)}</p>`}
  </section>`
}

function emptiness(ready: boolean, total: number, filter: string): string {
  if (!ready) return 'Not known yet.'
  return total === 0 ? 'Nothing is locked.' : `None of ${count(total)} locks has “${filter}” in its name or holder.`
}
