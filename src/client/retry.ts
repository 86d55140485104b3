import { sleep, type Clock } from './clock.js'
import { LockServiceUnavailableError } from './errors.js'

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
