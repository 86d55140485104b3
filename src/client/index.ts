export { LockCalls, type CallOptions, type NamedLock, type Renewal } from './api.js'
export { systemClock, type Clock } from './clock.js'
export { lockDocument, type DocumentLockOptions } from './document.js'
export {
  LockLostError,
  LockNotAcquiredError,
  LockReentryError,
  LockRequestError,
  LockServiceUnavailableError,
  LockWatchEndedError,
  type LossReason
} from './errors.js'
export { EventStreamParser, type Message, type WatchOptions } from './events.js'
export { HeldLock, HeldLocks, type HeldPart } from './held-lock.js'
export {
  HttpLocks,
  type AcquireOptions,
  type HttpLocksOptions,
  type RenewAllOptions,
  type TryAcquireOptions,
  type WithLockOptions
} from './http-locks.js'
export type * from './types.js'
