import { setImmediate as turn } from 'node:timers/promises'
import type { ReleaseCommand, IdempotencyKey } from './commands.js'
import type { Grant } from './lock.js'
import type { LockStore } from './store.js'

/** Locks that are released in one transaction. */
const MOST_RELEASES = 500

/**
 * The one owner of "the caller is gone": gives up its place and releases what it was granted, each by the request's own
 * idempotency key, and makes up for what failed while the database was away. An abandoned place would be kept from everybody
 * behind it by the heartbeat of this instance; an abandoned lock perhaps forever.
 */
export class Cleanup {
  readonly #store: LockStore
  readonly #onOwed: () => void
  #leavers: number[] = []
  #leaving: Promise<void> | undefined
  #untidy = false
  #owed: ReleaseCommand[] = []

  /** @param onOwed called when something could not be given up, so that `tidy` has to be called after a while. */
  constructor(store: LockStore, onOwed: () => void) {
    this.#store = store
    this.#onOwed = onOwed
  }

  /** Something could not be given up yet. */
  get owes(): boolean {
    return this.#untidy || this.#owed.length > 0
  }

  /** Gives a place up, together with all others of the same turn of the event loop. Never rejects. */
  leave(ticket: number): Promise<void> {
    this.#leavers.push(ticket)
    this.#leaving ??= turn().then(async () => {
      const tickets = this.#leavers
      this.#leavers = []
      this.#leaving = undefined
      await this.#store.submit({ kind: 'dequeue', tickets, keepFor: null }).catch(() => this.doubt())
    })
    return this.#leaving
  }

  /** Says that a place may be in the database that nobody waits at. */
  doubt(): void {
    this.#untidy = true
    this.#onOwed()
  }

  /**
   * Releases new grants as soon as their caller is gone, unless the request was repeated and the repetition answered with
   * them. Never rejects; resolves when they are released where the caller is gone already, else at once.
   *
   * @param mark of the request that they were granted for.
   * @param gone fires when the caller goes away before the answer has reached it.
   */
  async releaseAbandoned(grants: readonly Grant[], mark: IdempotencyKey | null, gone: AbortSignal): Promise<void> {
    const releases = grants.map(
      ({ resourceName, processId, lockId }): ReleaseCommand => ({
        kind: 'release',
        resourceName,
        processId,
        lockId,
        reason: null,
        key: null,
        unlessClaimed: mark ?? undefined
      })
    )
    if (gone.aborted) await this.#release(releases)
    else gone.addEventListener('abort', () => void this.#release(releases), { once: true })
  }

  /**
   * Tries again what failed. Never rejects.
   *
   * @param inUse every place of this instance that is waited at; none may be taken while this runs.
   */
  async tidy(inUse: readonly number[]): Promise<void> {
    const owed = this.#owed.splice(0, MOST_RELEASES)
    if (owed.length > 0) await this.#release(owed)
    if (!this.#untidy) return
    this.#untidy = false
    await this.#store.submit({ kind: 'purge-tickets', tickets: inUse }).catch(() => this.doubt())
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
