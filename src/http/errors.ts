import type { FastifyError, FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { briefOf, ForbiddenError, LockError, type LockErrorCode, UnauthorizedError } from '../locks/errors.js'

/** What stands in a refusal of another API beside its `error`. */
export type Frame = Readonly<Record<string, unknown>>

declare module 'fastify' {
  interface FastifyContextConfig {
    /** Set for the routes of another API; see {@link Frame}. */
    frame?: Frame
  }
}

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
  | 'CROSS_SITE'
  | 'METHOD_NOT_ALLOWED'
  | 'EXPECTATION_FAILED'
  | 'INTERNAL'

/** Of every answer that is not written by its schema. */
export const JSON_TYPE = 'application/json; charset=utf-8'

/** The status of every code there is. */
export const STATUS_OF: Readonly<Record<ErrorCode, number>> = {
  BAD_REQUEST: 400,
  UNAUTHORIZED: 401,
  FORBIDDEN: 403,
  CROSS_SITE: 403,
  LOCK_NOT_HELD: 404,
  NOT_FOUND: 404,
  METHOD_NOT_ALLOWED: 405,
  REQUEST_TIMEOUT: 408,
  RESOURCE_LOCKED: 409,
  LOCK_CHANGED: 409,
  REQUEST_ID_REUSED: 409,
  PAYLOAD_TOO_LARGE: 413,
  UNSUPPORTED_MEDIA_TYPE: 415,
  EXPECTATION_FAILED: 417,
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
  override readonly name: string = 'InvalidRequestError'
  readonly faults: readonly InvalidInput[]

  constructor(faults: readonly InvalidInput[]) {
    super('Invalid request')
    this.faults = faults
  }

  /** For faults that are found out for the answer only. */
  faultsOf(_request: FastifyRequest): readonly InvalidInput[] {
    return this.faults
  }
}

/** A refusal for something that is neither the request's form nor about locks; `message` is safe to send. */
export class RefusalError extends Error {
  override readonly name = 'RefusalError'
  readonly refusal: ErrorCode

  constructor(refusal: ErrorCode, detail: string) {
    super(detail)
    this.refusal = refusal
  }
}

/** Answers that are no refusal for form and no fault: the routes give them, and the engine counts what they say. */
const NOT_COUNTED: ReadonlySet<ErrorCode> = new Set(['RESOURCE_LOCKED', 'LOCK_NOT_HELD', 'LOCK_CHANGED', 'REQUEST_ID_REUSED'])

const COUNTS = Symbol('counts of errors')

/** Worth repeating after that many seconds. */
export const RETRY_AFTER_SECONDS: Partial<Record<ErrorCode, number>> = { OVERLOADED: 1, STORAGE_UNAVAILABLE: 1, TOO_MANY_REQUESTS: 1, DRAINING: 1 }

const ON_FAULT = Symbol('what takes faults')

/** No fault of the service: the caller asks for too much, or an operator stops it. */
const NOT_LOGGED: ReadonlySet<ErrorCode> = new Set(['TOO_MANY_REQUESTS', 'DRAINING'])

/**
 * @param counts in which every answer of these is counted.
 * @param onFault takes faults in place of the log.
 */
export function addErrorHandling(app: FastifyInstance, counts = new Map<ErrorCode, number>(), onFault?: (error: LockError) => void): void {
  for (const code of Object.keys(STATUS_OF) as ErrorCode[]) if (!NOT_COUNTED.has(code)) counts.set(code, 0)
  app.decorate(COUNTS, counts)
  app.decorate(ON_FAULT, { onFault })
  app.setErrorHandler(answerError)
  const paths = new KnownPaths()
  app.addHook('onRoute', (route) => paths.add(route))
  app.setNotFoundHandler(({ method, url }, reply) => {
    const instead = paths.insteadOf(method, url)
    if (instead === undefined) return answerUnknownPath(reply)
    void reply.header('allow', instead.allow)
    const detail = `This path does not answer ${method}; it answers ${instead.allow}`
    return send(reply, 'METHOD_NOT_ALLOWED', detail, instead.frame)
  })
}

/** Reports a fault that failed a request: to the tracker of outages if there is one, else to the log. */
export function reportFault({ server, log, id: reqId }: FastifyRequest, error: LockError): void {
  if (NOT_LOGGED.has(error.code)) return
  const { onFault } = server.getDecorator<{ onFault?: (error: LockError) => void }>(ON_FAULT)
  log[onFault === undefined ? 'error' : 'debug']({ code: error.code, cause: briefOf(error.cause), reqId }, error.message)
  onFault?.(error)
}

export function answerUnknownPath(reply: FastifyReply): FastifyReply {
  return send(reply, 'NOT_FOUND', 'Not Found')
}

export function answerUnknownHost(reply: FastifyReply): FastifyReply {
  return send(reply, 'UNKNOWN_HOST', 'This service is not known by the host name that was asked for; an operator may add it to ALLOWED_HOSTS')
}

export function answerError(error: FastifyError | Error, request: FastifyRequest, reply: FastifyReply): FastifyReply {
  if (error instanceof LockError) {
    reportFault(request, error)
    return send(reply, error.code, error.message)
  }
  if (error instanceof UnauthorizedError) return send(reply.header('www-authenticate', 'Bearer'), 'UNAUTHORIZED', error.message)
  if (error instanceof ForbiddenError) return send(reply, 'FORBIDDEN', error.message)
  if (error instanceof InvalidRequestError) return send(reply, 'INVALID_REQUEST', error.faultsOf(request))
  if (error instanceof RefusalError) return send(reply, error.refusal, error.message)
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

/** @param frame what stands beside the `error` of another API; left out for the service's own. */
function send(reply: FastifyReply, code: ErrorCode, detail: string | readonly InvalidInput[], frame?: Frame): FastifyReply {
  const after = RETRY_AFTER_SECONDS[code]
  // The rate limit has set its own value.
  if (after !== undefined && !reply.hasHeader('retry-after')) void reply.header('retry-after', after)
  const counts = reply.server.getDecorator<Map<ErrorCode, number>>(COUNTS)
  counts.set(code, (counts.get(code) ?? 0) + 1)
  return reply.code(STATUS_OF[code]).type(JSON_TYPE).serializer(JSON.stringify).send(frame === undefined ? { detail, code } : { ...frame, error: detail })
}

function inWords(bytes = 0): string {
  return bytes % 1024 === 0 ? `${bytes / 1024} KiB` : `${bytes} bytes`
}

interface Route {
  readonly method: string | string[]
  /** `/lock/user/:id`, `/docs/static/*` */
  readonly url: string
  /** `frame` is what stands in a refusal of this path's API beside its `error`; none for the service's own. */
  config?: { readonly frame?: Frame }
}

interface KnownPath {
  readonly pattern: RegExp
  readonly methods: Set<string>
  readonly route: Route
}

/** The paths that some method is served at, with their methods, for a 405. */
class KnownPaths {
  readonly #paths = new Map<string, KnownPath>()

  /** The route's configuration may still be completed afterwards. */
  add(route: Route): void {
    // Preflights of any path.
    if (route.url === '*') return
    const path = this.#paths.get(route.url) ?? { pattern: patternOf(route.url), methods: new Set<string>(), route }
    this.#paths.set(route.url, path)
    for (const method of [route.method].flat()) path.methods.add(method)
    // Of a path with a slash at its end Fastify tells only this one.
    if (path.methods.has('HEAD')) path.methods.add('GET')
  }

  /** What is served at the path of that URL, unless it is that method or nothing. */
  insteadOf(method: string, url: string): { readonly allow: string; readonly frame: Frame | undefined } | undefined {
    const path = decoded(url.replace(/\?.*$/s, ''))
    const found = [...this.#paths.values()].filter(({ pattern }) => pattern.test(path))
    if (found.length === 0 || found.some(({ methods }) => methods.has(method))) return undefined
    return { allow: [...new Set(found.flatMap(({ methods }) => [...methods]))].join(', '), frame: found[0]?.route.config?.frame }
  }
}

function patternOf(url: string): RegExp {
  const segments = url.split('/').map((segment) => {
    if (segment === '*') return '.*'
    return segment.startsWith(':') ? '[^/]+' : segment.replaceAll(/[.*+?^${}()|[\]\\]/g, String.raw`\$&`)
  })
  return new RegExp(`^${segments.join('/')}$`, 's')
}

function decoded(path: string): string {
  try {
    // A slash that is encoded is part of an id.
    return decodeURI(path)
  } catch {
    return path
  }
}
