import { randomBytes } from 'node:crypto'
import { type IncomingMessage, STATUS_CODES, type ServerResponse } from 'node:http'
import { isIP, type Socket } from 'node:net'
import type { FastifyReply, FastifyRequest, onRequestHookHandler } from 'fastify'
import { LockError } from '../locks/errors.js'
import { JSON_TYPE, RefusalError, STATUS_OF, type ErrorCode } from './errors.js'

declare module 'fastify' {
  interface FastifyContextConfig {
    /** Pages of any origin may call this route, as long as no setting says which may. */
    anyOrigin?: boolean
  }
}

export interface GateOptions {
  /** The origins whose pages may call the service; `*` stands for all. None if left out. */
  readonly corsOrigins?: readonly string[] | undefined
  /** Any number of requests if left out. */
  readonly rateLimit?: RateLimit | undefined
}

/** Requests on one connection that may wait behind one that is not answered yet. */
export const MAX_PIPELINED = 16

/** Answers are data: nothing may guess another type for them, show them in a frame or load anything for them. Pages say what they need. */
const ANSWER_HEADERS = { 'x-content-type-options': 'nosniff', 'content-security-policy': "default-src 'none'; frame-ancestors 'none'" } as const

const SAFE_METHODS = new Set(['GET', 'HEAD', 'OPTIONS', 'TRACE'])

/** Puts the headers of every answer into this one. */
export function markAnswer({ id }: FastifyRequest, reply: FastifyReply): void {
  void reply.header('x-request-id', id).headers(ANSWER_HEADERS)
}

/**
 * What every request passes before anything else is done for it, whatever it asks for. One hook and not several, since each
 * costs some of the throughput; what it does is bounded and small.
 */
export class Gate {
  readonly #origins: ReadonlySet<string> | undefined
  readonly #rateLimit: RateLimit | undefined
  /** Requests of a connection that wait behind another one. */
  readonly #pipelined = new WeakMap<Socket, number>()
  /** Connections that end with an answer that is under way. */
  readonly #ending = new WeakSet<Socket>()

  constructor({ corsOrigins, rateLimit }: GateOptions) {
    this.#origins = corsOrigins === undefined ? undefined : new Set(corsOrigins)
    this.#rateLimit = rateLimit
  }

  readonly hook: onRequestHookHandler = (request, reply, done) => {
    const refusal = this.pass(request, reply)
    if (refusal === 'ignore') reply.hijack()
    else done(refusal)
  }

  /** @returns undefined for a request that may go on, `ignore` for one that is not to be answered, or why it is refused. */
  pass(request: FastifyRequest, reply: FastifyReply): Error | 'ignore' | undefined {
    markAnswer(request, reply)
    // Node.js gives the answer to a request its socket when the answers before it are sent.
    const crowded = reply.raw.socket === null ? this.#queue(request.raw.socket, reply) : undefined
    return crowded ?? this.#rateLimit?.count(request, reply) ?? refusalForHost(request.raw, reply) ?? this.#refusalForSite(request)
  }

  /** Answers that nobody reads stay in memory, so that a connection may only be owed so many. */
  #queue(socket: Socket, reply: FastifyReply): Error | 'ignore' | undefined {
    if (this.#ending.has(socket)) return 'ignore'
    const before = this.#pipelined.get(socket) ?? 0
    if (before >= MAX_PIPELINED) {
      this.#ending.add(socket)
      void reply.header('connection', 'close')
      return new LockError('TOO_MANY_REQUESTS', {
        detail: `More than ${MAX_PIPELINED} requests wait for an answer on this connection; nothing was changed`
      })
    }
    this.#pipelined.set(socket, before + 1)
    reply.raw.once('finish', () => this.#pipelined.set(socket, (this.#pipelined.get(socket) ?? 1) - 1))
    return undefined
  }

  /**
   * A page of another site can send a request that changes something without being able to read the answer, and a service
   * without keys, or one that only this machine reaches, would do what it says. Browsers tell where a request comes from
   * (W3C Fetch Metadata), over plain http at least by `Origin` (WHATWG Fetch, section 3.2).
   */
  #refusalForSite(request: FastifyRequest): Error | undefined {
    const { method, headers } = request
    if (SAFE_METHODS.has(method)) return undefined
    const { origin } = headers
    const site = headers['sec-fetch-site']
    if (origin === undefined && site === undefined) return undefined
    if (site === 'same-origin' || site === 'none') return undefined
    if (site === undefined && isOwn(origin, request.host)) return undefined
    if (this.#origins === undefined) {
      if (request.routeOptions.config.anyOrigin === true) return undefined
    } else if (this.#origins.has('*') || (origin !== undefined && this.#origins.has(origin))) return undefined
    return new RefusalError('CROSS_SITE', 'A page of another site may not change anything here; an operator may add its origin to CORS_ORIGIN')
  }
}

function isOwn(origin: string | undefined, host: string): boolean {
  return origin !== undefined && /^https?:\/\//.test(origin) && origin.slice(origin.indexOf('//') + 2) === host.toLowerCase()
}

/** Two programs that take different ones of two hosts disagree about who was asked (RFC 9112, section 3.2). */
function refusalForHost({ rawHeaders, headers, httpVersionMinor }: IncomingMessage, reply: FastifyReply): Error | undefined {
  let hosts = 0
  for (let at = 0; at < rawHeaders.length; at += 2) {
    const name = rawHeaders[at]
    if (name?.length === 4 && (name === 'Host' || name.toLowerCase() === 'host')) hosts += 1
  }
  if (hosts === 1 || (hosts === 0 && (httpVersionMinor === 0 || headers.host !== undefined))) return undefined
  void reply.header('connection', 'close')
  return new RefusalError('BAD_REQUEST', 'The request needs one Host header')
}

const WINDOW_MS = 1000

/** Monitoring must reach the service at any time, above all under load. */
const UNLIMITED = new Set(['/health', '/livez', '/readyz', '/metrics'])

/** Counts the requests of each caller in the present second, whatever they are answered: guessing keys and paths counts too. */
export class RateLimit {
  readonly #perSecond: number
  readonly #callerOf: (request: FastifyRequest) => string
  readonly #counts = new Map<string, number>()
  #since = 0

  /** @param perSecond requests that each caller may send within a second. */
  constructor(perSecond: number, callerOf: (request: FastifyRequest) => string) {
    this.#perSecond = perSecond
    this.#callerOf = callerOf
  }

  /** @returns why a request that is one too many is refused. */
  count(request: FastifyRequest, reply: FastifyReply): LockError | undefined {
    if (UNLIMITED.has(request.routeOptions.url ?? '')) return undefined
    const now = Date.now()
    if (now < this.#since || now >= this.#since + WINDOW_MS) {
      this.#counts.clear()
      this.#since = now
    }
    const caller = this.#callerOf(request)
    const count = (this.#counts.get(caller) ?? 0) + 1
    this.#counts.set(caller, count)
    const seconds = Math.ceil((this.#since + WINDOW_MS - now) / 1000)
    void reply
      .header('x-ratelimit-limit', this.#perSecond)
      .header('x-ratelimit-remaining', Math.max(0, this.#perSecond - count))
      .header('x-ratelimit-reset', seconds)
    if (count <= this.#perSecond) return undefined
    void reply.header('retry-after', seconds)
    return new LockError('TOO_MANY_REQUESTS', { detail: `More than ${this.#perSecond} requests within a second; nothing was changed` })
  }
}

/** A page that asks for this is answered with a path that no route can have; see {@link knownHosts}. */
export const UNKNOWN_HOST_PATH = '/%'

const MOST_REMEMBERED = 100

/**
 * Tells the hosts by which this service may be asked, so that a page in a browser cannot reach it under a name of its own
 * that leads to this machine (DNS rebinding). An address and `localhost` are always known: nobody else can own those. A
 * request without a host comes from no browser.
 *
 * @param names further names that are known; upper and lower case are the same.
 * @returns what decides about the text of a Host header; it costs a look into a set.
 */
export function knownHosts(names: readonly string[]): (header: string | undefined) => boolean {
  const known = new Set(names.map((name) => name.toLowerCase()))
  const remembered = new Set<string | undefined>([undefined])
  return (header) => {
    if (remembered.has(header)) return true
    if (header === undefined || !isKnown(header, known)) return false
    if (remembered.size < MOST_REMEMBERED) remembered.add(header)
    return true
  }
}

function isKnown(header: string, known: ReadonlySet<string>): boolean {
  const [, bracketed, plain] = /^(?:\[(.*)\]|([^:]*))(?::\d*)?$/.exec(header) ?? []
  if (bracketed !== undefined) return isIP(bracketed) === 6
  const name = plain?.toLowerCase().replace(/\.$/, '') ?? ''
  return isIP(name) === 4 || name === 'localhost' || name.endsWith('.localhost') || known.has(name)
}

const WELL_FORMED = /^[A-Za-z0-9._~:/+=-]{1,128}$/

/** No two processes share it. */
const OURS = `req-${randomBytes(6).toString('hex')}-`
let last = 0

function newRequestId(): string {
  last += 1
  return OURS + last.toString(36)
}

/** The caller's `x-request-id` where it sent one of 1 to 128 letters, digits and `._~:/+=-`, else one of ours. */
export function requestIdOf({ headers }: Pick<IncomingMessage, 'headers'>): string {
  const sent = headers['x-request-id']
  return typeof sent === 'string' && WELL_FORMED.test(sent) ? sent : newRequestId()
}

/**
 * Answers bytes that are no HTTP request, or not one in time: no route has been reached, only the socket is there. The
 * connection ends with it, since nobody can say where a next request would begin.
 */
export function answerClientError(error: Error & { code?: string }, socket: Socket): void {
  // The client has gone.
  if (error.code === 'ECONNRESET' || socket.destroyed) return
  if (socket.writable) socket.write(answerTo(error.code))
  socket.destroy(error)
}

/** Answers a request that expects something other than `100-continue`, which Node.js keeps from all routes. */
export function answerExpectation(request: IncomingMessage, response: ServerResponse): void {
  const status = STATUS_OF.EXPECTATION_FAILED
  const body = JSON.stringify({ detail: 'No expectation but 100-continue can be met', code: 'EXPECTATION_FAILED' })
  response.writeHead(status, { ...ANSWER_HEADERS, 'x-request-id': requestIdOf(request), 'content-type': JSON_TYPE, 'content-length': Buffer.byteLength(body), connection: 'close' }).end(body)
}

function answerTo(fault: string | undefined): string {
  switch (fault) {
    case 'ERR_HTTP_REQUEST_TIMEOUT':
      return response('REQUEST_TIMEOUT', 'The request took too long to arrive')
    case 'HPE_HEADER_OVERFLOW':
      return response('HEADERS_TOO_LARGE', 'The headers are larger than 16 KiB')
    case undefined:
    default:
      return response('BAD_REQUEST', 'The request is not valid HTTP')
  }
}

function response(code: ErrorCode, detail: string): string {
  const status = STATUS_OF[code]
  const body = JSON.stringify({ detail, code })
  return [
    `HTTP/1.1 ${status} ${STATUS_CODES[status]}`,
    ...Object.entries({ ...ANSWER_HEADERS, 'x-request-id': newRequestId(), 'content-type': JSON_TYPE }).map(([name, value]) => `${name}: ${value}`),
    `content-length: ${Buffer.byteLength(body)}`,
    'connection: close',
    '',
    body
  ].join('\r\n')
}
