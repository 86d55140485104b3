import type { Status } from './answers.js'
import type { ClientContext } from './api.js'
import { onAbort } from './clock.js'
import { LockLostError, LockRequestError, LockServiceUnavailableError, type LossReason } from './errors.js'
import { HeldLock } from './held-lock.js'
import type { HttpLocks } from './http-locks.js'
import { Backoff, resultOf, retrying } from './transport.js'
import type { ElectOptions, LeaderState, ObserveOptions } from './types.js'

/* Pages load this when they first take part in an election: the rest of the client imports it by `import()` only. */

/** How soon another process leads after one that was lost with its machine. */
const TTL_SECONDS = 10
/** How long one look waits for another leader: short enough for the time limits of proxies … */
const LONGEST_LOOK_MS = 25_000
/** … and at most this share of the time in which a service that hangs has to be noticed. */
const WAIT_SHARE = 1 / 2
/** When a service refuses even so short a wait, the client does not try a shorter one. */
const SHORTEST_LOOK_MS = 250

/** Campaigns, and leads, until the signal fires, the work throws, or it was `once`. */
export async function elect(locks: HttpLocks, context: ClientContext, name: string, options: ElectOptions): Promise<void> {
  const { value, ttlSeconds = TTL_SECONDS, signal, processId, once } = options
  const metadata = value === undefined ? undefined : { value }
  // A service that is away is waited for: whether another process leads meanwhile is unknown.
  const backoff = { ...context, retryMs: Infinity }
  const campaign = takingUp((unheard) => locks.acquire(name, { ttlSeconds, signal, processId, metadata, ...unheard }))
  for (;;) {
    let lock: HeldLock
    try {
      lock = await retrying(campaign, backoff, signal)
    } catch (error) {
      if (signal?.aborted) return
      throw error
    }
    await lead(lock, context, options)
    if (once || signal?.aborted) return
  }
}

/** Of a request that may have been granted the lock although its answer was lost. */
interface Unheard {
  readonly requestId?: string | undefined
  readonly processId?: string | undefined
}

/** Makes a request that takes up what it was granted unheard when it is called again: with another id, the process would wait behind itself. */
export function takingUp<Granted>(request: (unheard: Unheard) => Promise<Granted>): () => Promise<Granted> {
  let unheard: Unheard = {}
  const call = async (): Promise<Granted> => {
    try {
      const granted = await request(unheard)
      unheard = {}
      return granted
    } catch (error) {
      if (error instanceof LockServiceUnavailableError) {
        const { requestId, processId } = error
        if (requestId) unheard = { requestId, processId }
      } else if (unheard.requestId && error instanceof LockRequestError && error.code === 'REQUEST_ID_REUSED') {
        // What it was granted has ended since.
        unheard = {}
        return call()
      }
      throw error
    }
  }
  return call
}

/** Resolves when the process no longer leads and its work has ended. */
async function lead(lock: HeldLock, context: ClientContext, { signal, onElected }: ElectOptions): Promise<void> {
  const ending = new AbortController()
  const end = (reason: unknown): void => ending.abort(reason)
  lookAtClock(ending.signal, () => {
    if (!lock.held && lock.loss) end(lock.loss)
  })
  void lock.lost.then(end)
  const forget = onAbort(signal, () => end(signal?.reason))
  const resign = (): Promise<void> => {
    end(new DOMException('The leader resigned', 'AbortError'))
    return lock.release()
  }
  try {
    const { fencingToken } = lock
    await onElected({ lock, fencingToken, signal: ending.signal, resign, proclaim: (value) => proclaim(lock, context, value, ending.signal) })
  } catch (error) {
    // Work that stops because it no longer leads has not failed.
    if (!ending.signal.aborted || !(error === ending.signal.reason || error instanceof LockLostError || Object(error).name === 'AbortError')) throw error
  } finally {
    forget()
    // While the service is away, the lock ends with its lease.
    await lock.release().catch(() => {})
  }
}

/** Lets a signal say, as that of a lock does, what is so at this moment: also to code that kept every timer from firing. */
function lookAtClock(signal: AbortSignal, look: () => void): void {
  const own = AbortSignal.prototype
  const looking = <Result>(read: () => Result) => (): Result => {
    look()
    return read()
  }
  Object.defineProperties(signal, {
    aborted: { get: looking(() => Reflect.get(own, 'aborted', signal)) },
    reason: { get: looking(() => Reflect.get(own, 'reason', signal) as unknown) },
    throwIfAborted: { value: looking(() => own.throwIfAborted.call(signal)) }
  })
}

async function proclaim(lock: HeldLock, context: ClientContext, value: unknown, signal: AbortSignal): Promise<void> {
  const { resourceName, processId, lockId } = lock
  const call = { method: 'POST', path: 'locks/renew', body: { resourceName, processId, lockId, metadata: { value } }, signal } as const
  const { status, body } = await retrying((timeoutMs) => context.transport.call({ ...call, timeoutMs }), context, signal)
  if (status === 404) HeldLock.lose(lock, body['reason'] as LossReason)
  if (lock.loss) throw lock.loss
  resultOf({ status, body })
}

/** The present leader first, then every change that lasts: states are compared, so that nothing is missed while the service or a connection is away. */
export async function* observe(context: ClientContext, name: string, { signal }: ObserveOptions): AsyncGenerator<LeaderState | undefined, void, undefined> {
  let limitMs = LONGEST_LOOK_MS
  let seen: Status | undefined
  let backoff = new Backoff({ ...context, retryMs: Infinity })
  for (;;) {
    let status: Status
    try {
      const timeoutMs = backoff.begin()
      const waitMs = Math.min(limitMs, timeoutMs * WAIT_SHARE)
      const change = seen && { unlikeLockId: seen.lockId ?? 0, waitSeconds: waitMs / 1000 }
      status = resultOf(await context.transport.call({ method: 'GET', path: 'locks/status', query: { resourceName: name, ...change }, timeoutMs, signal }))
      backoff = new Backoff({ ...context, retryMs: Infinity })
    } catch (error) {
      if (signal?.aborted) return
      // A service whose MAX_WAIT_SECONDS is smaller names the field, and may accept a shorter wait.
      if (error instanceof LockRequestError && limitMs >= SHORTEST_LOOK_MS && error.message.includes('"wait_seconds"')) limitMs = Math.min(limitMs, context.timeoutMs) / 2
      else {
        await backoff.pauseAfter(error, signal).catch((reason: unknown) => {
          if (!signal?.aborted) throw reason
        })
      }
      continue
    }
    // What is kept after a leader is led by nobody.
    if (status.kept) status = { ...status, lockedBy: null, lockId: null, fencingToken: null, metadata: null }
    const isNew = !seen || seen.lockId !== status.lockId || JSON.stringify(seen.metadata) !== JSON.stringify(status.metadata)
    seen = status
    const { lockedBy: leader, fencingToken } = status
    if (isNew) yield leader === null || fencingToken === null ? undefined : { leader, fencingToken, value: status.metadata?.['value'] }
  }
}
