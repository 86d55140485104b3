import { pino, type DestinationStream, type Level, type Logger } from 'pino'
import { briefOf, LockError, StartupError, type LockErrorCode } from './locks/errors.js'

/** Where a key could stand, should something begin to log whole requests, headers or errors with them. */
const SECRETS = ['', '*.', '*.*.'].map((where) => `${where}authorization`)

/** The log as lines of JSON, on the standard output if nothing else is given; a key does not get into it. */
export function openLog(level: Level | 'silent', to?: DestinationStream): Logger {
  const options = { level, redact: SECRETS, serializers: { err: printable, cause: briefOf } }
  return to === undefined ? pino(options) : pino(options, to)
}

/** Only a bug is shown with its stack. */
function printable(error: unknown): object {
  const brief = briefOf(error)
  return error instanceof Error ? { type: error.name, ...brief, ...(error instanceof LockError ? {} : { stack: error.stack }) } : brief
}

/** How often a database that is away is asked whether it is back, in milliseconds, and how long it has to be without a fault for that. */
const PROBE_MS = 1000
const QUIET_MS = 3000

const SENTENCES: Record<LockErrorCode, string | undefined> = {
  STORAGE_UNAVAILABLE: 'the database is away',
  OUTCOME_UNKNOWN: 'the database is away',
  STORAGE_FULL: 'the disk of the database is full',
  OVERLOADED: 'too many requests wait for the database',
  TOO_MANY_REQUESTS: undefined,
  DRAINING: undefined
}

/** Writes one line to the log when the database goes away and one when it is back, however much fails in between. */
export class Availability implements Disposable {
  readonly #log: Logger
  readonly #ping: () => Promise<void>
  /** By the process's own clock, in milliseconds; undefined while the database answers. */
  #awaySince: number | undefined
  #lastFaultAt = 0
  #suspected = false
  #timer: NodeJS.Timeout | undefined

  /** @param ping rejects with a LockError while the database is away. */
  constructor(log: Logger, ping: () => Promise<void>) {
    this.#log = log
    this.#ping = ping
  }

  /** Takes what a request, or work of the service itself, has failed with. */
  report(error: unknown): void {
    if (!(error instanceof LockError)) return this.#log.error({ err: error }, 'unexpected error')
    const sentence = SENTENCES[error.code]
    if (sentence === undefined) return
    this.#lastFaultAt = performance.now()
    if (this.#awaySince !== undefined) return
    this.#awaySince = this.#lastFaultAt
    this.#log.error(briefOf(error.cause ?? error), sentence)
    this.#probeLater()
  }

  /** Takes the error of a connection that broke while nobody used it: the database may be away, or has closed just that one. */
  suspect(broken: Error): void {
    if (this.#awaySince !== undefined || this.#suspected) return
    this.#suspected = true
    void this.#ping()
      .then(
        () => this.#log.warn(briefOf(broken), 'a connection to the database broke'),
        (fault: unknown) => this.report(fault)
      )
      .finally(() => (this.#suspected = false))
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer)
  }

  #probeLater(): void {
    this.#timer = setTimeout(() => {
      void this.#ping().then(
        () => this.#answered(),
        (fault: unknown) => {
          this.report(fault)
          this.#probeLater()
        }
      )
    }, PROBE_MS)
    this.#timer.unref()
  }

  #answered(): void {
    if (performance.now() - this.#lastFaultAt < QUIET_MS) return this.#probeLater()
    const away = performance.now() - (this.#awaySince ?? 0)
    this.#awaySince = undefined
    this.#log.info({ seconds: Math.round(away / 1000) }, 'the database is back')
  }
}

/**
 * Ends a program with exit code 1 and the sentence that says why, on the standard error: as text where that is a terminal,
 * else as a line of JSON like those of the log, for whatever collects them.
 */
export function fail(error: unknown): void {
  const expected = error instanceof StartupError || error instanceof LockError
  const sentence = error instanceof LockError ? `${error.message}.` : expected ? error.message : String(error)
  if (process.stderr.isTTY) process.stderr.write(`${sentence}\n`)
  else pino({ redact: SECRETS }, pino.destination(2)).fatal(expected || !(error instanceof Error) ? {} : { stack: error.stack }, sentence)
  process.exitCode = 1
}
