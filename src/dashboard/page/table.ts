import type { VNode } from 'preact'
import { useMemo, useRef, useState } from 'preact/hooks'
import { html, type Navigation, useRowKeys, useWindow } from './hooks.js'
import { NEAR_END, shareLeft, type Lock, type Share } from './lock-table.js'
import { count, counted, duration, ranges, remaining, utcTime, Cut, ResourceLink } from './parts.js'
import { filterLocks, firstBy, rowsOf, type Row, type Sort, type Usage } from './rows.js'

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
  const [turned, setTurned] = useState<ReadonlySet<string>>(new Set())
  const rows = useMemo(() => rowsOf(locks, { filter: view.filter, sort: view.sort, folded, turned }), [locks, view.filter, view.sort, folded, turned])
  const shown = useMemo(() => filterLocks(locks, view.filter), [locks, view.filter])
  const body = useRef<HTMLDivElement>(null)
  const { first, last, offsets } = useWindow(body, rows)
  const pick = (index: number): void => {
    const row = rows[index]
    if (row === undefined || row.kind === 'group' || selection === null) return
    const some = row.kind === 'lock' ? [row.lock] : row.members
    selection.set(some, !some.every((lock) => selection.has(lock)))
  }
  const focus = useRowKeys(body, offsets, pick)
  const fold = (prefix: string): void => setFolded((known) => toggled(known, prefix))
  const turn = (name: string): void => setTurned((known) => toggled(known, name))
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
        const common = { row, index, now, navigation, selection, onFocus: focus }
        if (row.kind === 'group') return html`<${GroupRow} key=${`group ${row.prefix}`} ...${common} onFold=${fold} />`
        if (row.kind === 'shared') return html`<${SharedRow} key=${`shared ${row.name}`} ...${common} onTurn=${turn} />`
        return html`<${LockRow} key=${row.lock.key} ...${common} />`
      })}
    </div>
  </div>`
}

function toggled(known: ReadonlySet<string>, item: string): ReadonlySet<string> {
  const next = new Set(known)
  if (!next.delete(item)) next.add(item)
  return next
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

interface RowProps<Kind extends Row['kind']> {
  readonly row: Extract<Row, { kind: Kind }>
  readonly index: number
  readonly now: number
  readonly navigation: Navigation
  readonly selection: Selection | null
  readonly onFocus: (index: number) => void
}

function GroupRow({ row, index, selection, onFocus, onFold }: RowProps<'group'> & { readonly onFold: (prefix: string) => void }): VNode {
  const { prefix, members, waiters, open } = row
  const title = prefix === '' ? 'other names' : prefix
  return html`<div class="row group" role="row" aria-rowindex=${index + 2} data-index=${index} onFocusIn=${() => onFocus(index)}>
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

/** A shared resource: its holders counted, and of each column what the order puts first. */
function SharedRow({ row, index, now, navigation, selection, onFocus, onTurn }: RowProps<'shared'> & { readonly onTurn: (name: string) => void }): VNode {
  const { name, members, holders, usage, open } = row
  const oldest = firstBy('age', members)
  const soonest = firstBy('ends', members)
  const { renewals } = firstBy('renewals', members)
  const { lockId, waiters } = firstBy('token', members)
  return html`<div class="row lock shared" role="row" aria-rowindex=${index + 2} data-index=${index} onFocusIn=${() => onFocus(index)}>
    ${selection !== null && html`<${Pick} role="cell" label=${`Pick all shares of ${name}`} locks=${members} selection=${selection} />`}
    <span role="cell" class="cell name">
      <button type="button" aria-expanded=${open} aria-label=${`Holders of ${name}`} onClick=${() => onTurn(name)}><span class="twist" aria-hidden="true"></span></button>
      <${ResourceLink} name=${name} navigation=${navigation} grouped=${true} />
    </span>
    <span role="cell" class="cell holder"
      >${members.length < holders ? `${count(members.length)} of ${counted(holders, 'holder')}` : counted(holders, 'holder')} <${UsageMark} usage=${usage}
    /></span>
    <span role="cell" class="cell age" title=${`the first since ${utcTime(oldest.lockedAt)}`}>${duration(now - oldest.lockedAt)}</span>
    <span role="cell" class="cell ends"><${LeaseBar} lock=${soonest} now=${now} key=${soonest.key} /></span>
    <span role="cell" class="cell renewals">${timesText(renewals)}</span>
    <span role="cell" class="cell token">${lockId}</span>
    <span role="cell" class="cell waiters">${waitersText(waiters)}</span>
  </div>`
}

/** How many permits are held, and of how many. */
export function UsageMark({ usage: { used, limit } }: { readonly usage: Usage }): VNode {
  if (used === undefined || limit === undefined) return html`<span class="usage">…</span>`
  if (limit === null) return html`<span class="usage" title="Nobody of them states a limit">shared</span>`
  return html`<span class=${`usage ${used >= limit ? 'full' : ''}`} title=${`${count(used)} of ${counted(limit, 'permit')} held`}>${count(used)} / ${count(limit)}</span>`
}

function LockRow({ row: { lock, isShare }, index, now, navigation, selection, onFocus }: RowProps<'lock'>): VNode {
  const { name, process, lockedAt, renewals, lockId, waiters, share } = lock
  const label = isShare ? `${name}, ${process}` : name
  return html`<div class=${`row lock ${isShare ? 'within' : ''}`} role="row" aria-rowindex=${index + 2} data-index=${index} onFocusIn=${() => onFocus(index)}>
    ${selection !== null && html`<${Pick} role="cell" label=${`Pick ${label}`} locks=${[lock]} selection=${selection} />`}
    <span role="cell" class="cell name"
      ><${ResourceLink} name=${name} navigation=${navigation} grouped=${true} title=${label}>${isShare ? takenText(share) : null}<//
    ></span>
    <span role="cell" class="cell holder" title=${process}><${Cut} text=${process} /></span>
    <span role="cell" class="cell age" title=${`since ${utcTime(lockedAt)}`}>${duration(now - lockedAt)}</span>
    <span role="cell" class="cell ends"><${LeaseBar} lock=${lock} now=${now} key=${lock.key} /></span>
    <span role="cell" class="cell renewals">${timesText(renewals)}</span>
    <span role="cell" class="cell token">${lockId}</span>
    <span role="cell" class="cell waiters">${isShare ? null : waitersText(waiters)}</span>
  </div>`
}

/** `share`, `slot 3`, `slots 1–4, 7` */
export function takenText(share: Share | null | undefined): string {
  if (share?.permits === undefined) return '…'
  if (share.slots.length === 0) return 'share'
  return `slot${share.slots.length === 1 ? '' : 's'} ${ranges(share.slots)}`
}

function timesText(renewals: number | undefined): VNode | string {
  return renewals === undefined ? '…' : renewals === 0 ? html`<i>–</i>` : count(renewals)
}

function waitersText(waiters: number | undefined): VNode | string {
  return waiters === undefined ? '…' : waiters === 0 ? html`<i>–</i>` : html`<b>${count(waiters)}</b>`
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
