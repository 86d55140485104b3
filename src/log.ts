import { pino, type DestinationStream, type Level, type Logger } from 'pino'
import { LockError, StartupError } from './locks/errors.js'

/** Where a key could stand, should something begin to log whole requests, headers or errors with them. */
const SECRETS = ['', '*.', '*.*.'].map((where) => `${where}authorization`)

/** The log as lines of JSON, on the standard output if nothing else is given; a key does not get into it. */
export function openLog(level: Level | 'silent', to?: DestinationStream): Logger {
  const options = { level, redact: SECRETS }
  return to === undefined ? pino(options) : pino(options, to)
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
