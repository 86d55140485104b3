export { createLocks, EmbeddedLocks, type EmbeddedLock, type EmbeddedLocksOptions } from './create-locks.js'
export { acquireWithRetry, withLock, type RetryOptions } from './helpers.js'
export type { Lock, LockApi, Sharing } from './lock-api.js'
export { InMemoryLock, NoOpLock, type TimeProvider } from './local-locks.js'
