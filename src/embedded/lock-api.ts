/** An acquired lock that has not been released. */
export interface Lock {
  readonly type: 'lock'
  /** Releases the lock. Harmless after a release or the end of the lease: it never ends the lock of a later holder. */
  release(): Promise<void>
  /**
   * Moves the end of the lock to that many seconds from now, where the back end can. Rejects when the lock is not held.
   *
   * @param timeoutSeconds greater than 0.
   */
  renew?(timeoutSeconds: number): Promise<void>
}

/** What every back end offers, and all that your own back end needs. */
export interface LockApi {
  /**
   * Acquires the lock if it is free. The holder itself is refused too.
   *
   * @param key names what is locked: 1 to 255 characters.
   * @param timeoutSeconds greater than 0; the lock ends by itself after that time.
   * @returns undefined when it is held.
   */
  tryAcquire(key: string, timeoutSeconds: number): Promise<Lock | undefined>
  /** {@link tryAcquire} for a share beside other holders, where the back end has those. The same holder may have several. */
  tryAcquireShare?(key: string, timeoutSeconds: number, sharing: Sharing): Promise<Lock | undefined>
}

/** What to take of a resource. */
export interface Sharing {
  /** `exclusive` takes all of it, `shared` lets others share it; `shared` where `limit` is given, else `exclusive`. */
  readonly mode?: 'exclusive' | 'shared' | undefined
  /** So many permits at most may be held at the same time, 1 to 100,000. */
  readonly limit?: number | undefined
  /** How many of them this takes, 1 to `limit`; 1 if left out. */
  readonly permits?: number | undefined
}
