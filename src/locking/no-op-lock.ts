import type { Lock, LockApi } from './lock-api.js'

/** Locks nothing: for code that takes a LockApi where there is nothing to exclude, and for tests of what it does when refused. */
export class NoOpLock implements LockApi {
  readonly #locked: boolean

  /** @param locked true refuses every request, false grants every one. */
  constructor(locked = false) {
    this.#locked = locked
  }

  tryAcquire(_key: string, _timeoutSeconds: number): Promise<Lock | undefined> {
    return Promise.resolve(this.#locked ? undefined : { type: 'lock', release: () => Promise.resolve() })
  }
}
