import { faultOfName, MAX_NAME_CHARACTERS, processId, resourceName, ttlFromSeconds, type ProcessId, type ResourceName } from '../locks/lock.js'

/** A fault of form in a request to one of the other APIs; `message` is for the caller. */
export class BadInputError extends Error {
  override readonly name = 'BadInputError'
}

type Fields = Readonly<Record<string, unknown>>

/** What a body says. A body that is missing, or no object, says nothing. */
export function fieldsOf(body: unknown): Fields {
  return typeof body === 'object' && body !== null && !Array.isArray(body) ? (body as Fields) : {}
}

/** @throws BadInputError `a and b are required` when one of them is missing: absent, null, empty, 0 or false. */
export function requireFields(fields: Fields, ...names: readonly [string, ...string[]]): void {
  if (names.every((name) => Boolean(fields[name]))) return
  throw new BadInputError(`${names.join(' and ')} ${names.length === 1 ? 'is' : 'are'} required`)
}

/**
 * An id as text. A number is the same id as its digits.
 *
 * @throws BadInputError for anything else, also for a number that JSON cannot carry exactly: two ids must not become one.
 */
export function textOf(value: unknown, what: string): string {
  if (typeof value === 'string') return value
  if (typeof value === 'number' && Number.isFinite(value) && (Number.isSafeInteger(value) || !Number.isInteger(value))) return String(value)
  throw new BadInputError(`${what} should be a string`)
}

/** @throws BadInputError when the id, with its prefix, breaks the rules of a resource's name. */
export function nameOf(prefix: string, id: string, what: string): ResourceName {
  refuseFaulty(id, what, MAX_NAME_CHARACTERS - prefix.length)
  return resourceName(prefix + id)
}

/** @throws BadInputError when the id breaks the rules of a holder's. */
export function holderOf(value: unknown, what: string): ProcessId {
  const id = textOf(value, what)
  refuseFaulty(id, what, MAX_NAME_CHARACTERS)
  return processId(id)
}

/**
 * A lease in seconds, as a number or its digits in a text.
 *
 * @throws BadInputError when it is neither, not greater than 0, or over the maximum.
 */
export function ttlSecondsOf(value: unknown, fallback: number, maximum: number): number {
  if (value === undefined) return fallback
  const seconds = typeof value === 'string' && /^\d+(?:\.\d+)?$/.test(value) ? Number(value) : value
  if (typeof seconds === 'number' && seconds > 0 && seconds <= maximum) return seconds
  throw new BadInputError(`ttl should be a number of seconds, greater than 0 and at most ${maximum}`)
}

export function ttlMsOf(value: unknown, fallback: number, maximum: number): number {
  return ttlFromSeconds(ttlSecondsOf(value, fallback, maximum))
}

function refuseFaulty(id: string, what: string, most: number): void {
  const fault = Array.from(id).length > most ? `should have at most ${most} characters` : faultOfName(id)
  if (fault !== undefined) throw new BadInputError(`${what} ${fault}`)
}
