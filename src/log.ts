import { pino, type DestinationStream, type Level, type Logger } from 'pino'

/** Where a key could stand, should something begin to log whole requests, headers or errors with them. */
const SECRETS = ['', '*.', '*.*.'].map((where) => `${where}authorization`)

/** The log as lines of JSON, on the standard output if nothing else is given; a key does not get into it. */
export function openLog(level: Level | 'silent', to?: DestinationStream): Logger {
  const options = { level, redact: SECRETS }
  return to === undefined ? pino(options) : pino(options, to)
}
