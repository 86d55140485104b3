import type { VNode } from 'preact'
import { useMemo, useRef, useState } from 'preact/hooks'
import { count, counted, duration, remaining, utcTime } from './format.js'
import { html, type Navigation } from './hooks.js'
import { filterLocks, NEAR_END, rowsOf, shareLeft, type Lock, type Row, type Sort } from './lock-table.js'
import { Cut, ResourceLink } from './parts.js'
import { useRowKeys, useWindow } from './table-window.js'

/** The locks that the user has picked. */
export interface Selection {
  readonly has: (lock: Lock) => boolean
  readonly set: (locks: readonly Lock[], picked: boolean) => void
}

interface TableProps {
  readonly locks: readonly Lock[]
  readonly now: number
  readonly navigation: Navigation
  /** Null where nothing can be done with several locks. */
  readonly selection: Selection | null
}

/** With the direction in which each is sorted. */
export const COLUMNS: readonly { readonly sort: Sort; readonly title: string; readonly order: 'ascending' | 'descending' }[] = [
  { sort: 'name', title: 'Resource', order: 'ascending' },
  { sort: 'holder', title: 'Holder', order: 'ascending' },
  { sort: 'age', title: 'Held for', order: 'descending' },
  { sort: 'ends', title: 'Lease', order: 'ascending' },
  { sort: 'renewals', title: 'Renewals', order: 'descending' },
  { sort: 'token', title: 'Token', order: 'descending' },
  { sort: 'waiters', title: 'Waiters', order: 'descending' }
]

/** The locks, grouped by prefix. Only the visible rows are drawn. */
export function Table({ locks, now, navigation, selection }: TableProps): VNode {
  const { view, go } = navigation
  const [folded, setFolded] = useState<ReadonlySet<string>>(new Set())
  const rows = useMemo(() => rowsOf(locks, { filter: view.filter, sort: view.sort, folded }), [locks, view.filter, view.sort, folded])
  const shown = useMemo(() => filterLocks(locks, view.filter), [locks, view.filter])
  const body = useRef<HTMLDivElement>(null)
  const { first, last, offsets } = useWindow(body, rows)
  const pick = (index: number): void => {
    const row = rows[index]
    if (row?.kind === 'lock') selection?.set([row.lock], !selection.has(row.lock))
  }
  const focus = useRowKeys(body, offsets, pick)
  const fold = (prefix: string): void => {
    const next = new Set(folded)
    if (!next.delete(prefix)) next.add(prefix)
    setFolded(next)
  }
  return html`<div class=${`table ${selection === null ? '' : 'picking'}`} role="table" aria-label="Locks" aria-rowcount=${rows.length + 1}>
    <div role="rowgroup" class="header">
      <div class="head" role="row">
        ${selection !== null && html`<${Pick} role="columnheader" label="Pick all shown" locks=${shown} selection=${selection} />`}
        ${COLUMNS.map(
          ({ sort, title, order }) => html`<span role="columnheader" class=${`cell ${sort}`} key=${sort} aria-sort=${view.sort === sort ? order : 'none'}>
            <button type="button" onClick=${() => go({ sort }, 'replace')}>${title}</button>
          </span>`
        )}
      </div>
    </div>
    <div class="body" role="rowgroup" ref=${body} style=${{ height: `${offsets.at(-1) ?? 0}px`, paddingTop: `${offsets[first] ?? 0}px` }}>
      ${rows.slice(first, last).map((row, offset) => {
        const index = first + offset
        return row.kind === 'group'
          ? html`<${GroupRow} key=${`group ${row.prefix}`} row=${row} index=${index} selection=${selection} onFold=${fold} />`
          : html`<${LockRow} key=${row.lock.name} lock=${row.lock} index=${index} now=${now} navigation=${navigation} selection=${selection} onFocus=${focus} />`
      })}
    </div>
  </div>`
}

interface PickProps {
  readonly role: 'cell' | 'columnheader'
  readonly label: string
  /** What it picks, none of which can be picked alone by it. */
  readonly locks: readonly Lock[]
  readonly selection: Selection
}

/** A cell with a box to tick, for one lock or for many. */
function Pick({ role, label, locks, selection }: PickProps): VNode {
  const picked = locks.length > 0 && locks.every((lock) => selection.has(lock))
  const change = (): void => selection.set(locks, !picked)
  return html`<span role=${role} class="cell pick"><input type="checkbox" aria-label=${label} checked=${picked} disabled=${locks.length === 0} onChange=${change} /></span>`
}

interface GroupRowProps {
  readonly row: Extract<Row, { kind: 'group' }>
  readonly index: number
  readonly selection: Selection | null
  readonly onFold: (prefix: string) => void
}

function GroupRow({ row, index, selection, onFold }: GroupRowProps): VNode {
  const { prefix, members, waiters, open } = row
  const title = prefix === '' ? 'other names' : prefix
  return html`<div class="row group" role="row" aria-rowindex=${index + 2} data-index=${index}>
    ${selection !== null && html`<${Pick} role="cell" label=${`Pick all of ${title}`} locks=${members} selection=${selection} />`}
    <span role="cell" class="cell">
      <button type="button" aria-expanded=${open} onClick=${() => onFold(prefix)}>
        <span class="twist" aria-hidden="true"></span>
        <bdi class=${prefix === '' ? 'unnamed' : 'prefix'}>${title}</bdi>
      </button>
      <span class="sum">${counted(members.length, 'lock')}${waiters > 0 && `, ${counted(waiters, 'waiter')}`}</span>
    </span>
  </div>`
}

interface LockRowProps {
  readonly lock: Lock
  readonly index: number
  readonly now: number
  readonly navigation: Navigation
  readonly selection: Selection | null
  readonly onFocus: (index: number) => void
}

function LockRow({ lock, index, now, navigation, selection, onFocus }: LockRowProps): VNode {
  const { name, process, lockedAt, renewals, lockId, waiters } = lock
  return html`<div class="row lock" role="row" aria-rowindex=${index + 2} data-index=${index} onFocusIn=${() => onFocus(index)}>
    ${selection !== null && html`<${Pick} role="cell" label=${`Pick ${name}`} locks=${[lock]} selection=${selection} />`}
    <span role="cell" class="cell name"><${ResourceLink} name=${name} navigation=${navigation} grouped=${true} /></span>
    <span role="cell" class="cell holder" title=${process}><${Cut} text=${process} /></span>
    <span role="cell" class="cell age" title=${`since ${utcTime(lockedAt)}`}>${duration(now - lockedAt)}</span>
    <span role="cell" class="cell ends"><${LeaseBar} lock=${lock} now=${now} key=${lockId} /></span>
    <span role="cell" class="cell renewals">${renewals === undefined ? '…' : renewals === 0 ? html`<i>–</i>` : count(renewals)}</span>
    <span role="cell" class="cell token">${lockId}</span>
    <span role="cell" class="cell waiters">${waiters === undefined ? '…' : waiters === 0 ? html`<i>–</i>` : html`<b>${count(waiters)}</b>`}</span>
  </div>`
}

/** The rest of a lease: a bar that shrinks, and the time in words. */
export function LeaseBar({ lock, now }: { readonly lock: Lock; readonly now: number }): VNode {
  if (lock.expiresAt === undefined) return html`<span class="lease"><span class="left absent">…</span></span>`
  const share = shareLeft(lock, now)
  if (lock.expiresAt === null || share === undefined) {
    return html`<span class="lease"><span class="left never" title="It has no lease: it ends only when somebody releases it">∞ no end</span></span>`
  }
  const left = lock.expiresAt - now
  const state = left <= 0 ? 'over' : share <= NEAR_END ? 'low' : 'good'
  return html`<span class=${`lease ${state}`} title=${`ends ${utcTime(lock.expiresAt)}`}>
    <span class="bar"><span class="fill" style=${{ transform: `scaleX(${share.toFixed(4)})` }}></span></span>
    <span class="left">${left <= 0 ? 'run out' : remaining(left)}</span>
  </span>`
}
