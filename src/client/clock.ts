/** Time as the client counts it. Tests hand in one that they move. */
export interface Clock {
  /** Milliseconds since some fixed moment; never goes back, and goes on while the machine sleeps. */
  now(): number
  /**
   * Calls back once, after that many milliseconds or later; the result cancels it.
   *
   * @param background true for what must not keep a process alive that has nothing else to do.
   */
  schedule(ms: number, action: () => void, background?: boolean): () => void
}

/** By how much the two clocks may drift apart between two looks before the machine is taken to have slept. */
const DRIFT_MS = 1000

/**
 * The clock of the machine. A monotonic clock may stand still while the machine sleeps, although leases go on: whatever
 * the wall clock ran ahead meanwhile is added. A wall clock that is set forward therefore ends leases early, never late.
 */
export function systemClock(monotonic: () => number = () => performance.now(), wall: () => number = Date.now): Clock {
  let sleptMs = 0
  let apartMs = wall() - monotonic()
  return {
    now() {
      const aheadMs = wall() - monotonic() - apartMs
      if (Math.abs(aheadMs) > DRIFT_MS) {
        sleptMs += Math.max(0, aheadMs)
        apartMs += aheadMs
      }
      return monotonic() + sleptMs
    },
    schedule(ms, action, background = false) {
      const timer: unknown = setTimeout(action, ms)
      // Timers are objects in Node and numbers in a page, which nothing keeps alive.
      if (background && typeof timer === 'object' && timer !== null && 'unref' in timer && typeof timer.unref === 'function') timer.unref()
      return () => clearTimeout(timer as number)
    }
  }
}

/** Resolves after that many milliseconds; rejects with the signal's reason as soon as it fires. */
export async function sleep(clock: Clock, ms: number, signal: AbortSignal | undefined): Promise<void> {
  signal?.throwIfAborted()
  await new Promise<void>((resolve) => {
    const end = (): void => {
      cancel()
      signal?.removeEventListener('abort', end)
      resolve()
    }
    const cancel = clock.schedule(ms, end)
    signal?.addEventListener('abort', end)
  })
  signal?.throwIfAborted()
}
