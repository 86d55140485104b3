import { type TObject, type TProperties, Type } from '@sinclair/typebox'
import type { FastifyError, FastifyInstance, FastifyReply } from 'fastify'
import { type Frame, InvalidRequestError, JSON_TYPE, RefusalError, reportFault, RETRY_AFTER_SECONDS, STATUS_OF } from '../http/errors.js'
import { ForbiddenError, LockError, UnauthorizedError } from '../locks/errors.js'
import { faultOfName, MAX_NAME_CHARACTERS, processId, type ProcessId, resourceName, type ResourceName, ttlFromSeconds } from '../locks/lock.js'
import type { LocksOf } from '../locks/scoped-locks.js'

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
export function ttlSecondsOf(value: unknown, fallback: number, maximum: number, what = 'ttl'): number {
  if (value === undefined) return fallback
  const seconds = typeof value === 'string' && /^\d+(?:\.\d+)?$/.test(value) ? Number(value) : value
  if (typeof seconds === 'number' && seconds > 0 && seconds <= maximum) return seconds
  throw new BadInputError(`${what} should be a number of seconds, greater than 0 and at most ${maximum}`)
}

export function ttlMsOf(value: unknown, fallback: number, maximum: number, what?: string): number {
  return ttlFromSeconds(ttlSecondsOf(value, fallback, maximum, what))
}

function refuseFaulty(id: string, what: string, most: number): void {
  const fault = Array.from(id).length > most ? `should have at most ${most} characters` : faultOfName(id)
  if (fault !== undefined) throw new BadInputError(`${what} ${fault}`)
}

/** One body, with what it is for and an example; with a title it is a schema of that name in the document, wherever it occurs. */
export function body<Fields extends TProperties>(description: string, fields: Fields, example: Readonly<Record<string, unknown>>, title?: string): TObject<Fields> {
  return Type.Object(fields, { ...(title === undefined ? { description } : { title, 'x-response-description': description }), examples: [example] })
}

/** An id, which may come as a number as well. */
export const IdSchema = (description: string, example: string) =>
  Type.Unsafe<string | number>({ type: ['string', 'number'], description, examples: [example] })

export const ttlSchema = (fallback: number, maximum: number) =>
  Type.Unsafe<number | string>({
    type: ['number', 'string'],
    exclusiveMinimum: 0,
    maximum,
    description: `How long the lock lasts, in seconds; ${fallback} if left out. A text of digits will do.`,
    examples: [fallback]
  })

type Fault = readonly [status: number, description: string, error: string]

const KEYS: readonly Fault[] = [
  [401, 'There are keys, and none was sent that is valid; with `WWW-Authenticate: Bearer`.', 'This call needs an API key, sent as Authorization: Bearer KEY'],
  [403, 'The scopes or the prefix of the key do not allow it.', "The API key does not have the scope 'write'"]
]
const STORAGE: readonly Fault[] = [
  ...KEYS,
  [500, 'A bug of the service; it was logged.', 'Internal server error'],
  [503, 'The database is away, its confirmation was lost, or too much is waiting.', 'The database is not available; nothing was changed'],
  [507, 'The disk is full; releasing still works.', 'The disk of the database is full; nothing was changed']
]
const BODY: readonly Fault[] = [
  [413, 'The body is larger than 64 KiB.', 'The body is larger than 64 KiB'],
  [415, 'The body is not sent as JSON.', 'The body must be sent as application/json']
]

/**
 * What the calls of an API can answer beside their own words.
 *
 * @param title the name of their refusals in the document.
 * @param frame what stands in a refusal beside `error`.
 */
export function faultsOf(title: string, frame: TProperties, framed: Readonly<Record<string, unknown>>) {
  const schemas = (faults: readonly Fault[]) =>
    Object.fromEntries(
      faults.map(([status, description, error]) => [status, body(description, { ...frame, error: Type.String() }, { ...framed, error }, title)])
    )
  return {
    /** For calls that neither have a body nor name anything. */
    always: schemas(STORAGE),
    /** For calls that name something in their path. */
    withId: (error: string) => schemas([[400, 'A fault of form; nothing was changed.', error], ...STORAGE]),
    withBody: (error: string) => schemas([[400, 'A fault of form; nothing was changed.', error], ...BODY, ...STORAGE]),
    /** For calls that may have a body, which says nothing. */
    withEmptyBody: schemas([[400, 'The body is not valid JSON.', 'The body is not valid JSON'], ...BODY, ...STORAGE])
  }
}

export interface CompatOptions {
  readonly locksOf: LocksOf
  /** The longest lease that may be asked for, in seconds. */
  readonly maxTtlSeconds: number
  /** Whether the operator has said which pages may call. */
  readonly corsIsSet: boolean
}

/**
 * Makes a scope answer every fault in the shape of its API, `{…frame, "error": "a sentence"}`: what its handlers refuse, what
 * cannot be read, a database that is away, a bug. Its schemas describe and no longer check, since each of these systems
 * has its own words, and its own order, for what is missing.
 */
export function answerFaultsAs(app: FastifyInstance, frame: Frame): void {
  app.setValidatorCompiler(() => () => true)
  app.addHook('onRoute', (route) => {
    route.config = { ...route.config, frame }
  })
  app.setErrorHandler<FastifyError | Error>((error, request, reply) => {
    if (error instanceof BadInputError) return refuse(reply, frame, 400, error.message)
    if (error instanceof LockError) {
      reportFault(request, error)
      const after = RETRY_AFTER_SECONDS[error.code]
      if (after !== undefined) void reply.header('retry-after', after)
      return refuse(reply, frame, STATUS_OF[error.code], error.message)
    }
    if (error instanceof UnauthorizedError) return refuse(reply.header('www-authenticate', 'Bearer'), frame, 401, error.message)
    if (error instanceof ForbiddenError) return refuse(reply, frame, 403, error.message)
    if (error instanceof RefusalError) return refuse(reply, frame, STATUS_OF[error.refusal], error.message)
    if (error instanceof InvalidRequestError) return refuse(reply, frame, 400, error.faults[0]?.msg ?? 'The request cannot be read')
    const { statusCode = 500 } = error as Partial<FastifyError>
    if (statusCode === 413) return refuse(reply, frame, 413, 'The body is larger than 64 KiB')
    if (statusCode === 415) return refuse(reply, frame, 415, 'The body must be sent as application/json')
    if (statusCode < 500) return refuse(reply, frame, statusCode, 'The request cannot be read')
    request.log.error({ err: error, reqId: request.id }, 'unexpected error')
    return refuse(reply, frame, 500, 'Internal server error')
  })
}

export function refuse(reply: FastifyReply, frame: Frame, status: number, error: string): FastifyReply {
  return reply.code(status).type(JSON_TYPE).serializer(JSON.stringify).send({ ...frame, error })
}
