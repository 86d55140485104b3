import type { LockTable } from '../model/lock-table.js'
import type { WireList } from '../model/wire.js'
import type { Api } from './api.js'
import { pause, visible } from './pause.js'

export interface ListListener {
  /** A page was put into the table. `offsetMs`: how far the database's clock is ahead of this machine's. */
  readonly onPage: (offsetMs: number) => void
  /** The whole list was read. */
  readonly onWhole: () => void
  readonly onFailed: (error: unknown) => void
}

interface PageQuery {
  readonly limit: number
  readonly cursor?: string | undefined
  readonly prefix?: string
}

const EVERY_MS = 2000
const PAGE = 1000
/** A list of many pages is read less often, whatever happens meanwhile: so many times as long as it took to read. */
const REST_TIMES = 4
const LEAST_REST_MS = 250
/** Locks of which more is to be known are read one by one up to so many at once, and else with the whole list. */
const MOST_AT_ONCE = 8
/** How long names are gathered for that. */
const GATHER_MS = 100

/** Reads the list of locks into a table, again and again: renewals, waiters and ends of leases are told nowhere else. */
export class ListReader {
  readonly #api: Api
  readonly #table: LockTable
  readonly #listener: ListListener
  readonly #wanted = new Set<string>()
  #hurry = new AbortController()

  constructor(api: Api, table: LockTable, listener: ListListener) {
    this.#api = api
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
      await pause(Math.max(LEAST_REST_MS, (performance.now() - began) * REST_TIMES), signal)
      await pause(EVERY_MS - LEAST_REST_MS, AbortSignal.any([signal, this.#hurry.signal]))
      await visible(signal)
    }
  }

  /** Reads the list again as soon as is decent. */
  refresh(): void {
    this.#hurry.abort()
  }

  /** Reads one lock in a moment. */
  want(name: string, signal: AbortSignal): void {
    this.#wanted.add(name)
    if (this.#wanted.size === 1) setTimeout(() => this.#readWanted(signal), GATHER_MS)
  }

  #readWanted(signal: AbortSignal): void {
    const names = [...this.#wanted]
    this.#wanted.clear()
    if (names.length > MOST_AT_ONCE) return this.refresh()
    // Of the names that begin with this one, it is the first itself. What fails comes with the whole list.
    for (const prefix of names) void this.#readPage({ limit: 1, prefix }, signal).catch(() => undefined)
  }

  async #readAll(signal: AbortSignal): Promise<void> {
    this.#table.beginRound()
    for (let cursor: string | undefined; ; ) {
      const { next_cursor: next } = await this.#readPage({ limit: PAGE, cursor }, signal)
      if (next === null) break
      cursor = next
    }
    this.#table.endRound()
  }

  async #readPage(query: PageQuery, signal: AbortSignal): Promise<WireList> {
    const sent = Date.now()
    const page = await this.#api.get<WireList>('locks/all-locked', { ...query }, signal)
    this.#table.merge(page.locks)
    // The clock was read at some moment between asking and hearing.
    this.#listener.onPage(Date.parse(page.as_of) - (sent + Date.now()) / 2)
    return page
  }
}
