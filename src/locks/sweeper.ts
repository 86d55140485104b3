import { setImmediate as turn } from 'node:timers/promises'
import type { LockStore } from './store.js'

/** Rows per transaction: some milliseconds of work. */
const CHUNK_SIZE = 200

export interface SweeperOptions {
  readonly intervalMs: number
  /** Called with the number of grants that were found expired. */
  readonly onExpired?: (grants: number) => void
  /** Called when a round fails; the next round tries again. */
  readonly onError: (error: unknown) => void
}

/**
 * Removes expired and long-ended rows, some at a time, so that space stays bounded. No answer of the service depends on it.
 * Several instances may sweep one database: each skips the rows that another has locked.
 */
export class Sweeper implements AsyncDisposable {
  readonly #store: LockStore
  readonly #options: SweeperOptions
  #timer: NodeJS.Timeout | undefined
  #round: Promise<void> = Promise.resolve()
  #stopped = false

  constructor(store: LockStore, options: SweeperOptions) {
    this.#store = store
    this.#options = options
  }

  start(): void {
    this.#timer = setTimeout(() => {
      this.#round = this.sweep()
        .catch(this.#options.onError)
        .then(() => {
          if (!this.#stopped) this.start()
        })
    }, this.#options.intervalMs)
    this.#timer.unref()
  }

  /** One round: sweeps until nothing is due, and lets requests pass in between. */
  async sweep(): Promise<void> {
    while (!this.#stopped) {
      const { expired, more } = await this.#store.submit({ kind: 'sweep', limit: CHUNK_SIZE })
      this.#options.onExpired?.(expired)
      if (!more) return
      await turn()
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopped = true
    clearTimeout(this.#timer)
    await this.#round
  }
}
