import { LockRequestError, LockServiceUnavailableError } from './errors.js'
import { retrying, type RetryOptions } from './retry.js'
import { read, type Answer, type Call, type Transport } from './transport.js'
import type { ForceReleaseOutcome, Health, HistoryPage, HistoryQuery, ListQuery, LockPage, ReleaseOutcome, RenewOutcome, Stats, Status } from './types.js'
import { dateOf, grantOf, historyPageOf, lockPageOf, notHeldOf, statsOf, statusOf, type Json } from './wire.js'

/** A lock by its names; with a lock id, exactly that grant and no later one. */
export interface NamedLock {
  readonly resourceName: string
  readonly processId: string
  readonly lockId?: number | undefined
}

export interface CallOptions {
  readonly signal?: AbortSignal | undefined
}

/**
 * The calls of the service that can be repeated without harm, one method each. What a call finds is its result; it rejects
 * with a LockServiceUnavailableError when the service stays away, with a LockRequestError when the call itself is refused,
 * and with the signal's reason when that fires.
 */
export class LockCalls {
  readonly #transport: Transport
  readonly #retrying: RetryOptions

  constructor(transport: Transport, retrying: RetryOptions) {
    this.#transport = transport
    this.#retrying = retrying
  }

  /** Ends a lock of a process. */
  async release(lock: NamedLock, options: CallOptions & { readonly keepalive?: boolean } = {}): Promise<ReleaseOutcome> {
    const { resourceName: resource_name, processId: process_id, lockId: lock_id } = lock
    let repeated = false
    const attempt = (): Promise<Answer> =>
      this.#transport
        .call({ ...options, method: 'DELETE', path: 'locks/release', query: { resource_name, process_id, lock_id } })
        .catch((error: unknown) => {
          repeated ||= error instanceof LockServiceUnavailableError && error.outcomeUnknown
          throw error
        })
    const { status, body } = await retrying(attempt, this.#retrying, options.signal)
    return status === 404 ? { ...notHeld(status, body), repeated } : { kind: 'released', releasedAt: dateOf(dataOf(body)['released_at']) }
  }

  /** @param ttlSeconds from now, null for no end; left out, the lease with which the lock was granted. */
  async renew(lock: NamedLock, ttlSeconds?: number | null, options: CallOptions = {}): Promise<RenewOutcome> {
    return retrying(() => this.renewOnce(lock, ttlSeconds, options), this.#retrying, options.signal)
  }

  /** {@link renew} without a second try, for who keeps the time itself. */
  async renewOnce(lock: NamedLock, ttlSeconds?: number | null, options: CallOptions & { readonly timeoutMs?: number } = {}): Promise<RenewOutcome> {
    const { resourceName: resource_name, processId: process_id, lockId: lock_id } = lock
    const body = { resource_name, process_id, lock_id, ttl_seconds: ttlSeconds }
    const answer = await this.#transport.call({ ...options, method: 'POST', path: 'locks/renew', body })
    if (answer.status === 404) return notHeld(answer.status, answer.body)
    const data = dataOf(answer.body)
    return { kind: 'renewed', grant: grantOf(data), renewedAt: dateOf(data['renewed_at']) }
  }

  /** Who holds a resource, and how many wait for it. */
  async status(resourceName: string, options: CallOptions = {}): Promise<Status> {
    return statusOf(await this.#get('locks/status', { resource_name: resourceName }, options))
  }

  /** One page of the valid locks. */
  async list({ prefix, processId, limit, cursor }: ListQuery = {}, options: CallOptions = {}): Promise<LockPage> {
    return lockPageOf(await this.#get('locks/all-locked', { prefix, process_id: processId, limit, cursor }, options))
  }

  /** One page of what happened. */
  async history({ resourceName, processId, limit, cursor }: HistoryQuery = {}, options: CallOptions = {}): Promise<HistoryPage> {
    return historyPageOf(await this.#get('locks/history', { resource_name: resourceName, process_id: processId, limit, cursor }, options))
  }

  /** The figures of the service. */
  async stats(options: CallOptions = {}): Promise<Stats> {
    return statsOf(await this.#get('locks/stats', {}, options))
  }

  /**
   * Takes a lock away from whoever holds it.
   *
   * @param reason for the history: 1 to 500 characters.
   * @param options `lockId`: only if that is still the valid grant. Left out, the call is made once, whatever comes of it.
   */
  async forceRelease(resourceName: string, reason: string, options: CallOptions & { readonly lockId?: number | undefined } = {}): Promise<ForceReleaseOutcome> {
    const { lockId: lock_id, signal } = options
    const body = { resource_name: resourceName, reason, lock_id }
    const call = { method: 'POST', path: 'locks/force-release', body, signal } as const
    // Without a number, a repetition might take away the lock of whoever came next.
    const answer = await (lock_id === undefined ? this.#transport.call(call) : this.#repeat(call))
    if (answer.status === 409) return { kind: 'changed' }
    if (answer.status === 404) return notHeld(answer.status, answer.body)
    const data = dataOf(answer.body)
    return { kind: 'released', grant: grantOf(data), releasedAt: dateOf(data['released_at']) }
  }

  /** Whether the service can work, asked once. Rejects as `fetch` does when nothing answers. */
  async health({ signal }: CallOptions = {}): Promise<Health> {
    const response = await this.#transport.open({ method: 'GET', path: 'health', signal })
    const body = await read(response)
    return { healthy: response.status === 200 && body['status'] === 'healthy', service: String(body['service']), database: String(body['database']) }
  }

  async #get(path: string, query: Call['query'] & object, { signal }: CallOptions): Promise<Json> {
    const { status, body } = await this.#repeat({ method: 'GET', path, query, signal })
    if (status !== 200) throw refusalOf(status, body)
    return dataOf(body)
  }

  #repeat(call: Call): Promise<Answer> {
    return retrying(() => this.#transport.call(call), this.#retrying, call.signal)
  }
}

export function dataOf(body: Json): Json {
  return body['data'] as Json
}

/** A refusal that the call has no result for. */
export function refusalOf(status: number, body: Json): LockRequestError {
  return new LockRequestError(status, String(body['code']), body['detail'])
}

/** A 404 speaks of the lock only by its code; any other says that there is no such call, or no such service. */
function notHeld(status: number, body: Json): ReturnType<typeof notHeldOf> {
  if (body['code'] !== 'LOCK_NOT_HELD') throw refusalOf(status, body)
  return notHeldOf(body)
}
