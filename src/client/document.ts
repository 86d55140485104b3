import { HeldLock } from './held-lock.js'
import type { AcquireOptions, HttpLocks } from './http-locks.js'

export interface DocumentLockOptions extends Pick<AcquireOptions, 'signal' | 'onWaiting'> {
  /** Who edits; what the service and other users see as the holder. */
  readonly userId: string
  readonly username?: string | undefined
  /** How long the document stays locked after a page that ended without a word; 300 if left out. */
  readonly ttlSeconds?: number | undefined
  /** How long to wait in line for it; 2 if left out. */
  readonly waitSeconds?: number | undefined
  /** Told when a page that was left, and so has let the document go, is shown again; the lock's signal has fired then. */
  readonly onReturn?: (() => void) | undefined
  /** What tells of the page's life; the window if left out. */
  readonly page?: EventTarget | undefined
}

/** Chromium lets timers of a hidden page fire once a minute: a third of the lease has to be longer than that. */
const TTL_SECONDS = 300
/** A page that is loaded again asks before the service has heard that it was left. */
const WAIT_SECONDS = 2

/**
 * Locks a document that is edited in a page, for as long as the page lives: it is renewed meanwhile, and let go when the
 * page is left, also by closing it. A page that is left and shown again, as browsers keep pages, has lost it: its signal
 * fires then. Another page of the same user is refused as well.
 *
 * Its resource is `doc-lock:DOCID`, the one that the calls below `/api/lock` and the route guards know.
 *
 * ```ts
 * const lock = await lockDocument(locks, 'quote-123', { userId: 'ann', username: 'Ann' })
 * lock.signal.addEventListener('abort', () => showReadOnly())
 * ```
 *
 * @throws LockNotAcquiredError when another page or user has it; `conflict.lockedBy` says who.
 */
export async function lockDocument(locks: HttpLocks, docId: string, options: DocumentLockOptions): Promise<HeldLock> {
  const { userId, username, ttlSeconds = TTL_SECONDS, waitSeconds = WAIT_SECONDS, signal, onWaiting, onReturn } = options
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
    if (!('persisted' in event && event.persisted === true)) return
    HeldLock.lose(lock, 'released')
    onReturn?.()
  }
  page.addEventListener('pagehide', left, { once: true })
  void lock.lost.then(() => page.removeEventListener('pagehide', left))
  return lock
}
