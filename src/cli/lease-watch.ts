import type { HeldLock, LockLostError } from '../client/index.js'

/** A machine that slept wakes with its timers as they were. */
const LOOK_EVERY_MS = 1000

/** After these the lease is over: there is no time left for anything. */
const OVER = new Set(['unconfirmed', 'expired'])

export interface LeaseWatchOptions {
  /** How long before the end of the lease it is given up, in milliseconds. */
  readonly graceMs: number
  /**
   * Called once.
   *
   * @param loss undefined when the lease still goes on, and no renewal was confirmed.
   * @param leftMs how much of the grace is left before the lease ends, or would have ended.
   */
  readonly onLoss: (loss: LockLostError | undefined, leftMs: number) => void
}

/**
 * Gives a lock up while there is time to stop what it protects, rather than at the last moment, as the lock itself does.
 */
export class LeaseWatch implements Disposable {
  readonly #lock: HeldLock
  readonly #options: LeaseWatchOptions
  readonly #lost: () => void
  /** When the lease ends, as last seen. Renewals move it only away. */
  #endsAt = 0
  #timer: NodeJS.Timeout | undefined
  #done = false

  constructor(lock: HeldLock, options: LeaseWatchOptions) {
    this.#lock = lock
    this.#options = options
    this.#lost = () => this.#tell(lock.loss)
    lock.signal.addEventListener('abort', this.#lost)
    this.look()
  }

  /** Looks at once, for instance after this process was stopped. */
  look(): void {
    clearTimeout(this.#timer)
    const { remainingMs } = this.#lock
    // Looking at it may have ended it.
    if (this.#done) return
    if (this.#lock.loss !== undefined) return this.#tell(this.#lock.loss)
    const spareMs = remainingMs - this.#options.graceMs
    this.#endsAt = performance.now() + remainingMs
    if (spareMs <= 0) return this.#tell(undefined)
    this.#timer = setTimeout(() => this.look(), Math.min(spareMs, LOOK_EVERY_MS)).unref()
  }

  [Symbol.dispose](): void {
    this.#done = true
    clearTimeout(this.#timer)
    this.#lock.signal.removeEventListener('abort', this.#lost)
  }

  #tell(loss: LockLostError | undefined): void {
    if (this.#done) return
    this[Symbol.dispose]()
    const leftMs = loss !== undefined && OVER.has(loss.reason) ? 0 : Math.max(0, this.#endsAt - performance.now())
    this.#options.onLoss(loss, Math.min(this.#options.graceMs, leftMs))
  }
}
