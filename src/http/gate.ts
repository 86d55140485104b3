import type { IncomingMessage } from 'node:http'
import type { Socket } from 'node:net'
import type { FastifyReply, FastifyRequest, onRequestHookHandler } from 'fastify'
import { LockError } from '../locks/errors.js'
import { RefusalError } from './errors.js'
import type { RateLimit } from './rate-limit.js'

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
export const ANSWER_HEADERS = { 'x-content-type-options': 'nosniff', 'content-security-policy': "default-src 'none'; frame-ancestors 'none'" } as const

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
