import type { HttpLocks, ListQuery, LockPage } from '../../client/index.js'
import type { LockTable } from './lock-table.js'

export interface ListListener {
  /** A page of the list is in the table. `offsetMs`: how far the database's clock is ahead of this machine's. */
  readonly onPage: (offsetMs: number) => void
  /** The whole list is in the table. */
  readonly onWhole: () => void
  readonly onFailed: (error: unknown) => void
}

const EVERY_MS = 2000
const PAGE_SIZE = 1000
/** A list of many pages is read less often: the pause is this many times as long as the reading took. */
const PAUSE_FACTOR = 4
const MIN_PAUSE_MS = 250
/** Up to this many resources at once are read one by one; more of them with the whole list. */
const MAX_SINGLE_READS = 8
/** Of a resource with more holders than this, the whole list is read. */
const MAX_HOLDERS = 100
/** How long names are collected for that. */
const COLLECT_MS = 100

/** Reads the list of locks into a table, again and again: no event reports waiters or the ends of leases. */
export class ListReader {
  readonly #locks: HttpLocks
  readonly #table: LockTable
  readonly #listener: ListListener
  readonly #wanted = new Set<string>()
  #hurry = new AbortController()

  constructor(locks: HttpLocks, table: LockTable, listener: ListListener) {
    this.#locks = locks
    this.#table = table
    this.#listener = listener
  }

  /** Reads until `signal` fires. */
  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      this.#hurry = new AbortController()
      const began = performance.now()
      try {
        await this.#readAll(signal)
        this.#listener.onWhole()
      } catch (error) {
        if (!signal.aborted) this.#listener.onFailed(error)
      }
      await pause(Math.max(MIN_PAUSE_MS, (performance.now() - began) * PAUSE_FACTOR), signal)
      await pause(EVERY_MS - MIN_PAUSE_MS, AbortSignal.any([signal, this.#hurry.signal]))
      await visible(signal)
    }
  }

  /** Reads the list again without the rest of the pause. */
  refresh(): void {
    this.#hurry.abort()
  }

  /** Reads the holders of one resource soon. */
  want(name: string, signal: AbortSignal): void {
    this.#wanted.add(name)
    if (this.#wanted.size === 1) setTimeout(() => this.#readWanted(signal), COLLECT_MS)
  }

  #readWanted(signal: AbortSignal): void {
    const names = [...this.#wanted]
    this.#wanted.clear()
    if (names.length > MAX_SINGLE_READS) return this.refresh()
    for (const resourceName of names) {
      this.#readPage({ resourceName, limit: MAX_HOLDERS }, signal).then(
        ({ nextCursor }) => {
          if (nextCursor !== null) this.refresh()
        },
        // After a failure the whole list has it.
        () => undefined
      )
    }
  }

  async #readAll(signal: AbortSignal): Promise<void> {
    this.#table.beginRound()
    let query: ListQuery = { limit: PAGE_SIZE }
    for (;;) {
      const { nextCursor } = await this.#readPage(query, signal)
      if (nextCursor === null) break
      query = { limit: PAGE_SIZE, cursor: nextCursor }
    }
    this.#table.endRound()
  }

  async #readPage(query: ListQuery, signal: AbortSignal): Promise<LockPage> {
    const sent = Date.now()
    const page = await this.#locks.list(query, { signal })
    this.#table.merge(page.locks)
    // The service read the clock at some moment between the request and the reply.
    this.#listener.onPage(page.asOf.getTime() - (sent + Date.now()) / 2)
    return page
  }
}

/** Resolves after this many milliseconds, or as soon as `signal` fires. */
export function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve()
    const end = (): void => {
      clearTimeout(timer)
      signal.removeEventListener('abort', end)
      resolve()
    }
    const timer = setTimeout(end, ms)
    signal.addEventListener('abort', end)
  })
}

/** Resolves at once while the page is visible, else when it is visible again: a hidden page sends no requests. */
export function visible(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const check = (): void => {
      if (document.visibilityState === 'hidden' && !signal.aborted) return
      document.removeEventListener('visibilitychange', check)
      signal.removeEventListener('abort', check)
      resolve()
    }
    document.addEventListener('visibilitychange', check)
    signal.addEventListener('abort', check)
    check()
  })
}
