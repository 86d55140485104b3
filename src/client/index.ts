export { systemClock, type Clock } from './clock.js'
export {
  LockLostError,
  LockNotAcquiredError,
  LockRequestError,
  LockServiceUnavailableError,
  LockWatchEndedError,
  type LossReason
} from './errors.js'
export { HeldLock } from './held-lock.js'
export { HttpLocks, type AcquireOptions, type HttpLocksOptions, type TryAcquireOptions } from './http-locks.js'
export { LockCalls, type CallOptions, type NamedLock } from './lock-calls.js'
export { lockDocument, type DocumentLockOptions } from './page-lock.js'
export type * from './types.js'
export type { WatchOptions } from './watching.js'
