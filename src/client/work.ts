import { outerLock, runInFlow } from '#platform'
import type { ClientContext } from './api.js'
import { LockServiceUnavailableError } from './errors.js'
import { HeldLock } from './held-lock.js'
import type { HttpLocks, Work } from './http-locks.js'
import type { OnceOptions, OnceOutcome, WithLockOptions, DocumentLockOptions } from './types.js'

/*
 * Work under a lock, runs that happen once, documents of pages. Pages load this when they first do one of these: the rest of the
 * client imports it by `import()` only.
 */

/** A job that is started a little early next time is not skipped: what is kept ends so much of the period before it does … */
const SLACK = 1 / 10
/** … and at most this. */
const LONGEST_SLACK_MS = 60_000

/** For how long a run is kept after its release, in seconds, so that the next one begins a period after it began. */
export function keepSecondsOf(everySeconds: number, heldMs: number): number {
  const periodMs = everySeconds * 1000
  return Math.max(0, Math.round(periodMs - heldMs - Math.min(periodMs * SLACK, LONGEST_SLACK_MS))) / 1000
}

/** See `HttpLocks.once`. */
export async function once<Result>(
  locks: HttpLocks,
  context: ClientContext,
  name: string,
  { everySeconds, retryFailed, ...options }: OnceOptions,
  work: Work<Result>
): Promise<OnceOutcome<Result>> {
  if (!(everySeconds > 0 && everySeconds < Infinity)) throw new RangeError('everySeconds must be a number, greater than 0')
  const lock = await locks.tryAcquire(name, options)
  if (!lock) return { ran: false }
  const since = context.clock.now()
  const release = (keeps: boolean): Promise<void> => {
    const keepSeconds = keeps ? keepSecondsOf(everySeconds, context.clock.now() - since) : 0
    return lock.release(keepSeconds > 0 ? { keepSeconds } : {})
  }
  let result: Result
  try {
    result = await work(lock)
  } catch (error) {
    await release(!retryFailed).catch(() => {})
    throw error
  }
  await release(true)
  if (lock.loss) throw lock.loss
  return { ran: true, result }
}

/** See `HttpLocks.withLock`. */
export async function withLock<Result>(locks: HttpLocks, resourceName: string, first: Work<Result> | WithLockOptions, second: Work<Result> | undefined): Promise<Result> {
  const [options, work] = typeof first === 'function' ? [{}, first] : [first, second]
  if (!work) throw new TypeError('withLock needs work to do')
  // The flow has the client's locks only by `runInFlow`, below.
  const outer = outerLock(locks, resourceName, options.reentrant) as HeldLock | undefined
  if (outer) return work(outer)
  const lock = await locks.acquire(resourceName, options)
  let result: Result
  try {
    result = await runInFlow(locks, lock, () => work(lock))
  } catch (error) {
    await lock.release().catch(() => {})
    throw error
  }
  await lock.release().catch((error: unknown) => {
    // The lock was held to the end of the work.
    if (!(error instanceof LockServiceUnavailableError)) throw error
  })
  if (lock.loss) throw lock.loss
  return result
}

/** Chromium lets timers of a hidden page fire once a minute: a third of the lease has to be longer than that. */
const DOCUMENT_TTL_SECONDS = 300
/** A page that is loaded again asks before the release by the page that was left has arrived. */
const DOCUMENT_WAIT_SECONDS = 2

/** See `lockDocument` in http-locks.ts. */
export async function lockDocument(locks: HttpLocks, docId: string, options: DocumentLockOptions): Promise<HeldLock> {
  const { userId, username, ttlSeconds = DOCUMENT_TTL_SECONDS, waitSeconds = DOCUMENT_WAIT_SECONDS, signal, onWaiting, onReturn } = options
  const { page = globalThis } = options
  const lock = await locks.acquire(`doc-lock:${docId}`, {
    processId: userId,
    metadata: username === undefined ? undefined : { username },
    ttlSeconds,
    waitSeconds,
    signal,
    onWaiting
  })
  const left = (): void => {
    page.addEventListener('pageshow', shown)
    void lock.release({ keepalive: true }).catch(() => undefined)
  }
  const shown = (event: Event): void => {
    page.removeEventListener('pageshow', shown)
    if (!(event as Partial<PageTransitionEvent>).persisted) return
    HeldLock.lose(lock, 'released')
    onReturn?.()
  }
  page.addEventListener('pagehide', left, { once: true })
  void lock.lost.then(() => page.removeEventListener('pagehide', left))
  return lock
}
