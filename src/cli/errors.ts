import {
  LockLostError,
  LockNotAcquiredError,
  LockRequestError,
  LockServiceUnavailableError,
  LockWatchEndedError
} from '../client/index.js'
import { EXIT, exitOfSignal } from './exit-codes.js'

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

/** What the command ends with after an error, and the sentence that says why; undefined where a person knows. */
export interface Failure {
  readonly code: number
  readonly sentence: string | undefined
}

export function failureOf(error: unknown): Failure {
  if (error instanceof InterruptedError) return { code: exitOfSignal(error.signal), sentence: undefined }
  if (error instanceof UsageError) return { code: EXIT.usage, sentence: error.message }
  if (error instanceof LockServiceUnavailableError) return { code: EXIT.unreachable, sentence: `${error.message}${whyNoAnswer(error)}` }
  if (error instanceof LockNotAcquiredError) return { code: EXIT.notAcquired, sentence: error.message }
  if (error instanceof LockLostError) return { code: EXIT.lost, sentence: error.message }
  if (error instanceof LockWatchEndedError) return { code: EXIT.refused, sentence: error.message }
  if (error instanceof LockRequestError) return refusalOf(error)
  return { code: EXIT.internal, sentence: error instanceof Error ? (error.stack ?? error.message) : String(error) }
}

function refusalOf({ status, code, detail }: LockRequestError): Failure {
  if (status === 401) return { code: EXIT.unauthorised, sentence: `${textOf(detail)}; RLM_API_KEY must hold a key that the service knows` }
  if (status === 403) return { code: EXIT.unauthorised, sentence: textOf(detail) }
  return { code: status === 422 ? EXIT.usage : EXIT.internal, sentence: code === 'INVALID_REQUEST' ? textOf(detail) : `${code}: ${textOf(detail)}` }
}

/** A sentence, or the list of faults in one. */
function textOf(detail: unknown): string {
  if (!Array.isArray(detail)) return String(detail)
  return detail.map((fault: { loc?: unknown; msg?: unknown }) => `${Array.isArray(fault.loc) ? fault.loc.slice(1).join('.') : ''}: ${String(fault.msg)}`).join('; ')
}

/** The network's word for it lies at the bottom of what `fetch` says. */
function whyNoAnswer({ cause }: LockServiceUnavailableError): string {
  let deepest = cause
  while (deepest instanceof Error && deepest.cause !== undefined) deepest = deepest.cause
  if (!(deepest instanceof Error)) return ''
  const code = 'code' in deepest && typeof deepest.code === 'string' ? deepest.code : deepest.message
  return code === '' ? '' : `: ${code}`
}
