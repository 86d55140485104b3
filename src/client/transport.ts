import type { Clock } from './clock.js'
import { LockRequestError, LockServiceUnavailableError } from './errors.js'
import type { Json } from './wire.js'

export interface TransportOptions {
  /** Where the service is; a path in it is kept. */
  readonly url: string
  readonly apiKey: string | undefined
  readonly fetch: typeof globalThis.fetch
  readonly clock: Clock
  /** How long one call may take beside what it waits in line. */
  readonly timeoutMs: number
}

export interface Call {
  readonly method: 'GET' | 'POST' | 'DELETE'
  /** Below the service's URL, without a slash in front. */
  readonly path: string
  readonly query?: Readonly<Record<string, string | number | undefined>>
  readonly body?: object
  readonly headers?: Readonly<Record<string, string>>
  readonly signal?: AbortSignal | undefined
  /** Instead of the usual time. */
  readonly timeoutMs?: number
  /** True for a call that has to outlive the page that makes it. */
  readonly keepalive?: boolean
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

  /** @throws TypeError when the URL is none. */
  constructor(options: TransportOptions) {
    this.#options = options
    this.#base = new URL(options.url.endsWith('/') ? options.url : `${options.url}/`).href
  }

  /**
   * Sends one call, once.
   *
   * @throws LockServiceUnavailableError when no answer came in time, or one that says that the service cannot work.
   * @throws LockRequestError for every other refusal but 404 and 409.
   * @throws the signal's reason when it fires.
   */
  async call(call: Call): Promise<Answer> {
    const { signal, timeoutMs = this.#options.timeoutMs } = call
    signal?.throwIfAborted()
    const ending = new AbortController()
    const stop = (): void => ending.abort(signal?.reason)
    const late = new Error(`no answer within ${timeoutMs} ms`)
    const cancel = this.#options.clock.schedule(timeoutMs, () => ending.abort(late), true)
    signal?.addEventListener('abort', stop)
    try {
      const response = await this.open({ ...call, signal: ending.signal })
      return judge(response, await read(response))
    } catch (error) {
      signal?.throwIfAborted()
      throw error === late || !isOwn(error) ? this.#unreachable(error) : error
    } finally {
      cancel()
      signal?.removeEventListener('abort', stop)
    }
  }

  /** Sends one call and resolves as soon as the answer begins, whatever it is; rejects as `fetch` does. */
  open({ method, path, query = {}, body, headers = {}, signal, keepalive = false }: Call): Promise<Response> {
    const { apiKey, fetch } = this.#options
    const url = new URL(path, this.#base)
    for (const [name, value] of Object.entries(query)) if (value !== undefined) url.searchParams.set(name, String(value))
    return fetch(url, {
      method,
      headers: {
        ...headers,
        ...(apiKey === undefined ? {} : { authorization: `Bearer ${apiKey}` }),
        ...(body === undefined ? {} : { 'content-type': 'application/json' })
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      ...(signal === undefined ? {} : { signal }),
      keepalive
    })
  }

  #unreachable(cause: unknown): LockServiceUnavailableError {
    return new LockServiceUnavailableError(`The lock service at ${this.#base} did not answer`, { outcomeUnknown: true, cause })
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

/** Tells the ordinary answers from the errors. Whatever does not speak like the service is not the service. */
export function judge(response: Response, body: Json): Answer {
  const { status } = response
  const code = typeof body['code'] === 'string' ? body['code'] : undefined
  if (ORDINARY.has(status) && (code !== undefined || 'data' in body)) return { status, body }
  if (status >= 500 || status === 429 || status === 408 || code === undefined) {
    throw new LockServiceUnavailableError(`The lock service answered ${status}${code === undefined ? '' : ` ${code}`}`, {
      code,
      status,
      outcomeUnknown: code === undefined || !NOTHING_CHANGED.has(code),
      retryAfterMs: retryAfterOf(response)
    })
  }
  throw new LockRequestError(status, code, body['detail'])
}

function isOwn(error: unknown): boolean {
  return error instanceof LockServiceUnavailableError || error instanceof LockRequestError
}

function retryAfterOf(response: Response): number | undefined {
  const seconds = Number(response.headers.get('retry-after') ?? Number.NaN)
  return Number.isFinite(seconds) ? seconds * 1000 : undefined
}
