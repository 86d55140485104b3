import { setTimeout as sleep } from 'node:timers/promises'
import type { Lock, LockApi } from '../client/api.js'
import { LockLostError } from '../client/errors.js'
import { resourceName, ttlFromSeconds } from '../locks/lock.js'

/** The clock of an {@link InMemoryLock}. */
export interface TimeProvider {
  /** Milliseconds since 1970. */
  epochMS(): number
}

interface Held {
  expiresAt: number
}

/** Expired locks are removed whenever the map has doubled past this size. */
const FEW = 1000

/** Locks among the callers of one process: for tests, and for programs of which one instance runs. */
export class InMemoryLock implements LockApi {
  readonly #time: TimeProvider
  readonly #held = new Map<string, Held>()
  #clearAt = FEW

  constructor(time: TimeProvider = { epochMS: Date.now }) {
    this.#time = time
  }

  /** Rejects with a RangeError for a key or a time that a lock service would refuse. */
  async tryAcquire(key: string, timeoutSeconds: number): Promise<Lock | undefined> {
    resourceName(key)
    if (!(timeoutSeconds > 0 && timeoutSeconds < Infinity)) throw new RangeError('timeoutSeconds must be a number greater than 0.')
    const now = this.#time.epochMS()
    if (isValid(this.#held.get(key), now)) return undefined
    const mine = { expiresAt: now + ttlFromSeconds(timeoutSeconds) }
    this.#held.set(key, mine)
    if (this.#held.size >= this.#clearAt) this.#clear(now)
    return {
      type: 'lock',
      renew: async (seconds) => {
        const now = this.#time.epochMS()
        if (this.#held.get(key) !== mine || !isValid(mine, now)) throw new LockLostError(key, 0, 'expired')
        mine.expiresAt = now + ttlFromSeconds(seconds)
      },
      release: async () => {
        // A later holder keeps it.
        if (this.#held.get(key) === mine) this.#held.delete(key)
      }
    }
  }

  #clear(now: number): void {
    for (const [key, held] of this.#held) if (!isValid(held, now)) this.#held.delete(key)
    this.#clearAt = Math.max(FEW, 2 * this.#held.size)
  }
}

function isValid(held: Held | undefined, now: number): boolean {
  return held !== undefined && now < held.expiresAt
}

/** Excludes nobody: for code that takes a LockApi where there is nothing to lock, and for tests of a refusal. */
export class NoOpLock implements LockApi {
  readonly #locked: boolean

  /** @param locked true refuses every request, false grants every one. */
  constructor(locked = false) {
    this.#locked = locked
  }

  tryAcquire(_key: string, _timeoutSeconds: number): Promise<Lock | undefined> {
    return Promise.resolve(this.#locked ? undefined : { type: 'lock', release: () => Promise.resolve() })
  }
}

/**
 * Runs the work while holding the lock, and releases it when the work settles. An error of the work takes precedence over one of the release.
 *
 * @param timeoutSeconds the lock ends by itself after that time, whether the work is done or not.
 * @returns undefined, without running the work, when another holder has the lock.
 */
export async function withLock<Result>(
  lockApi: LockApi,
  key: string,
  timeoutSeconds: number,
  work: () => Promise<Result> | Result
): Promise<Result | undefined> {
  const lock = await lockApi.tryAcquire(key, timeoutSeconds)
  if (lock === undefined) return undefined
  let result: Result
  try {
    result = await work()
  } catch (error) {
    await lock.release().catch(() => undefined)
    throw error
  }
  await lock.release()
  return result
}

export interface RetryOptions {
  /** The lease of the lock; 30 if left out. */
  readonly timeoutSeconds?: number
  /** The pause after the first attempt; each further one is twice as long. 100 if left out. */
  readonly firstPauseMs?: number
}

/**
 * Tries to acquire the lock up to `maxAttempts` times. `HttpLocks.acquire` waits in a fair queue instead.
 *
 * @returns undefined when it was held at every attempt.
 */
export async function acquireWithRetry(lockApi: LockApi, key: string, maxAttempts = 3, options: RetryOptions = {}): Promise<Lock | undefined> {
  const { timeoutSeconds = 30, firstPauseMs = 100 } = options
  for (let attempt = 1; ; attempt += 1) {
    const lock = await lockApi.tryAcquire(key, timeoutSeconds)
    if (lock !== undefined || attempt >= maxAttempts) return lock
    await sleep(firstPauseMs * 2 ** (attempt - 1))
  }
}
