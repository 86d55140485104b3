import { clockWithSleep } from '#platform'
import { LockServiceUnavailableError } from './errors.js'

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
/** The clock with sleep is not read more often, and a look that took so long compares nothing: it was interrupted. */
const LOOK_MS = 10
/** A timer for longer fires at once. */
const LONGEST_TIMER_MS = 2 ** 31 - 1

/**
 * The clock of the machine. A monotonic clock may stand still while the machine sleeps, although leases go on: whatever
 * the clock with sleep ran ahead meanwhile is added.
 */
export function systemClock(monotonic: () => number = () => performance.now(), withSleep: () => number = clockWithSleep): Clock {
  let sleptMs = 0
  let apartMs = withSleep() - monotonic()
  let lookedAt = -Infinity
  return {
    now() {
      const before = monotonic()
      if (before - lookedAt < LOOK_MS) return before + sleptMs
      const aheadMs = withSleep() - before - apartMs
      const after = monotonic()
      if (after - before < LOOK_MS) {
        lookedAt = after
        if (Math.abs(aheadMs) > DRIFT_MS) {
          sleptMs += Math.max(0, aheadMs)
          apartMs += aheadMs
        }
      }
      return after + sleptMs
    },
    schedule(ms, action, background = false) {
      let timer: unknown
      const wait = (leftMs: number): void => {
        timer = setTimeout(() => (leftMs > LONGEST_TIMER_MS ? wait(leftMs - LONGEST_TIMER_MS) : action()), Math.min(leftMs, LONGEST_TIMER_MS))
        // Timers are objects in Node and numbers in a page, which nothing keeps alive.
        if (background && typeof timer === 'object' && timer !== null && 'unref' in timer && typeof timer.unref === 'function') timer.unref()
      }
      wait(ms)
      return () => clearTimeout(timer as number)
    }
  }
}

const LISTENERS = new WeakMap<AbortSignal, Set<() => void>>()

/** Calls back when the signal fires; the result takes that back. A signal gets one listener, however many ask: Node warns of more than ten. */
export function onAbort(signal: AbortSignal | undefined, action: () => void): () => void {
  if (signal === undefined) return () => {}
  let actions = LISTENERS.get(signal)
  if (actions === undefined) {
    const all = new Set<() => void>()
    LISTENERS.set(signal, (actions = all))
    signal.addEventListener('abort', () => [...all].forEach((act) => act()), { once: true })
  }
  // Of its own, so that two who ask with one function are two.
  const mine = (): void => action()
  actions.add(mine)
  return () => void actions.delete(mine)
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

/** The first pause after a failure; each further one is twice as long, up to the longest. */
const FIRST_PAUSE_MS = 50
const LONGEST_PAUSE_MS = 2000

export interface RetryOptions {
  readonly clock: Clock
  /** 0 to 1, to spread callers that failed together. */
  readonly random: () => number
  /** For how long the service may be unavailable before a call gives up. */
  readonly retryMs: number
  /** How long one try may take. */
  readonly timeoutMs: number
}

/** Counts how long the service has been away, and pauses between the tries: together they take no longer than the longer of both times. */
export class Backoff {
  readonly #options: RetryOptions
  #failures = 0
  #triedAt = 0
  #awaySince: number | undefined

  constructor(options: RetryOptions) {
    this.#options = options
  }

  /** Begins a try; the result is how long it may take. */
  begin(): number {
    const { clock, retryMs, timeoutMs } = this.#options
    this.#triedAt = clock.now()
    return this.#awaySince === undefined ? timeoutMs : Math.max(1, Math.min(timeoutMs, this.#awaySince + retryMs - this.#triedAt))
  }

  /** The service answered. */
  reset(): void {
    this.#failures = 0
    this.#awaySince = undefined
  }

  /**
   * Resolves when it is time to try again.
   *
   * @param onRetry called before the pause, if there will be another try.
   * @throws the error itself when it says nothing about the service's health, or when the service has been away for too long.
   * @throws the signal's reason when it fires.
   */
  async pauseAfter(error: unknown, signal: AbortSignal | undefined, onRetry?: (error: unknown) => void): Promise<void> {
    if (!(error instanceof LockServiceUnavailableError)) throw error
    const { clock, random, retryMs } = this.#options
    this.#awaySince ??= this.#triedAt
    const pauseMs = Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** this.#failures) * (0.5 + random() / 2)
    const waitMs = Math.max(pauseMs, error.retryAfterMs ?? 0)
    if (clock.now() + waitMs - this.#awaySince >= retryMs) throw error
    this.#failures += 1
    onRetry?.(error)
    await sleep(clock, waitMs, signal)
  }
}

/** Tries until the service answers, for at most `retryMs`. For calls that may be made twice. */
export async function retrying<Result>(
  attempt: (timeoutMs: number) => Promise<Result>,
  options: RetryOptions,
  signal?: AbortSignal,
  backoff = new Backoff(options)
): Promise<Result> {
  for (;;) {
    try {
      return await attempt(backoff.begin())
    } catch (error) {
      await backoff.pauseAfter(error, signal)
    }
  }
}
