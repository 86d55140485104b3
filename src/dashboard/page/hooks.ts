import htm from 'htm'
import { h, type VNode } from 'preact'
import { useEffect, useLayoutEffect, useReducer, useRef, useState } from 'preact/hooks'
import type { Live } from './live.js'
import { SORTS, type Sort } from './rows.js'

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
export function useLive(live: Live): void {
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
