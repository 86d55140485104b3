import { useEffect, useMemo, useState } from 'preact/hooks'
import type { Row } from '../model/rows.js'

/** How far beyond the edges of the screen rows are drawn as well, so that scrolling does not show gaps. */
const BEYOND_PX = 400

/** On a narrow screen a lock has two lines. The style sheet has the same numbers. */
const NARROW = '(max-width: 720px)'
const HEIGHTS_PX = { wide: { group: 34, lock: 34 }, narrow: { group: 40, lock: 58 } } as const

export interface Window {
  readonly first: number
  /** The first row that is not drawn any more. */
  readonly last: number
  /** How far below the top of the list each row begins, in pixels, and at the end where the list ends. */
  readonly offsets: readonly number[]
}

/** Which rows of a long list can be seen, as the page scrolls. */
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

/** The row that covers that height, or the nearest one. */
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
