import { setImmediate as turn } from 'node:timers/promises'
import type { ReleaseCommand } from './commands.js'
import type { IdempotencyKey, Grant } from './lock.js'
import type { LockStore } from './store.js'

/** Locks that are released in one transaction, at most. */
const MOST_RELEASES = 500

/**
 * Cleans up after callers that are gone: gives up their places and releases what they were granted, and retries what failed
 * while the database was away. The heartbeat of this instance would keep an abandoned place alive and block the waiters
 * behind it; a lock without an expiry would stay forever.
 */
export class Cleanup {
  readonly #store: LockStore
  readonly #onOwed: () => void
  #tickets: number[] = []
  #dequeuing: Promise<void> | undefined
  #purgeDue = false
  #owed: ReleaseCommand[] = []

  /** @param onOwed called when something could not be given up, so that {@link retry} has to be called after a while. */
  constructor(store: LockStore, onOwed: () => void) {
    this.#store = store
    this.#onOwed = onOwed
  }

  /** Something could not be given up yet. */
  get owes(): boolean {
    return this.#purgeDue || this.#owed.length > 0
  }

  /** Gives a place up, together with all others of the same turn of the event loop. Never rejects. */
  dequeue(ticket: number): Promise<void> {
    this.#tickets.push(ticket)
    this.#dequeuing ??= turn().then(async () => {
      const tickets = this.#tickets
      this.#tickets = []
      this.#dequeuing = undefined
      await this.#store.submit({ kind: 'dequeue', tickets, keepFor: null }).catch(() => this.purgeLater())
    })
    return this.#dequeuing
  }

  /** A place without a waiter may be in the database. */
  purgeLater(): void {
    this.#purgeDue = true
    this.#onOwed()
  }

  /**
   * Releases new grants as soon as their caller is gone, unless a repetition of the request has been answered with them.
   * Never rejects; resolves when they are released if the caller is gone already, else at once.
   *
   * @param idempotencyKey of the request that they were granted for.
   * @param gone fires when the client disconnects before the response was sent.
   */
  async releaseAbandoned(grants: readonly Grant[], idempotencyKey: IdempotencyKey | null, gone: AbortSignal): Promise<void> {
    const releases = grants.map(
      ({ resourceName, processId, lockId }): ReleaseCommand => ({
        kind: 'release',
        resourceName,
        processId,
        lockId,
        reason: null,
        key: null,
        unlessClaimed: idempotencyKey ?? undefined,
        // Who was never told of a grant has done nothing with it.
        freesAtOnce: true
      })
    )
    if (gone.aborted) await this.#release(releases)
    else gone.addEventListener('abort', () => void this.#release(releases), { once: true })
  }

  /**
   * Retries what failed. Never rejects.
   *
   * @param inUse the tickets of all waiters of this instance; no request may enter a queue while this runs.
   */
  async retry(inUse: readonly number[]): Promise<void> {
    const owed = this.#owed.splice(0, MOST_RELEASES)
    if (owed.length > 0) await this.#release(owed)
    if (!this.#purgeDue) return
    this.#purgeDue = false
    await this.#store.submit({ kind: 'purge-tickets', tickets: inUse }).catch(() => this.purgeLater())
  }

  async #release(releases: readonly ReleaseCommand[]): Promise<void> {
    try {
      await this.#store.submit({ kind: 'release-many', releases })
    } catch {
      this.#owed.push(...releases)
      this.#onOwed()
    }
  }
}

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
