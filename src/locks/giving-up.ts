import { setImmediate as turn } from 'node:timers/promises'
import type { ReleaseCommand } from './commands.js'
import type { Grant } from './lock.js'
import type { LockStore } from './lock-store.js'

/** Locks that are given back in one transaction. */
const MOST_RELEASES = 500

/**
 * Gives up places and locks whose caller is gone, and makes up for what failed while the database was away: an abandoned
 * place would be kept, by the signs of life of this instance, from everybody behind it; a lock perhaps for ever.
 */
export class GivingUp {
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

  /** Gives a place up, together with whoever else does so in the same turn of the event loop. Never rejects. */
  leave(ticket: number): Promise<void> {
    this.#leavers.push(ticket)
    this.#leaving ??= turn().then(async () => {
      const tickets = this.#leavers
      this.#leavers = []
      this.#leaving = undefined
      await this.#store.submit({ kind: 'leave', tickets, keepMs: 0 }).catch(() => this.doubt())
    })
    return this.#leaving
  }

  /** Says that a place may be in the database that nobody waits at. */
  doubt(): void {
    this.#untidy = true
    this.#onOwed()
  }

  /**
   * Releases what was granted to a caller that is gone, unless the request was repeated and the repetition answered with it.
   * Never rejects.
   */
  async release(grants: readonly Grant[], requestId: string | undefined): Promise<void> {
    await this.#release(
      grants.map(({ resourceName, processId, lockId }) => ({
        kind: 'release',
        resourceName,
        processId,
        lockId,
        reason: null,
        key: null,
        unlessClaimed: requestId
      }))
    )
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
    await this.#store.submit({ kind: 'tidy', tickets: inUse }).catch(() => this.doubt())
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
