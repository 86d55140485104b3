/** What the service refused, or, with status 0, that it could not be reached. */
export class ApiError extends Error {
  override readonly name = 'ApiError'
  readonly status: number
  readonly code: string

  constructor(status: number, code: string, detail: string) {
    super(detail)
    this.status = status
    this.code = code
  }
}

export interface ApiOptions {
  /** Where the service is, with a slash at the end. */
  readonly base: string
  /** The key to send, if there is one: asked for each time, since it may change. */
  readonly key: () => string | null
}

/** An answer that takes longer counts as none. */
const PATIENCE_MS = 15_000

/** Calls of the public API. A key travels in a header, never in an address. */
export class Api {
  readonly #options: ApiOptions

  constructor(options: ApiOptions) {
    this.#options = options
  }

  /** Resolves to the `data` of the answer. @throws ApiError for any answer but 200, and for none. */
  async get<Data>(path: string, query: Readonly<Record<string, string | number | undefined>> = {}, signal?: AbortSignal): Promise<Data> {
    const given = Object.entries(query).flatMap(([name, value]) => (value === undefined ? [] : [[name, String(value)]]))
    const search = given.length === 0 ? '' : `?${new URLSearchParams(given).toString()}`
    return await this.#read<Data>(await this.#send(path + search, {}, signal))
  }

  /** As {@link get}, with a body. */
  async post<Data>(path: string, body: object): Promise<Data> {
    const init = { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) }
    return await this.#read<Data>(await this.#send(path, init))
  }

  /** An answer that goes on until `signal` ends it. @throws ApiError for any answer but 200, and for none. */
  async stream(path: string, headers: Readonly<Record<string, string>>, signal: AbortSignal): Promise<ReadableStream<Uint8Array>> {
    const response = await this.#fetch(path, { headers }, signal)
    if (!response.ok || response.body === null) throw await refusal(response)
    return response.body
  }

  #send(path: string, init: RequestInit, signal?: AbortSignal): Promise<Response> {
    const patience = AbortSignal.timeout(PATIENCE_MS)
    return this.#fetch(path, init, signal === undefined ? patience : AbortSignal.any([signal, patience]))
  }

  async #fetch(path: string, init: RequestInit, signal: AbortSignal): Promise<Response> {
    const key = this.#options.key()
    const headers = new Headers(init.headers)
    if (key !== null) headers.set('authorization', `Bearer ${key}`)
    try {
      return await fetch(new URL(path, this.#options.base), { ...init, headers, signal, cache: 'no-store', credentials: 'omit' })
    } catch {
      throw unreachable()
    }
  }

  async #read<Data>(response: Response): Promise<Data> {
    if (!response.ok) throw await refusal(response)
    const body: unknown = await response.json().catch(() => undefined)
    if (typeof body !== 'object' || body === null || !('data' in body)) throw unreachable()
    return body.data as Data
  }
}

function unreachable(): ApiError {
  return new ApiError(0, 'UNREACHABLE', 'The service cannot be reached')
}

async function refusal(response: Response): Promise<ApiError> {
  const body: unknown = await response.json().catch(() => undefined)
  const { code, detail } = (typeof body === 'object' && body !== null ? body : {}) as { code?: unknown; detail?: unknown }
  return new ApiError(
    response.status,
    typeof code === 'string' ? code : 'UNKNOWN',
    typeof detail === 'string' ? detail : `The service answered ${response.status}`
  )
}
