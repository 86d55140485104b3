import type { FastifyError, FastifyInstance, FastifyReply, FastifyRequest, FastifySchemaValidationError } from 'fastify'
import { ForbiddenError, LockError, UnauthorizedError, type LockErrorCode } from '../locks/errors.js'
import { faultOfCharacters } from '../locks/lock.js'

export type ErrorCode =
  | LockErrorCode
  | 'UNAUTHORIZED'
  | 'FORBIDDEN'
  | 'RESOURCE_LOCKED'
  | 'LOCK_NOT_HELD'
  | 'LOCK_CHANGED'
  | 'REQUEST_ID_REUSED'
  | 'NOT_FOUND'
  | 'BAD_REQUEST'
  | 'REQUEST_TIMEOUT'
  | 'HEADERS_TOO_LARGE'
  | 'INVALID_REQUEST'
  | 'PAYLOAD_TOO_LARGE'
  | 'UNSUPPORTED_MEDIA_TYPE'
  | 'UNKNOWN_HOST'
  | 'INTERNAL'

/** The status of every code there is. */
export const STATUS_OF: Readonly<Record<ErrorCode, number>> = {
  BAD_REQUEST: 400,
  UNAUTHORIZED: 401,
  FORBIDDEN: 403,
  LOCK_NOT_HELD: 404,
  NOT_FOUND: 404,
  REQUEST_TIMEOUT: 408,
  RESOURCE_LOCKED: 409,
  LOCK_CHANGED: 409,
  REQUEST_ID_REUSED: 409,
  PAYLOAD_TOO_LARGE: 413,
  UNSUPPORTED_MEDIA_TYPE: 415,
  UNKNOWN_HOST: 421,
  INVALID_REQUEST: 422,
  TOO_MANY_REQUESTS: 429,
  HEADERS_TOO_LARGE: 431,
  INTERNAL: 500,
  STORAGE_UNAVAILABLE: 503,
  OUTCOME_UNKNOWN: 503,
  OVERLOADED: 503,
  DRAINING: 503,
  STORAGE_FULL: 507
}

/** One fault of form, in the shape in which the mirrored API (FastAPI) reports it. */
export interface InvalidInput {
  readonly type: string
  readonly loc: readonly (string | number)[]
  readonly msg: string
}

/** Faults that a schema cannot see; thrown by the handlers, answered like those that it can. */
export class InvalidRequestError extends Error {
  override readonly name = 'InvalidRequestError'
  readonly faults: readonly InvalidInput[]

  constructor(faults: readonly InvalidInput[]) {
    super('Invalid request')
    this.faults = faults
  }
}

/** Answers that are no refusal for form and no fault: the routes give them, and the engine counts what they say. */
const NOT_COUNTED: ReadonlySet<ErrorCode> = new Set(['RESOURCE_LOCKED', 'LOCK_NOT_HELD', 'LOCK_CHANGED', 'REQUEST_ID_REUSED'])

const COUNTS = Symbol('counts of errors')

/** Worth repeating after that many seconds. */
export const RETRY_AFTER_SECONDS: Partial<Record<ErrorCode, number>> = { OVERLOADED: 1, STORAGE_UNAVAILABLE: 1, TOO_MANY_REQUESTS: 1, DRAINING: 1 }

/** No fault of the service: the caller asks for too much, or an operator stops it. */
export const NOT_LOGGED: ReadonlySet<ErrorCode> = new Set(['TOO_MANY_REQUESTS', 'DRAINING'])

/** @param counts in which every answer of these is counted. */
export function addErrorHandling(app: FastifyInstance, counts = new Map<ErrorCode, number>()): void {
  for (const code of Object.keys(STATUS_OF) as ErrorCode[]) if (!NOT_COUNTED.has(code)) counts.set(code, 0)
  app.decorate(COUNTS, counts)
  app.setErrorHandler(answerError)
  app.setNotFoundHandler((_request, reply) => answerUnknownPath(reply))
}

export function answerUnknownPath(reply: FastifyReply): FastifyReply {
  return send(reply, 'NOT_FOUND', 'Not Found')
}

export function answerUnknownHost(reply: FastifyReply): FastifyReply {
  return send(reply, 'UNKNOWN_HOST', 'This service is not known by the host name that was asked for; an operator may add it to ALLOWED_HOSTS')
}

function answerError(error: FastifyError | Error, request: FastifyRequest, reply: FastifyReply): FastifyReply {
  if (error instanceof LockError) {
    if (!NOT_LOGGED.has(error.code)) request.log.error({ err: error, cause: error.cause, reqId: request.id }, error.message)
    return send(reply, error.code, error.message)
  }
  if (error instanceof UnauthorizedError) return send(reply.header('www-authenticate', 'Bearer'), 'UNAUTHORIZED', error.message)
  if (error instanceof ForbiddenError) return send(reply, 'FORBIDDEN', error.message)
  if (error instanceof InvalidRequestError) return send(reply, 'INVALID_REQUEST', error.faults)
  const { validation, validationContext } = error as Partial<FastifyError>
  if (validation !== undefined) return send(reply, 'INVALID_REQUEST', invalidInputs(validation, validationContext ?? 'body', request))
  const { code, statusCode } = error as Partial<FastifyError>
  switch (code) {
    case 'FST_ERR_CTP_BODY_TOO_LARGE':
      return send(reply, 'PAYLOAD_TOO_LARGE', `The body is larger than ${inWords(request.server.initialConfig.bodyLimit)}`)
    case 'FST_ERR_CTP_INVALID_MEDIA_TYPE':
      return send(reply, 'UNSUPPORTED_MEDIA_TYPE', 'The body must be sent as application/json')
    case 'FST_ERR_CTP_INVALID_CONTENT_LENGTH':
    case 'FST_ERR_CTP_INVALID_JSON_BODY':
      return send(reply, 'INVALID_REQUEST', [{ type: 'json_invalid', loc: ['body'], msg: 'The body is not valid JSON' }])
    case undefined:
    default:
  }
  if (statusCode !== undefined && statusCode < 500) {
    return send(reply, 'INVALID_REQUEST', [{ type: 'value_error', loc: ['body'], msg: 'The request cannot be read' }])
  }
  request.log.error({ err: error, reqId: request.id }, 'unexpected error')
  return send(reply, 'INTERNAL', 'Internal Server Error')
}

function send(reply: FastifyReply, code: ErrorCode, detail: string | readonly InvalidInput[]): FastifyReply {
  const after = RETRY_AFTER_SECONDS[code]
  // Whoever limits the rate knows better.
  if (after !== undefined && !reply.hasHeader('retry-after')) void reply.header('retry-after', after)
  const counts = reply.server.getDecorator<Map<ErrorCode, number>>(COUNTS)
  counts.set(code, (counts.get(code) ?? 0) + 1)
  return reply.code(STATUS_OF[code]).type('application/json; charset=utf-8').serializer(JSON.stringify).send({ detail, code })
}

function invalidInputs(faults: readonly FastifySchemaValidationError[], context: string, request: FastifyRequest): InvalidInput[] {
  const place = context === 'querystring' ? 'query' : context === 'params' ? 'path' : context
  const input = place === 'query' ? request.query : place === 'path' ? request.params : request.body
  return faults.map((fault) => {
    const path = fault.instancePath.split('/').slice(1).map(unescapePointer)
    if (path.length === 0 && input === undefined) return { type: 'missing', loc: [place], msg: 'Field required' }
    return describe(fault, [place, ...path], valueAt(input, path))
  })
}

/** Words for each rule that a schema of this service uses; the types are those of the mirrored API where it has one. */
function describe({ keyword, params, message }: FastifySchemaValidationError, loc: string[], value: unknown): InvalidInput {
  const limit = String(params['limit'])
  switch (keyword) {
    case 'required':
      return { type: 'missing', loc: [...loc, String(params['missingProperty'])], msg: 'Field required' }
    case 'type':
      return ofType(String(params['type']), loc)
    case 'format':
      return { type: 'value_error', loc, msg: `Input ${faultOfCharacters(String(value)) ?? 'is not valid'}` }
    case 'pattern':
      return { type: 'string_pattern_mismatch', loc, msg: `String should match pattern '${String(params['pattern'])}'` }
    case 'minLength':
      return { type: 'string_too_short', loc, msg: `String should have at least ${limit} character${limit === '1' ? '' : 's'}` }
    case 'maxLength':
      return { type: 'string_too_long', loc, msg: `String should have at most ${limit} characters` }
    case 'uniqueItems':
      return { type: 'value_error', loc, msg: 'List should have no item twice' }
    case 'minItems':
      return { type: 'too_short', loc, msg: `List should have at least ${limit} item${limit === '1' ? '' : 's'}` }
    case 'maxItems':
      return { type: 'too_long', loc, msg: `List should have at most ${limit} items` }
    case 'exclusiveMinimum':
      return { type: 'greater_than', loc, msg: `Input should be greater than ${limit}` }
    case 'minimum':
      return { type: 'greater_than_equal', loc, msg: `Input should be greater than or equal to ${limit}` }
    case 'maximum':
      return { type: 'less_than_equal', loc, msg: `Input should be less than or equal to ${limit}` }
    default:
      return { type: 'value_error', loc, msg: `Input ${message ?? 'is not valid'}` }
  }
}

const TYPES: Readonly<Record<string, readonly [type: string, noun: string]>> = {
  string: ['string_type', 'string'],
  number: ['float_type', 'number'],
  integer: ['int_type', 'integer'],
  boolean: ['bool_type', 'boolean'],
  array: ['list_type', 'list'],
  object: ['dict_type', 'object']
}

/** @param expected one JSON type, or several joined by commas of which the first is the one to name. */
function ofType(expected: string, loc: readonly string[]): InvalidInput {
  const [type, noun] = TYPES[expected.split(',')[0] ?? ''] ?? ['value_error', expected]
  return { type, loc, msg: `Input should be a valid ${noun}` }
}

function valueAt(input: unknown, path: readonly string[]): unknown {
  return path.reduce<unknown>((value, key) => (value as Record<string, unknown> | undefined)?.[key], input)
}

function unescapePointer(segment: string): string {
  return segment.replaceAll('~1', '/').replaceAll('~0', '~')
}

function inWords(bytes = 0): string {
  return bytes % 1024 === 0 ? `${bytes / 1024} KiB` : `${bytes} bytes`
}
