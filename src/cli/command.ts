import { constants } from 'node:os'
import { parseArgs, type ParseArgsConfig } from 'node:util'
import { HttpLocks, type HttpLocksOptions, LockLostError, LockNotAcquiredError, LockRequestError, LockServiceUnavailableError, LockWatchEndedError, type NotHeldReason } from '../client/index.js'
import type { Screen } from './output.js'

type Options = NonNullable<ParseArgsConfig['options']>
type Read<Known extends Options> = ReturnType<typeof parseArgs<{ args: string[]; options: Known; allowPositionals: true }>>

/** What a command works with. */
export interface Session {
  readonly env: Readonly<Record<string, string | undefined>>
  readonly out: Screen
  readonly err: Screen
  /** The signals that the parent process wants to be ignored, as `nohup` does. */
  readonly ignored: readonly NodeJS.Signals[]
}

export interface Command {
  /** What follows `rlm`. */
  readonly usage: string
  /** One line for the list of commands. */
  readonly summary: string
  /** The rest of its help: options, exit codes. */
  readonly help: string
  readonly options: Options
  /** What its first argument is one of, where that is no name of a lock. */
  readonly words?: readonly string[]
  /** Resolves to the exit code. `failureOf` turns what it throws into a sentence and an exit code. */
  readonly run: (args: readonly string[], session: Session) => Promise<number>
}

/** What `--help` says of a command. */
export function helpOf({ usage, summary, help }: Command): string {
  return `Usage: rlm ${usage}\n\n${summary}\n\n${help}`
}

const DEFAULT_URL = 'http://127.0.0.1:8000'
/** How long a command that only asks tries: its user can ask again. */
export const PATIENCE_SECONDS = 2

const MS_OF: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 }

/**
 * Reads options and names.
 *
 * @param names how many are taken, at least and at most.
 * @throws UsageError with the sentence that says what cannot be understood.
 */
export function readArguments<Known extends Options>(args: readonly string[], options: Known, names: readonly [least: number, most: number]): Read<Known> {
  let read: Read<Known>
  try {
    read = parseArgs({ args: [...args], options, allowPositionals: true })
  } catch (error) {
    // What follows the first sentence is advice on how to escape a dash.
    throw new UsageError(error instanceof Error ? (error.message.split('. ')[0] ?? '') : String(error))
  }
  const given = read.positionals.length
  const [least, most] = names
  if (given < least) throw new UsageError(least === 1 ? 'A name is missing' : `${least - given} names are missing`)
  if (given > most) throw new UsageError(`'${read.positionals[most]}' is one name too many`)
  return read
}

/**
 * Reads `500ms`, `30s`, `2m`, `1h`, or a plain number of seconds.
 *
 * @returns milliseconds, possibly 0.
 * @throws UsageError for anything else.
 */
export function durationMs(option: string, text: string): number {
  const [, number, unit = 's'] = /^(\d{1,12}(?:\.\d{1,9})?)(ms|s|m|h)?$/.exec(text) ?? []
  if (number === undefined) throw new UsageError(`${option} is '${text}'; expected a time such as 500ms, 30s, 2m or 1h`)
  return Number(number) * (MS_OF[unit] ?? Number.NaN)
}

/** @throws UsageError when it is no whole number in that range. */
export function wholeNumber(option: string, text: string, least: number, most: number): number {
  const number = /^\d{1,16}$/.test(text) ? Number(text) : Number.NaN
  if (!(number >= least && number <= most)) throw new UsageError(`${option} is '${text}'; expected a whole number from ${least} to ${most}`)
  return number
}

export function lockIdOf(text: string | undefined): number | undefined {
  return text === undefined ? undefined : wholeNumber('--lock-id', text, 1, Number.MAX_SAFE_INTEGER)
}

/** @throws UsageError when it was left out. */
export function required(option: string, text: string | undefined): string {
  if (text === undefined) throw new UsageError(`${option} is missing`)
  return text
}

/**
 * A client of the service that `RLM_URL` and `RLM_API_KEY` name.
 *
 * @throws UsageError when one of them makes no sense.
 */
export function connect({ env }: Session, options: Pick<HttpLocksOptions, 'processId' | 'retrySeconds' | 'timeoutSeconds'> = {}): HttpLocks {
  const apiKey = nonEmpty(env['RLM_API_KEY'])
  // The key itself is not repeated: messages end up in logs.
  if (apiKey !== undefined && !/^[\u0021-\u007E]+$/.test(apiKey)) throw new UsageError('RLM_API_KEY holds characters that no key has')
  return new HttpLocks({ url: urlOf(env), apiKey, retrySeconds: PATIENCE_SECONDS, timeoutSeconds: PATIENCE_SECONDS, ...options })
}

/** Where the service is. */
export function urlOf(env: Session['env']): string {
  const text = nonEmpty(env['RLM_URL']) ?? DEFAULT_URL
  const url = URL.canParse(text) ? new URL(text) : undefined
  if (url === undefined || !/^https?:$/.test(url.protocol)) throw new UsageError(`RLM_URL is '${text}'; expected an http: or https: URL`)
  if (url.username !== '' || url.password !== '') throw new UsageError('RLM_URL holds a user or a password; the service knows keys: RLM_API_KEY')
  return text
}

function nonEmpty(text: string | undefined): string | undefined {
  return text === undefined || text.trim() === '' ? undefined : text.trim()
}

/** What the command ends with. Those from 64 to 78 mean what sysexits.h says, the last two what a shell says. */
export const EXIT = {
  ok: 0,
  /** What was asked for is not so: the lock is not held, an examination found a fault. */
  refused: 1,
  usage: 64,
  unreachable: 69,
  internal: 70,
  output: 74,
  notAcquired: 75,
  lost: 76,
  unauthorised: 77,
  notExecutable: 126,
  notFound: 127
} as const

/** Why a lock could not be released, for people. */
export const NOT_HELD: Readonly<Record<NotHeldReason, string>> = {
  not_locked: 'nobody holds it',
  held_by_other: 'another grant is valid',
  expired: 'its lease ran out',
  released: 'it was released before'
}

/** The command line, or a variable that it reads, makes no sense. */
export class UsageError extends Error {
  override readonly name = 'UsageError'
}

/** A signal told the command to stop before it had anything to stop. */
export class InterruptedError extends Error {
  override readonly name = 'InterruptedError'
  readonly signal: NodeJS.Signals

  constructor(signal: NodeJS.Signals) {
    super(`Interrupted by ${signal}`)
    this.signal = signal
  }
}

/** The exit code that a shell reports for a process that a signal ended. */
export function exitOfSignal(name: NodeJS.Signals): number {
  return 128 + constants.signals[name]
}

/** What the command ends with after an error, and the sentence that says why; undefined where a person knows. */
export interface Failure {
  readonly code: number
  readonly sentence: string | undefined
}

/** @param url where the service is supposed to be, for the sentences that are about the service. */
export function failureOf(error: unknown, url: string): Failure {
  if (error instanceof InterruptedError) return { code: exitOfSignal(error.signal), sentence: undefined }
  if (error instanceof UsageError) return { code: EXIT.usage, sentence: error.message }
  if (error instanceof LockServiceUnavailableError) return { code: EXIT.unreachable, sentence: unavailable(error, url) }
  if (error instanceof LockNotAcquiredError) return { code: EXIT.notAcquired, sentence: error.message }
  if (error instanceof LockLostError) return { code: EXIT.lost, sentence: lossText(error, url) }
  if (error instanceof LockWatchEndedError) return { code: EXIT.refused, sentence: error.message }
  if (error instanceof LockRequestError) return refusal(error, url)
  return { code: EXIT.internal, sentence: error instanceof Error ? (error.stack ?? error.message) : String(error) }
}

/** Why a lock was lost, and, where a renewal was refused or not answered, why that was. */
export function lossText({ message, cause }: LockLostError, url: string): string {
  return cause === undefined ? message : `${message}: ${failureOf(cause, url).sentence}`
}

function refusal({ status, code, detail }: LockRequestError, url: string): Failure {
  if (status === 401) return { code: EXIT.unauthorised, sentence: `${textOf(detail)}; RLM_API_KEY must hold a key that the service knows` }
  if (status === 403) return { code: EXIT.unauthorised, sentence: textOf(detail) }
  if (status < 400 || status === 404 || status === 405) {
    const why = code === 'REDIRECTED' ? textOf(detail) : `${status} is the answer to a call that every lock service knows`
    return { code: EXIT.usage, sentence: `RLM_URL is '${url}', where no lock service answers: ${why}` }
  }
  return { code: status === 422 ? EXIT.usage : EXIT.internal, sentence: code === 'INVALID_REQUEST' ? textOf(detail) : `${code}: ${textOf(detail)}` }
}

/** A sentence, or the list of faults in one. */
function textOf(detail: unknown): string {
  if (!Array.isArray(detail)) return String(detail)
  return detail.map((fault: { loc?: unknown; msg?: unknown }) => `${Array.isArray(fault.loc) ? fault.loc.slice(1).join('.') : ''}: ${String(fault.msg)}`).join('; ')
}

function unavailable(error: LockServiceUnavailableError, url: string): string {
  const why = whyNoAnswer(error)
  const sentence = why === '' || error.message.includes(why) ? error.message : `${error.message}: ${why}`
  const { host } = new URL(url)
  return sentence.includes(host) ? sentence : `${sentence}; RLM_URL is '${url}'`
}

/** The code of the network's error, which lies at the bottom of what `fetch` says. */
function whyNoAnswer({ cause }: LockServiceUnavailableError): string {
  let deepest = cause
  while (deepest instanceof Error && deepest.cause !== undefined) deepest = deepest.cause
  if (!(deepest instanceof Error)) return ''
  return 'code' in deepest && typeof deepest.code === 'string' ? deepest.code : deepest.message
}
