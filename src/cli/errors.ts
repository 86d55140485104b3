import { constants } from 'node:os'
import {
  LockLostError,
  LockNotAcquiredError,
  LockRequestError,
  LockServiceUnavailableError,
  LockWatchEndedError,
  type NotHeldReason
} from '../client/index.js'

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
