import { LockError, StartupError, type LockErrorCode } from '../../locks/errors.js'
import type { KeyStore } from '../../locks/api-keys.js'
import type { EpochMs } from '../../locks/lock.js'
import type { StoreReads } from '../../locks/store.js'
import type { Brief, BriefCommand } from './encoding.js'

/*
 * What the service and the thread that has the SQLite file say to each other. Everything is sent as JSON text, which costs
 * a third of what it costs to copy the objects. A question is a message, and so is a list of answers.
 */

export interface ThreadOptions {
  readonly file: string
  /** 0 keeps no history. */
  readonly keepHistoryMs: number
}

export type Call =
  | { readonly kind: 'execute'; readonly commands: readonly BriefCommand[] }
  | { readonly kind: 'read'; readonly what: keyof StoreReads; readonly args: readonly unknown[] }
  | { readonly kind: 'keys'; readonly what: keyof KeyStore; readonly args: readonly unknown[] }
  | { readonly kind: 'ping' }
  | { readonly kind: 'close' }

/** `now` is what the service's clock said when it called; calls come in the order of their clock. */
export type Question = Call & { readonly id: number; readonly now: EpochMs }

export type Answer =
  | { readonly id: number; readonly value: unknown }
  | { readonly id: number; readonly failed: SentError }
  /** For each command what came of it; `turns` are the tickets of waiters whose turn may have come. */
  | { readonly id: number; readonly settled: readonly (Brief | NotDone)[]; readonly wakeups: readonly number[] }

/** The id of what the thread says unasked, once: that the file is open, or why it cannot be opened. */
export const OPENED = 0

/** A command of a batch that was not carried out, for that reason. */
export interface NotDone {
  readonly kind: 'failed'
  readonly error: SentError
}

export interface SentError {
  readonly type: 'lock' | 'startup' | 'bug'
  readonly code?: LockErrorCode
  readonly message: string
  readonly stack: string
}

export function toSent(error: unknown): SentError {
  if (error instanceof LockError) {
    const { code, message, cause } = error
    return { type: 'lock', code, message, stack: stackOf(cause) }
  }
  return { type: error instanceof StartupError ? 'startup' : 'bug', message: error instanceof Error ? error.message : String(error), stack: stackOf(error) }
}

export function fromSent({ type, code, message, stack }: SentError): Error {
  if (type === 'lock' && code !== undefined) return new LockError(code, { cause: Object.assign(new Error(stack.split('\n', 1)[0]), { stack }) })
  return type === 'startup' ? new StartupError(message) : Object.assign(new Error(message), { stack })
}

function stackOf(error: unknown): string {
  return error instanceof Error ? (error.stack ?? String(error)) : String(error)
}
