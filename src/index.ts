/** The public face of the package: the service to embed, the locks without it, and the client. */
export { buildApp, type AppOptions } from './app.js'
export { EventStreamParser, type Message } from './client/events.js'
export * from './client/index.js'
export type {
  DocumentAcquired,
  DocumentExtended,
  DocumentLockInfo,
  DocumentLocks,
  DocumentReleased,
  LockedDocument
} from './compat/document-locks.js'
export * from './embedded/index.js'
export { LockError, StartupError, type LockErrorCode } from './locks/errors.js'
export type { LockService, LockServiceOptions } from './locks/lock-service.js'
