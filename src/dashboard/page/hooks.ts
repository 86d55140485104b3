import { useEffect, useLayoutEffect, useReducer, useRef, useState } from 'preact/hooks'
import { searchFromView, viewFromSearch, type View } from '../model/view.js'
import type { Live } from '../net/live.js'

/** Draws the component again after each change of what is shown, and each second, since ages grow. */
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
  /** Changes the address, and with it what is shown. `replace`: going back does not lead to where one was. */
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

/** Whether the key was meant for the page and not for a field, a dialog or the browser. */
export function isForPage(event: KeyboardEvent): boolean {
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented || document.querySelector('dialog[open]') !== null) return false
  const field = event.target instanceof Element ? event.target.closest('input, textarea, select') : null
  // A dialog that was closed in this very frame still has the focus.
  return field === null || field.closest('dialog') !== null
}

/** Listens to the keyboard as long as the component is there. */
export function useKeys(listener: (event: KeyboardEvent) => void): void {
  const latest = useRef(listener)
  latest.current = listener
  // At once, not after the next frame: what is on the page can be used.
  useLayoutEffect(() => {
    const pressed = (event: KeyboardEvent): void => latest.current(event)
    addEventListener('keydown', pressed)
    return () => removeEventListener('keydown', pressed)
  }, [])
}

/** A plain click on a link stays in the page; one that asks for another tab is the browser's. */
export function isPlainClick(event: MouseEvent): boolean {
  return event.button === 0 && !event.ctrlKey && !event.metaKey && !event.shiftKey && !event.altKey
}
