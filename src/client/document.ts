import { HeldLock } from './held-lock.js'
import type { HttpLocks } from './http-locks.js'
import type { DocumentLockOptions } from './types.js'

/* Pages load this when they first lock a document: the rest of the client imports it by `import()` only. */

/** Chromium lets timers of a hidden page fire once a minute: a third of the lease has to be longer than that. */
const TTL_SECONDS = 300
/** A page that is loaded again asks before the release by the page that was left has arrived. */
const WAIT_SECONDS = 2

/** See `lockDocument` in http-locks.ts. */
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
    if (!(event as Partial<PageTransitionEvent>).persisted) return
    HeldLock.lose(lock, 'released')
    onReturn?.()
  }
  page.addEventListener('pagehide', left, { once: true })
  void lock.lost.then(() => page.removeEventListener('pagehide', left))
  return lock
}
