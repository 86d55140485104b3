import { useEffect, useLayoutEffect, useRef } from 'preact/hooks'
import { isForPage, useKeys } from './use.js'

/** Room above and below a row that the keyboard has moved to, for its context and for what stands fixed on top. */
const MARGIN_PX = 136

interface ElementRef {
  readonly current: HTMLElement | null
}

/**
 * Moves the focus from row to row with the arrow keys or j and k, also to rows that are not drawn yet.
 *
 * @param offsets where each row begins, and where the last one ends.
 * @returns to be told of the row that has the focus, however it came there.
 */
export function useRowKeys(body: ElementRef, offsets: readonly number[]): (index: number) => void {
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

/** Scrolls no further than needed. */
function reveal(body: HTMLElement | null, offset: number): void {
  if (body === null) return
  const top = body.getBoundingClientRect().top + offset
  if (top < MARGIN_PX) scrollBy({ top: top - MARGIN_PX })
  else if (top > innerHeight - MARGIN_PX) scrollBy({ top: top - innerHeight + MARGIN_PX })
}
