import htm from 'htm'
import { h, type VNode } from 'preact'
import { useEffect, useLayoutEffect, useReducer, useRef, useState, useMemo } from 'preact/hooks'
import { SORTS, type Sort, type Row } from './rows.js'

type Markup<Element> = (strings: TemplateStringsArray, ...values: unknown[]) => Element

/** Its types describe the CommonJS build; the module has the function itself as its default. */
const markup = htm as unknown as { readonly bind: (create: typeof h) => Markup<VNode> }

/**
 * Markup as a tagged template that becomes elements without being parsed as HTML: a value in it is always a text or the value
 * of an attribute, whatever it looks like.
 */
export const html = markup.bind(h)

/** What the page shows. It is kept in the address, so that it can be sent to a colleague and going back works. */
export interface View {
  readonly filter: string
  readonly sort: Sort
  /** The resource whose page is open; null shows the table. */
  readonly resource: string | null
}

export function viewFromSearch(search: string): View {
  const parameters = new URLSearchParams(search)
  const sort = parameters.get('sort')
  return {
    filter: parameters.get('q') ?? '',
    sort: SORTS.find((known) => known === sort) ?? 'name',
    resource: parameters.get('resource')
  }
}

/** Empty for the default view. */
export function searchFromView({ filter, sort, resource }: View): string {
  const parameters = new URLSearchParams()
  if (resource !== null) parameters.set('resource', resource)
  if (filter !== '') parameters.set('q', filter)
  if (sort !== 'name') parameters.set('sort', sort)
  const text = parameters.toString()
  return text === '' ? '' : `?${text}`
}

/** Draws the component again after each change, and each second, since ages grow. */
export function useLive(live: { readonly onChange: (listener: () => void) => () => void }): void {
  const [, redraw] = useReducer((times: number) => times + 1, 0)
  useEffect(() => {
    const stop = live.onChange(() => redraw(undefined))
    const timer = setInterval(() => redraw(undefined), 1000)
    return () => {
      stop()
      clearInterval(timer)
    }
  }, [live])
}

export interface Navigation {
  readonly view: View
  /** Changes the address, and with it what is shown. `replace`: without an entry in the browser's history. */
  readonly go: (change: Partial<View>, replace?: 'replace') => void
  /** The address of a view, for links. */
  readonly hrefOf: (change: Partial<View>) => string
}

/** The view that the address names. */
export function useView(): Navigation {
  const [view, setView] = useState(() => viewFromSearch(location.search))
  useEffect(() => {
    const changed = (): void => setView(viewFromSearch(location.search))
    addEventListener('popstate', changed)
    return () => removeEventListener('popstate', changed)
  }, [])
  const hrefOf = (change: Partial<View>): string => location.pathname + searchFromView({ ...view, ...change })
  const go = (change: Partial<View>, replace?: 'replace'): void => {
    history[replace === 'replace' ? 'replaceState' : 'pushState'](null, '', hrefOf(change))
    setView({ ...view, ...change })
  }
  return { view, go, hrefOf }
}

/** Whether a key press is for the page and not for a field, a dialog or the browser. */
export function isForPage(event: KeyboardEvent): boolean {
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented || document.querySelector('dialog[open]') !== null) return false
  const field = event.target instanceof Element ? event.target.closest('input:not([type=checkbox]), textarea, select') : null
  // A dialog that was closed in this frame still has the focus.
  return field === null || field.closest('dialog') !== null
}

/** Listens to the keyboard while the component is mounted. */
export function useKeys(listener: (event: KeyboardEvent) => void): void {
  const latest = useRef(listener)
  latest.current = listener
  // Not after the next frame: what is on the page responds to keys at once.
  useLayoutEffect(() => {
    const pressed = (event: KeyboardEvent): void => latest.current(event)
    addEventListener('keydown', pressed)
    return () => removeEventListener('keydown', pressed)
  }, [])
}

/** A plain click on a link stays in the page; one that opens another tab is left to the browser. */
export function isPlainClick(event: MouseEvent): boolean {
  return event.button === 0 && !event.ctrlKey && !event.metaKey && !event.shiftKey && !event.altKey
}

/** Rows this far outside the screen are drawn too, so that scrolling shows no gaps. */
const BEYOND_PX = 400

/** On a narrow screen a lock has two lines. style.css has the same numbers. */
const NARROW = '(max-width: 720px)'
const HEIGHTS_PX = { wide: { group: 34, shared: 34, lock: 34 }, narrow: { group: 40, shared: 58, lock: 58 } } as const

interface Window {
  readonly first: number
  /** The first row that is not drawn. */
  readonly last: number
  /** Where each row begins, in pixels below the top of the list, and where the last one ends. */
  readonly offsets: readonly number[]
}

/** Which rows of a long list are visible, as the page scrolls. */
export function useWindow(body: { readonly current: HTMLElement | null }, rows: readonly Row[]): Window {
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
 * @param onPick called for the row that has the focus when x is pressed.
 * @returns a function to be called with the row that gets the focus by other means.
 */
export function useRowKeys(body: ElementRef, offsets: readonly number[], onPick: (index: number) => void): (index: number) => void {
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
    if (event.key === 'x' && isForPage(event) && at.current >= 0) return onPick(at.current)
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
