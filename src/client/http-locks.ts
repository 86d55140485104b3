import type { LockApi } from '../locking/lock-api.js'
import { Acquisition, newId, type Acquired, type Surroundings } from './acquisition.js'
import { systemClock, type Clock } from './clock.js'
import { LockNotAcquiredError } from './errors.js'
import { HeldLock, requireLease } from './held-lock.js'
import { LockCalls } from './lock-calls.js'
import { Transport } from './transport.js'
import type { Conflict, LockEvent, Metadata } from './types.js'
import { watchEvents, type WatchOptions } from './watching.js'

const DEFAULTS = { url: 'http://127.0.0.1:8000', ttlSeconds: 30, retrySeconds: 10, timeoutSeconds: 10 }

export interface HttpLocksOptions {
  /** Where the service is; `http://127.0.0.1:8000` if left out. */
  readonly url?: string | undefined
  /** Sent as `Authorization: Bearer`. */
  readonly apiKey?: string | undefined
  /** Who holds what is acquired: 1 to 255 characters. A random one if left out. */
  readonly processId?: string | undefined
  /** For how long calls are repeated while the service is away; 10 if left out, 0 tries once. */
  readonly retrySeconds?: number | undefined
  /** How long one call may take, beside what it waits in line; 10 if left out. */
  readonly timeoutSeconds?: number | undefined
  readonly fetch?: typeof globalThis.fetch
  readonly clock?: Clock
  /** 0 to 1; spreads repetitions. */
  readonly random?: () => number
}

export interface TryAcquireOptions {
  /** The lease, greater than 0; 30 if left out, null never ends. A lock that renews itself lasts longer. */
  readonly ttlSeconds?: number | null | undefined
  /** Whether the lock renews itself until it is released or lost; true if left out. */
  readonly autoRenew?: boolean | undefined
  readonly metadata?: Metadata | undefined
  /** Instead of the client's own. */
  readonly processId?: string | undefined
  /** Stops the asking: the call rejects with its reason and leaves no lock behind. No concern of the lock once it is held. */
  readonly signal?: AbortSignal | undefined
}

export interface AcquireOptions extends TryAcquireOptions {
  /** How long to wait in line; as long as it takes if left out. */
  readonly waitSeconds?: number | undefined
  /** Told who has the lock, and the place in line, after half a second and then every five. */
  readonly onWaiting?: ((conflict: Conflict) => void) | undefined
}

/**
 * Locks of a Resource Lock Manager over HTTP. Needs nothing but `fetch`: it runs in Node and in pages.
 *
 * ```ts
 * const locks = new HttpLocks({ url: 'http://127.0.0.1:8000' })
 * await locks.withLock('nightly report', async ({ signal, fencingToken }) => report({ signal, fencingToken }))
 * ```
 *
 * Calls whose answer was lost are repeated so that they take effect once. Every call can reject with a
 * LockServiceUnavailableError, which says neither "locked" nor "free", or with a LockRequestError, which a repetition would
 * not change.
 */
export class HttpLocks extends LockCalls implements LockApi {
  /** Who holds what is acquired. */
  readonly processId: string
  readonly #surroundings: Surroundings

  /** @throws TypeError when the URL is none. */
  constructor(options: HttpLocksOptions = {}) {
    const { url = DEFAULTS.url, apiKey, retrySeconds = DEFAULTS.retrySeconds, timeoutSeconds = DEFAULTS.timeoutSeconds } = options
    const { clock = systemClock(), random = Math.random, fetch = globalThis.fetch.bind(globalThis) } = options
    const timeoutMs = timeoutSeconds * 1000
    const retrying = { clock, random, retryMs: retrySeconds * 1000 }
    const transport = new Transport({ url, apiKey, fetch, clock, timeoutMs })
    super(transport, retrying)
    this.processId = options.processId ?? newId()
    this.#surroundings = { ...retrying, transport, calls: this, timeoutMs }
  }

  /**
   * Takes the lock if nobody has it, and nobody waits for it. The holder itself is refused too.
   *
   * @param lease the seconds after which the lock ends, as {@link LockApi} has it: such a lock does not renew itself. Or options.
   * @returns undefined when somebody has it.
   */
  async tryAcquire(resourceName: string, lease: number | TryAcquireOptions = {}): Promise<HeldLock | undefined> {
    const options = typeof lease === 'number' ? { ttlSeconds: lease, autoRenew: false } : lease
    const acquired = await this.#acquire(resourceName, { ...options, waitSeconds: 0 })
    return acquired.kind === 'granted' ? this.#hold(acquired, options) : undefined
  }

  /**
   * Takes the lock, and waits in line for it, first come, first served.
   *
   * @throws LockNotAcquiredError when the time to wait is over.
   */
  async acquire(resourceName: string, options: AcquireOptions = {}): Promise<HeldLock> {
    const acquired = await this.#acquire(resourceName, options)
    if (acquired.kind === 'held') throw new LockNotAcquiredError(resourceName, acquired.conflict)
    return this.#hold(acquired, options)
  }

  /**
   * Works while it has the lock, and releases it when the work settles. An error of the work goes before every other; work
   * that succeeded although the lock was lost meanwhile ends in a LockLostError, so that nobody takes it for exclusive.
   *
   * @param work is handed the lock, whose `signal` says when to stop.
   * @throws LockNotAcquiredError when the time to wait is over.
   */
  withLock<Result>(resourceName: string, work: (lock: HeldLock) => Promise<Result> | Result): Promise<Result>
  withLock<Result>(resourceName: string, options: AcquireOptions, work: (lock: HeldLock) => Promise<Result> | Result): Promise<Result>
  async withLock<Result>(
    resourceName: string,
    ...[first, second]: [Work<Result>] | [AcquireOptions, Work<Result>]
  ): Promise<Result> {
    const [options, work] = typeof first === 'function' ? [{}, first] : [first, second]
    if (work === undefined) throw new TypeError('withLock needs work to do')
    const lock = await this.acquire(resourceName, options)
    let result: Result
    try {
      result = await work(lock)
    } catch (error) {
      await lock.release().catch(() => undefined)
      throw error
    }
    await lock.release()
    if (lock.loss !== undefined) throw lock.loss
    return result
  }

  /**
   * What happens to locks from now on, in order and without gaps, across broken connections.
   *
   * @throws LockWatchEndedError when events were missed for good, or none are kept.
   */
  watch(options: WatchOptions = {}): AsyncGenerator<LockEvent, void, undefined> {
    return watchEvents(this.#surroundings, options)
  }

  async #acquire(resourceName: string, options: AcquireOptions): Promise<Acquired> {
    const { metadata, signal, onWaiting, waitSeconds = Infinity, processId = this.processId } = options
    // JSON knows neither NaN nor Infinity, and would ask for a lock that never ends.
    requireLease(ttlOf(options))
    if (!(waitSeconds >= 0)) throw new RangeError('waitSeconds must be a number, and at least 0')
    const wanted = { resourceName, processId, ttlSeconds: ttlOf(options), metadata, waitMs: waitSeconds * 1000, signal, onWaiting }
    return new Acquisition(wanted, this.#surroundings).run()
  }

  #hold({ grant, since, leaseMs }: Extract<Acquired, { kind: 'granted' }>, options: TryAcquireOptions): HeldLock {
    const { timeoutMs } = this.#surroundings
    const { autoRenew = true } = options
    return new HeldLock({ grant, since, leaseMs, ttlSeconds: ttlOf(options), autoRenew, calls: this, retrying: this.#surroundings, timeoutMs })
  }
}

type Work<Result> = (lock: HeldLock) => Promise<Result> | Result

function ttlOf({ ttlSeconds = DEFAULTS.ttlSeconds }: TryAcquireOptions): number | null {
  return ttlSeconds
}
