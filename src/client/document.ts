import { HeldLock } from './held-lock.js'
import type { AcquireOptions, HttpLocks } from './http-locks.js'

export interface DocumentLockOptions extends Pick<AcquireOptions, 'signal' | 'onWaiting'> {
  /** Who edits; what the service and other users see as the holder. */
  readonly userId: string
  readonly username?: string | undefined
  /** How long the document stays locked after a page that ended without releasing it; 300 if left out. */
  readonly ttlSeconds?: number | undefined
  /** How long to wait for it; 2 if left out. */
  readonly waitSeconds?: number | undefined
  /** Called when a page that was left, which released the document, is shown again; the lock's signal has fired by then. */
  readonly onReturn?: (() => void) | undefined
  /** The target of the page's events `pagehide` and `pageshow`; the window if left out. */
  readonly page?: EventTarget | undefined
}

/** Chromium lets timers of a hidden page fire once a minute: a third of the lease has to be longer than that. */
const TTL_SECONDS = 300
/** A page that is reloaded requests the lock before the service has received its release. */
const WAIT_SECONDS = 2

/**
 * Locks a document that is edited in a page while the page lives: it is renewed meanwhile, and released when the page is
 * left or closed. A page that is left and shown again, as browsers keep pages, has lost it: its signal fires then. Another
 * page of the same user is refused as well.
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
