export { LockCalls, type CallOptions, type NamedLock, type Renewal, type RevokeOptions } from './api.js'
export { systemClock, type Clock } from './clock.js'
export {
  LockLostError,
  LockNotAcquiredError,
  LockReentryError,
  LockRequestError,
  LockServiceUnavailableError,
  LockWatchEndedError,
  type LossReason
} from './errors.js'
export type { WatchOptions } from './events.js'
export { HeldLock, HeldLocks, type HeldPart } from './held-lock.js'
export { HttpLocks, lockDocument } from './http-locks.js'
export type * from './types.js'
export { WebLock, WebLocks, type WebLockInfo, type WebLockOptions, type WebLocksSnapshot } from './web-locks.js'
