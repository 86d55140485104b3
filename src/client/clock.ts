import { clockWithSleep, unref } from '#platform'

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

/** When the two clocks drift apart by more than this between two readings, the machine has slept. */
const DRIFT_MS = 1000
/** The clock with sleep is read at most this often; a reading that took longer was interrupted and is ignored. */
const READ_MS = 10
/** A longer timer would fire at once. */
const LONGEST_TIMER_MS = 2 ** 31 - 1

/**
 * The clock of the machine. A monotonic clock may stand still while the machine sleeps, although leases go on: the time by
 * which the clock with sleep ran ahead is added.
 */
export function systemClock(monotonic: () => number = () => performance.now(), withSleep: () => number = clockWithSleep): Clock {
  let sleptMs = 0
  let apartMs = withSleep() - monotonic()
  let readAt = -Infinity
  return {
    now() {
      const before = monotonic()
      if (before - readAt < READ_MS) return before + sleptMs
      const aheadMs = withSleep() - before - apartMs
      const after = monotonic()
      if (after - before < READ_MS) {
        readAt = after
        if (Math.abs(aheadMs) > DRIFT_MS) {
          sleptMs += Math.max(0, aheadMs)
          apartMs += aheadMs
        }
      }
      return after + sleptMs
    },
    schedule(ms, action, background) {
      let timer: ReturnType<typeof setTimeout>
      const wait = (leftMs: number): void => {
        timer = setTimeout(() => (leftMs > LONGEST_TIMER_MS ? wait(leftMs - LONGEST_TIMER_MS) : action()), Math.min(leftMs, LONGEST_TIMER_MS))
        if (background) unref(timer)
      }
      wait(ms)
      return () => clearTimeout(timer)
    }
  }
}

const LISTENERS = new WeakMap<AbortSignal, Set<() => void>>()

/** Calls back when the signal fires; the result takes that back. A signal gets one listener, because Node warns of more than ten. */
export function onAbort(signal: AbortSignal | undefined, action: () => void): () => void {
  if (!signal) return () => {}
  let actions = LISTENERS.get(signal)
  if (!actions) {
    const all = new Set<() => void>()
    LISTENERS.set(signal, (actions = all))
    signal.addEventListener('abort', () => all.forEach((act) => act()))
  }
  // A function of its own, so that the same action can be added twice.
  const own = (): void => action()
  actions.add(own)
  return () => void actions.delete(own)
}

/** Resolves after that many milliseconds; rejects with the signal's reason as soon as it fires. */
export async function sleep(clock: Clock, ms: number, signal: AbortSignal | undefined): Promise<void> {
  signal?.throwIfAborted()
  await new Promise<void>((resolve) => {
    const end = (): void => {
      cancel()
      forget()
      resolve()
    }
    const cancel = clock.schedule(ms, end)
    const forget = onAbort(signal, end)
  })
  signal?.throwIfAborted()
}
