import type { LockApi } from '../locking/lock-api.js'
import { refusalFor, type Refusal } from './faults.js'

/** The lock that a back end hands out: of the client a `HeldLock`, with its `signal` and its token. */
export type LockOf<Api extends LockApi> = NonNullable<Awaited<ReturnType<Api['tryAcquire']>>>

export interface ResourceLockOptions {
  /** The lease, greater than 0; 30 if left out. It has to outlast the handler. */
  readonly timeoutSeconds?: number
  /** Told of releases that failed; such a lock ends with its lease. */
  readonly onFault?: (error: unknown) => void
}

const TIMEOUT_SECONDS = 30

/** Takes the lock of a request, or says how the request is refused. */
export async function lockFor<Api extends LockApi>(api: Api, key: string, options: ResourceLockOptions): Promise<LockOf<Api> | Refusal> {
  try {
    const lock = await api.tryAcquire(key, options.timeoutSeconds ?? TIMEOUT_SECONDS)
    return (lock as LockOf<Api> | undefined) ?? { status: 409, body: { error: `Resource '${key}' is locked` } }
  } catch (error) {
    return refusalFor(error)
  }
}

/** Lets the lock go. Never rejects: the handler has done its work, and its answer stands. */
export async function letGo<Api extends LockApi>(lock: LockOf<Api>, { onFault }: ResourceLockOptions): Promise<void> {
  await lock.release().catch((error: unknown) => onFault?.(error))
}

export function isRefusal(outcome: object): outcome is Refusal {
  return 'status' in outcome && 'body' in outcome
}
