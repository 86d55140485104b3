import type { VNode } from 'preact'
import { useEffect, useLayoutEffect, useMemo, useRef, useState } from 'preact/hooks'
import { count, counted, duration, remaining } from './format.js'
import { html, isForPage, ResourceLink, useKeys, type Navigation } from './hooks.js'
import { NEAR_END, rowsOf, shareLeft, type Lock, type Row, type Sort } from './lock-table.js'

interface TableProps {
  readonly locks: readonly Lock[]
  readonly now: number
  readonly navigation: Navigation
  /** Whether the list has been read. */
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

/** The locks, grouped by prefix. Only the visible rows are drawn. */
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

interface GroupRowProps {
  readonly row: Extract<Row, { kind: 'group' }>
  readonly index: number
  readonly onFold: (prefix: string) => void
}

function GroupRow({ row, index, onFold }: GroupRowProps): VNode {
  const { prefix, count: locks, waiters, open } = row
  return html`<div class="row group" role="row" aria-rowindex=${index + 2} data-index=${index}>
    <span role="cell" class="cell">
      <button type="button" aria-expanded=${open} onClick=${() => onFold(prefix)}>
        <span class="twist" aria-hidden="true"></span>
        <bdi class=${prefix === '' ? 'unnamed' : 'prefix'}>${prefix === '' ? 'other names' : prefix}</bdi>
      </button>
      <span class="sum">${counted(locks, 'lock')}${waiters > 0 && `, ${counted(waiters, 'waiter')}`}</span>
    </span>
  </div>`
}

interface LockRowProps {
  readonly lock: Lock
  readonly index: number
  readonly now: number
  readonly navigation: Navigation
  readonly onFocus: (index: number) => void
}

function LockRow({ lock, index, now, navigation, onFocus }: LockRowProps): VNode {
  const { name, process, lockedAt, renewals, lockId, waiters } = lock
  return html`<div class="row lock" role="row" aria-rowindex=${index + 2} data-index=${index} onFocusIn=${() => onFocus(index)}>
    <span role="cell" class="cell name"><${ResourceLink} name=${name} navigation=${navigation} grouped=${true} /></span>
    <span role="cell" class="cell holder" title=${process}><bdi>${process}</bdi></span>
    <span role="cell" class="cell age">${duration(now - lockedAt)}</span>
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
  if (lock.expiresAt === null || share === undefined) return html`<span class="lease"><span class="left never">no end</span></span>`
  const left = lock.expiresAt - now
  const state = left <= 0 ? 'over' : share <= NEAR_END ? 'low' : 'good'
  return html`<span class=${`lease ${state}`}>
    <span class="bar"><span class="fill" style=${{ transform: `scaleX(${share.toFixed(4)})` }}></span></span>
    <span class="left">${left <= 0 ? 'run out' : remaining(left)}</span>
  </span>`
}

/** Rows this far outside the screen are drawn too, so that scrolling shows no gaps. */
const BEYOND_PX = 400

/** On a narrow screen a lock has two lines. style.css has the same numbers. */
const NARROW = '(max-width: 720px)'
const HEIGHTS_PX = { wide: { group: 34, lock: 34 }, narrow: { group: 40, lock: 58 } } as const

interface Window {
  readonly first: number
  /** The first row that is not drawn. */
  readonly last: number
  /** Where each row begins, in pixels below the top of the list, and where the last one ends. */
  readonly offsets: readonly number[]
}

/** Which rows of a long list are visible, as the page scrolls. */
function useWindow(body: { readonly current: HTMLElement | null }, rows: readonly Row[]): Window {
  const narrow = useMedia(NARROW)
  const offsets = useMemo(() => offsetsOf(rows, HEIGHTS_PX[narrow ? 'narrow' : 'wide']), [rows, narrow])
  const [view, setView] = useState<readonly [top: number, bottom: number]>([0, 2000])
  useEffect(() => {
    let frame = 0
    const measure = (): void => {
      frame = 0
      const top = -(body.current?.getBoundingClientRect().top ?? 0)
      setView((known) => (Math.abs(known[0] - top) < BEYOND_PX / 4 && known[1] === top + innerHeight ? known : [top, top + innerHeight]))
    }
    const soon = (): void => {
      if (frame === 0) frame = requestAnimationFrame(measure)
    }
    measure()
    addEventListener('scroll', soon, { passive: true })
    addEventListener('resize', soon)
    return () => {
      cancelAnimationFrame(frame)
      removeEventListener('scroll', soon)
      removeEventListener('resize', soon)
    }
  }, [body, offsets])
  const first = rowAt(offsets, view[0] - BEYOND_PX)
  return { first, last: Math.min(rows.length, rowAt(offsets, view[1] + BEYOND_PX) + 1), offsets }
}

function useMedia(query: string): boolean {
  const [matches, setMatches] = useState(() => matchMedia(query).matches)
  useEffect(() => {
    const media = matchMedia(query)
    const changed = (): void => setMatches(media.matches)
    media.addEventListener('change', changed)
    return () => media.removeEventListener('change', changed)
  }, [query])
  return matches
}

function offsetsOf(rows: readonly Row[], heights: Readonly<Record<Row['kind'], number>>): readonly number[] {
  const offsets = [0]
  for (const [index, { kind }] of rows.entries()) offsets.push((offsets[index] ?? 0) + heights[kind])
  return offsets
}

/** The row at that height, or the nearest one. */
function rowAt(offsets: readonly number[], height: number): number {
  let low = 0
  let high = Math.max(0, offsets.length - 2)
  while (low < high) {
    const middle = Math.ceil((low + high) / 2)
    if ((offsets[middle] ?? 0) <= height) low = middle
    else high = middle - 1
  }
  return low
}

/** Space above and below a row that the keyboard has moved to, for the rows around it and the fixed toolbar. */
const MARGIN_PX = 136

interface ElementRef {
  readonly current: HTMLElement | null
}

/**
 * Moves the focus from row to row with the arrow keys or j and k, also to rows that are not drawn yet.
 *
 * @param offsets where each row begins, and where the last one ends.
 * @returns a function to be called with the row that gets the focus by other means.
 */
function useRowKeys(body: ElementRef, offsets: readonly number[]): (index: number) => void {
  const rows = offsets.length - 1
  const at = useRef(-1)
  const wanted = useRef<number | null>(null)
  const focusWanted = (): void => {
    if (wanted.current === null) return
    const link = body.current?.querySelector<HTMLElement>(`[data-index="${wanted.current}"] :is(a, button)`)
    if (link === null || link === undefined) return
    wanted.current = null
    link.focus({ preventScroll: true })
  }
  useLayoutEffect(focusWanted)
  useEffect(() => {
    at.current = Math.min(at.current, rows - 1)
  }, [rows])
  useKeys((event) => {
    const step = { ArrowDown: 1, j: 1, ArrowUp: -1, k: -1, Home: -Infinity, End: Infinity }[event.key]
    if (step === undefined || !isForPage(event) || rows === 0) return
    event.preventDefault()
    at.current = Math.min(rows - 1, Math.max(0, at.current + step))
    wanted.current = at.current
    reveal(body.current, offsets[at.current] ?? 0)
    focusWanted()
  })
  return (index) => {
    at.current = index
  }
}

/** Scrolls no further than necessary. */
function reveal(body: HTMLElement | null, offset: number): void {
  if (body === null) return
  const top = body.getBoundingClientRect().top + offset
  if (top < MARGIN_PX) scrollBy({ top: top - MARGIN_PX })
  else if (top > innerHeight - MARGIN_PX) scrollBy({ top: top - innerHeight + MARGIN_PX })
}
