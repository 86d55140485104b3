import { setTimeout as sleep } from 'node:timers/promises'
import type { Lock, LockApi } from './lock-api.js'

/**
 * Works while it has the lock, and lets it go when the work settles; an error of the work goes before one of letting go.
 *
 * @param timeoutSeconds after so long the lock ends by itself, whether the work is done or not.
 * @returns undefined, without having worked, when somebody has the lock.
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
  /** The pause after the first try; each further one is twice as long. 100 if left out. */
  readonly firstPauseMs?: number
}

/**
 * Tries to take the lock up to `maxAttempts` times. To wait in line instead, use `HttpLocks.acquire`.
 *
 * @returns undefined when somebody had it at every try.
 */
export async function acquireWithRetry(lockApi: LockApi, key: string, maxAttempts = 3, options: RetryOptions = {}): Promise<Lock | undefined> {
  const { timeoutSeconds = 30, firstPauseMs = 100 } = options
  for (let attempt = 1; ; attempt += 1) {
    const lock = await lockApi.tryAcquire(key, timeoutSeconds)
    if (lock !== undefined || attempt >= maxAttempts) return lock
    await sleep(firstPauseMs * 2 ** (attempt - 1))
  }
}
