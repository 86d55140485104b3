import { fetchInBackground, reasonOf } from '#platform'
import type { Grant, NotHeld } from './answers.js'
import { onAbort, sleep, type Clock } from './clock.js'
import { LockRequestError, LockServiceUnavailableError } from './errors.js'

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

/** A JSON object. */
export type Json = Readonly<Record<string, unknown>>

export interface Answer {
  readonly status: number
  /** In camelCase, with its times as dates. */
  readonly body: Json
}

/** After these nothing was changed, whatever the call asked for. */
const NOTHING_CHANGED = new Set(['STORAGE_UNAVAILABLE', 'STORAGE_FULL', 'OVERLOADED', 'DRAINING', 'TOO_MANY_REQUESTS'])

/** One HTTP call and what came of it: an answer, or one of two errors. */
export class Transport {
  readonly #base: string
  readonly #apiKey: string | undefined
  readonly #fetch: typeof globalThis.fetch | undefined
  readonly #options: RetryOptions

  /**
   * @param url of the service; a path in it is kept.
   * @param fetch the platform's own if left out.
   */
  constructor(url: string, apiKey: string | undefined, fetch: typeof globalThis.fetch | undefined, options: RetryOptions) {
    this.#base = new URL(url.replace(/\/?$/, '/')).href
    this.#apiKey = apiKey
    this.#fetch = fetch
    this.#options = options
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
    // What cannot be written as JSON is the caller's fault, and not the service's.
    const text = call.body && JSON.stringify(toWire(call.body))
    return this.#within(call, async (signal) => {
      const response = await this.#open(call, signal, text)
      return { response, body: await read(response) }
    })
  }

  /** Sends one call and resolves, in the usual time, when its answer begins; the signal also ends that. */
  stream(call: Call & { readonly signal: AbortSignal }): Promise<Response> {
    return this.#within(call, () => this.#open(call, call.signal))
  }

  /** Separates ordinary answers from errors. An answer that is not in the service's form did not come from the service. */
  judge(response: Response, body: Json): Answer {
    const { status, headers } = response
    const code = typeof body['code'] === 'string' ? body['code'] : undefined
    // Done, not held, held by another process.
    if ((status === 200 || status === 404 || status === 409) && (code || 'data' in body)) return { status, body }
    if (response.type === 'opaqueredirect' || (status >= 300 && status < 400)) {
      const to = headers.get('location')
      throw new LockRequestError(status, 'REDIRECTED', `${this.#base} redirects${to ? ` to ${to}` : ''}`)
    }
    if (!code || status >= 500 || status === 429 || status === 408) {
      throw new LockServiceUnavailableError(`The lock service answered ${[status, code].join(' ').trim()}`, {
        code,
        status,
        outcomeUnknown: !code || !NOTHING_CHANGED.has(code),
        detail: body['detail'],
        // Not a number, as a date is none, counts as 0.
        retryAfterMs: Number(headers.get('retry-after')) * 1000 || undefined
      })
    }
    throw new LockRequestError(status, code, body['detail'])
  }

  /** That the service did not answer, and why. */
  unreachable(cause: unknown): LockServiceUnavailableError {
    return new LockServiceUnavailableError(`The lock service at ${this.#base} did not answer: ${reasonOf(cause)}`, { outcomeUnknown: true, cause })
  }

  async #within<Result>({ signal, timeoutMs = this.#options.timeoutMs }: Call, work: (signal: AbortSignal) => Promise<Result>): Promise<Result> {
    signal?.throwIfAborted()
    const ending = new AbortController()
    const late = new Error(`nothing came within ${Math.round(timeoutMs)} ms`)
    // Also where a `fetch` ignores its signal.
    const ended = new Promise<never>((_resolve, reject) => onAbort(ending.signal, () => reject(late)))
    const end = (): void => ending.abort(late)
    const cancel = this.#options.clock.schedule(timeoutMs, end, true)
    const forget = onAbort(signal, end)
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

  #open({ method, path, query = {}, headers, keepalive = false, background }: Call, signal: AbortSignal, body?: string): Promise<Response> {
    const url = new URL(path, this.#base)
    for (const [name, value] of Object.entries(toWire(query))) if (value !== undefined) url.searchParams.set(name, String(value))
    const init = {
      method,
      headers: {
        ...headers,
        ...(this.#apiKey !== undefined && { authorization: `Bearer ${this.#apiKey}` }),
        ...(body !== undefined && { 'content-type': 'application/json' })
      },
      ...(body !== undefined && { body }),
      signal,
      keepalive,
      // A redirected POST would arrive as a GET.
      redirect: 'manual' as const
    }
    const fetch = this.#fetch ?? (background ? fetchInBackground : globalThis.fetch)
    return fetch(url, init)
  }
}

/** The body of an answer; an empty object where it is not a JSON object. */
export async function read(response: Response): Promise<Json> {
  const text = await response.text()
  try {
    return Object(fromWire(JSON.parse(text))) as Json
  } catch {
    return {}
  }
}

function renamed(value: unknown, rename: (name: string) => string): unknown {
  if (Array.isArray(value)) return value.map((one) => renamed(one, rename))
  if (Object(value) !== value) return value
  return Object.fromEntries(
    Object.entries(value as Json).map(([name, field]) => [
      rename(name),
      // What these contain keeps its names: somebody else gave them.
      name === 'metadata' || name === 'detail' ? field : typeof field === 'string' && /(^|_)(at|since|until|as_of)$/.test(name) ? new Date(field) : renamed(field, rename)
    ])
  )
}

/** What the service wrote, in camelCase, with its times as dates. Its contract says what each field is; extensions only add. */
export function fromWire(value: unknown): unknown {
  return renamed(value, (name) => name.replaceAll(/_(.)/g, (_match, letter: string) => letter.toUpperCase()))
}

/** What the client says, in snake_case. */
function toWire(value: object): object {
  return renamed(value, (name) => name.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)) as object
}

/**
 * What the service answers to a call that succeeds.
 *
 * @throws LockRequestError for an answer that the call has no result for.
 */
// oxlint-disable-next-line no-unnecessary-type-parameters -- it saves each caller a cast
export function resultOf<Result>({ status, body }: Answer): Result {
  if (status !== 200) throw new LockRequestError(status, String(body['code']), body['detail'])
  return body['data'] as Result
}

/** A service leaves out what a lock does not have. */
export function grantOf(grant: Omit<Grant, 'metadata'>): Grant {
  return { metadata: null, ...grant }
}

/** Only its code tells a 404 about the lock from one that says that there is no such call, or no such service. */
export function notHeldOf(answer: Answer): NotHeld {
  const { code, reason } = answer.body
  if (code !== 'LOCK_NOT_HELD') resultOf(answer)
  return { kind: 'not-held', reason: reason as NotHeld['reason'] }
}

/** The first pause after a failure; each further one is twice as long, up to the longest. */
const FIRST_PAUSE_MS = 50
const LONGEST_PAUSE_MS = 2000

export interface RetryOptions {
  readonly clock: Clock
  /** 0 to 1, to spread callers that failed together. */
  readonly random: () => number
  /** For how long the service may be unavailable before a call gives up. */
  readonly retryMs: number
  /** How long one try may take. */
  readonly timeoutMs: number
}

/** Counts how long the service has been away, and pauses between the tries: together they take no longer than the longer of both times. */
export class Backoff {
  readonly #options: RetryOptions
  #failures = 0
  #triedAt = 0
  #awaySince: number | undefined

  constructor(options: RetryOptions) {
    this.#options = options
  }

  /** Begins a try; the result is how long it may take. */
  begin(): number {
    const { clock, retryMs, timeoutMs } = this.#options
    this.#triedAt = clock.now()
    return this.#awaySince === undefined ? timeoutMs : Math.max(1, Math.min(timeoutMs, this.#awaySince + retryMs - this.#triedAt))
  }

  /**
   * Resolves to the error when it is time to try again.
   *
   * @param onRetry called before the pause, if there will be another try.
   * @throws the error itself when it says nothing about the service's health, or when the service has been away for too long.
   * @throws the signal's reason when it fires.
   */
  async pauseAfter(error: unknown, signal: AbortSignal | undefined, onRetry?: (error: unknown) => void): Promise<LockServiceUnavailableError> {
    if (!(error instanceof LockServiceUnavailableError)) throw error
    const { clock, random, retryMs } = this.#options
    this.#awaySince ??= this.#triedAt
    const pauseMs = Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** this.#failures) * (0.5 + random() / 2)
    const waitMs = Math.max(pauseMs, error.retryAfterMs ?? 0)
    if (clock.now() + waitMs - this.#awaySince >= retryMs) throw error
    this.#failures += 1
    onRetry?.(error)
    await sleep(clock, waitMs, signal)
    return error
  }
}

/** Tries until the service answers, for at most `retryMs`. For calls that may be made twice; each try learns why the one before failed. */
export async function retrying<Result>(
  attempt: (timeoutMs: number, failure?: LockServiceUnavailableError) => Promise<Result>,
  options: RetryOptions,
  signal?: AbortSignal,
  backoff = new Backoff(options)
): Promise<Result> {
  let failure: LockServiceUnavailableError | undefined
  for (;;) {
    try {
      return await attempt(backoff.begin(), failure)
    } catch (error) {
      failure = await backoff.pauseAfter(error, signal)
    }
  }
}
