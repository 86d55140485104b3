import { fetchInBackground } from '#platform'
import { onAbort, type Clock } from './clock.js'
import { LockRequestError, LockServiceUnavailableError } from './errors.js'
import type { Conflict, Grant } from './types.js'

export interface TransportOptions {
  /** Where the service is; a path in it is kept. */
  readonly url: string
  readonly apiKey: string | undefined
  /** The platform's own if left out. */
  readonly fetch: typeof globalThis.fetch | undefined
  readonly clock: Clock
  /** How long one call may take beside its wait in the queue. */
  readonly timeoutMs: number
}

export interface Call {
  readonly method: 'GET' | 'POST' | 'DELETE'
  /** Below the service's URL, without a slash in front. */
  readonly path: string
  /** In camelCase, as the body. */
  readonly query?: object
  readonly body?: object
  readonly headers?: Readonly<Record<string, string>>
  readonly signal?: AbortSignal | undefined
  /** Instead of the usual time. */
  readonly timeoutMs?: number | undefined
  /** True for a call that has to outlive the page that makes it. */
  readonly keepalive?: boolean | undefined
  /** True for a stream that must not keep a process alive that has nothing else to do. */
  readonly background?: boolean | undefined
}

export interface Answer {
  readonly status: number
  readonly body: Json
}

/** Ordinary answers of a lock service: done, not held, held by somebody else. */
const ORDINARY = new Set([200, 404, 409])

/** After these nothing was changed, whatever the call asked for. */
const NOTHING_CHANGED = new Set(['STORAGE_UNAVAILABLE', 'STORAGE_FULL', 'OVERLOADED', 'DRAINING', 'TOO_MANY_REQUESTS'])

/** One HTTP call and what came of it: an answer, or one of two errors. */
export class Transport {
  readonly #options: TransportOptions
  readonly #base: string

  constructor(options: TransportOptions) {
    this.#options = options
    this.#base = new URL(options.url.endsWith('/') ? options.url : `${options.url}/`).href
  }

  /**
   * Sends one call, once.
   *
   * @throws LockServiceUnavailableError when no answer came in time, or one that says that the service cannot work.
   * @throws LockRequestError for every other refusal but 404 and 409.
   * @throws TypeError when the body cannot be written as JSON.
   * @throws the signal's reason when it fires.
   */
  async call(call: Call): Promise<Answer> {
    const { response, body } = await this.send(call)
    return this.judge(response, body)
  }

  /** {@link call} that takes every answer as it is. */
  async send(call: Call): Promise<{ readonly response: Response; readonly body: Json }> {
    // A body that cannot be written as JSON is the caller's error.
    const text = call.body === undefined ? undefined : JSON.stringify(toWire(call.body))
    return this.#within(call, async (signal) => {
      const response = await this.#open(call, signal, text)
      return { response, body: await read(response) }
    })
  }

  /** Sends one call and resolves, in the usual time, when its answer begins; the signal also ends that. */
  async stream(call: Call & { readonly signal: AbortSignal }): Promise<Response> {
    return this.#within(call, () => this.#open(call, call.signal))
  }

  /** Separates ordinary replies from errors. A reply that lacks the service's form does not come from the service. */
  judge(response: Response, body: Json): Answer {
    const { status } = response
    const code = typeof body['code'] === 'string' ? body['code'] : undefined
    if (ORDINARY.has(status) && (code !== undefined || 'data' in body)) return { status, body }
    if (response.type === 'opaqueredirect' || (status >= 300 && status < 400)) {
      const to = response.headers.get('location')
      throw new LockRequestError(status, 'REDIRECTED', `${this.#base} redirects${to === null ? '' : ` to ${to}`}; the url has to be that of the service itself`)
    }
    if (status >= 500 || status === 429 || status === 408 || code === undefined) {
      throw new LockServiceUnavailableError(`The lock service answered ${status}${code === undefined ? '' : ` ${code}`}`, {
        code,
        status,
        outcomeUnknown: code === undefined || !NOTHING_CHANGED.has(code),
        detail: body['detail'],
        retryAfterMs: retryAfterOf(response)
      })
    }
    throw new LockRequestError(status, code, body['detail'])
  }

  /** That the service did not answer, and why. */
  unreachable(cause: unknown): LockServiceUnavailableError {
    return new LockServiceUnavailableError(`The lock service at ${this.#base} did not answer: ${whyOf(cause)}`, { outcomeUnknown: true, cause })
  }

  async #within<Result>({ signal, timeoutMs = this.#options.timeoutMs }: Call, work: (signal: AbortSignal) => Promise<Result>): Promise<Result> {
    signal?.throwIfAborted()
    const ending = new AbortController()
    const late = new Error(`nothing came within ${Math.round(timeoutMs)} ms`)
    // Also where a `fetch` takes no notice of its signal.
    const ended = new Promise<never>((_resolve, reject) => {
      ending.signal.addEventListener('abort', () => reject(late))
    })
    const cancel = this.#options.clock.schedule(timeoutMs, () => ending.abort(late), true)
    const forget = onAbort(signal, () => ending.abort(signal?.reason))
    try {
      return await Promise.race([work(ending.signal), ended])
    } catch (error) {
      signal?.throwIfAborted()
      throw this.unreachable(ending.signal.aborted ? late : error)
    } finally {
      cancel()
      forget()
    }
  }

  #open({ method, path, query = {}, headers = {}, keepalive = false, background = false }: Call, signal: AbortSignal, body?: string): Promise<Response> {
    const { apiKey } = this.#options
    const url = new URL(path, this.#base)
    for (const [name, value] of Object.entries(toWire(query))) if (value !== undefined) url.searchParams.set(name, String(value))
    const init = {
      method,
      headers: {
        ...headers,
        ...(apiKey !== undefined && { authorization: `Bearer ${apiKey}` }),
        ...(body !== undefined && { 'content-type': 'application/json' })
      },
      ...(body !== undefined && { body }),
      signal,
      keepalive,
      // A redirected POST would arrive as a GET.
      redirect: 'manual' as const
    }
    const fetch = this.#options.fetch ?? (background ? fetchInBackground : globalThis.fetch)
    return fetch(url, init)
  }
}

/** The body of an answer; an empty object where it is no JSON object. */
export async function read(response: Response): Promise<Json> {
  const text = await response.text()
  try {
    const body: unknown = JSON.parse(text)
    return typeof body === 'object' && body !== null ? (body as Json) : {}
  } catch {
    return {}
  }
}

/** The network's own error is the innermost cause of what `fetch` throws. */
function whyOf(cause: unknown): string {
  let deepest = cause
  while (deepest instanceof Error && deepest.cause !== undefined) deepest = deepest.cause
  if (!(deepest instanceof Error)) return String(deepest)
  const code = 'code' in deepest && typeof deepest.code === 'string' ? deepest.code : ''
  const why = /REFUSED/.test(code)
    ? 'nothing listens there'
    : /ENOTFOUND|EAI_/.test(code)
      ? 'its name is unknown'
      : /CERT|SIGNED|VERIFY|ALTNAME/.test(code)
        ? 'its certificate is not trusted'
        : deepest.message
  return code === '' || why.includes(code) ? why : `${why} (${code})`
}

function retryAfterOf(response: Response): number | undefined {
  const seconds = Number(response.headers.get('retry-after') ?? Number.NaN)
  return Number.isFinite(seconds) ? seconds * 1000 : undefined
}

/** A JSON object as the service writes it, in snake_case. */
export type Json = Readonly<Record<string, unknown>>

/**
 * What the service wrote, in camelCase, with its times as dates. Its answers are taken at their word: its contract says what
 * each field is, and extensions only add.
 */
// oxlint-disable-next-line no-unnecessary-type-parameters -- it saves each caller a cast
export function fromWire<Type>(value: unknown): Type {
  if (Array.isArray(value)) return value.map(fromWire) as Type
  if (typeof value !== 'object' || value === null) return value as Type
  return Object.fromEntries(
    Object.entries(value).map(([name, field]) => [
      name.replaceAll(/_(.)/g, (_match, letter: string) => letter.toUpperCase()),
      // What a holder put into its metadata is its own.
      name === 'metadata' ? field : /(?:^|_)(?:at|since|until|as_of)$/.test(name) && typeof field === 'string' ? new Date(field) : fromWire(field)
    ])
  ) as Type
}

/** What the client says, in snake_case. */
export function toWire<Value>(value: Value): Value {
  if (Array.isArray(value)) return value.map(toWire) as Value
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(
    Object.entries(value).map(([name, field]) => [
      name.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`),
      name === 'metadata' ? (field as unknown) : toWire(field as unknown)
    ])
  ) as Value
}

export function grantOf(json: Json): Grant {
  return { metadata: null, ...fromWire<Omit<Grant, 'metadata'>>(json) }
}

export function conflictOf(json: Json): Conflict {
  const { detail: _detail, code: _code, ...conflict } = json
  return { queuePosition: null, ...fromWire<Omit<Conflict, 'queuePosition'>>(conflict) }
}
