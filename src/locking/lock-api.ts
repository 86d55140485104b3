/** A lock that was acquired and has not been let go. */
export interface Lock {
  readonly type: 'lock'
  /** Lets the lock go. Harmless when it was let go before or has expired: it never ends the lock of a later holder. */
  release(): Promise<void>
  /**
   * Moves the end of the lock to so many seconds from now, where a back end can do that. Rejects when the lock is not held.
   *
   * @param timeoutSeconds greater than 0.
   */
  renew?(timeoutSeconds: number): Promise<void>
}

/** What every back end offers, and all that a back end of your own needs. */
export interface LockApi {
  /**
   * Takes the lock if nobody has it. The holder itself is refused too.
   *
   * @param key names what is locked: 1 to 255 characters.
   * @param timeoutSeconds greater than 0; after so long the lock ends by itself.
   * @returns undefined when somebody has it.
   */
  tryAcquire(key: string, timeoutSeconds: number): Promise<Lock | undefined>
}
