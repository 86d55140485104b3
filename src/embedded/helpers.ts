import { setTimeout as sleep } from 'node:timers/promises'
import type { Lock, LockApi } from './lock-api.js'

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
