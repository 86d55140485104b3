import { retrying, type RetryOptions } from './clock.js'
import { LockRequestError, LockServiceUnavailableError } from './errors.js'
import { fromWire, grantOf, type Answer, type Call, type Json, type Transport } from './transport.js'
import type {
  ForceReleaseOutcome,
  Grant,
  Health,
  HistoryPage,
  HistoryQuery,
  ListQuery,
  LockPage,
  NotHeld,
  Queue,
  ReleaseOutcome,
  RenewOutcome,
  Stats,
  Status
} from './types.js'

/** A lock by its names; with a lock id, exactly that grant and no later one. */
export interface NamedLock {
  readonly resourceName: string
  readonly processId: string
  readonly lockId?: number | undefined
}

/** A lock of a process, and for how long to renew it. */
export interface Renewal extends Omit<NamedLock, 'processId'> {
  /** From now, null for no end; left out, the lease with which the lock was granted. */
  readonly ttlSeconds?: number | null | undefined
}

export interface CallOptions {
  readonly signal?: AbortSignal | undefined
}

interface Once extends CallOptions {
  readonly timeoutMs?: number | undefined
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
    const { resourceName, processId, lockId } = lock
    let repeated = false
    const attempt = (timeoutMs: number): Promise<Answer> =>
      this.#transport
        .call({ ...options, timeoutMs, method: 'DELETE', path: 'locks/release', query: { resourceName, processId, lockId } })
        .catch((error: unknown) => {
          repeated ||= error instanceof LockServiceUnavailableError && error.outcomeUnknown
          throw error
        })
    const { status, body } = await retrying(attempt, this.#retrying, options.signal)
    if (status !== 404) return { kind: 'released', ...fromWire<{ releasedAt: Date }>(dataOf(body)) }
    return { ...notHeldOf(status, body), repeated, ...fromWire<{ releasedAt: Date | null | undefined }>({ released_at: body['released_at'] }) }
  }

  /** @param ttlSeconds from now, null for no end; left out, the lease with which the lock was granted. */
  async renew(lock: NamedLock, ttlSeconds?: number | null, options: CallOptions = {}): Promise<RenewOutcome> {
    return retrying((timeoutMs) => this.renewOnce(lock, ttlSeconds, { ...options, timeoutMs }), this.#retrying, options.signal)
  }

  /** {@link renew} without a retry, for callers that keep the time themselves. */
  async renewOnce(lock: NamedLock, ttlSeconds?: number | null, options: Once = {}): Promise<RenewOutcome> {
    const { resourceName, processId, lockId } = lock
    const answer = await this.#transport.call({ ...options, method: 'POST', path: 'locks/renew', body: { resourceName, processId, lockId, ttlSeconds } })
    return answer.status === 404 ? notHeldOf(answer.status, answer.body) : renewedOf(dataOf(answer.body))
  }

  /** Renews 1 to 100 locks of a process on different resources in one call, once; the outcomes are in their order. */
  async renewManyOnce(processId: string, locks: readonly Renewal[], options: Once = {}): Promise<RenewOutcome[]> {
    const body = { processId, locks: locks.map(({ resourceName, lockId, ttlSeconds }) => ({ resourceName, lockId, ttlSeconds })) }
    const answer = await this.#transport.call({ ...options, method: 'POST', path: 'locks/renew-many', body })
    if (answer.status !== 200) throw refusalOf(answer.status, answer.body)
    const { renewed, not_held } = dataOf(answer.body) as { readonly renewed: Json[]; readonly not_held: Json[] }
    const outcomes = new Map<unknown, RenewOutcome>()
    for (const one of renewed) outcomes.set(one['resource_name'], renewedOf(one))
    for (const one of not_held) outcomes.set(one['resource_name'], { kind: 'not-held', reason: one['reason'] as NotHeld['reason'] })
    return locks.map(({ resourceName }) => outcomes.get(resourceName) ?? { kind: 'not-held', reason: 'not_locked' })
  }

  /** Who holds a resource, and how many wait for it. */
  async status(resourceName: string, options: CallOptions = {}): Promise<Status> {
    return this.#get('status', { resourceName }, options)
  }

  /** One page of the valid locks. */
  async list(query: ListQuery = {}, options: CallOptions = {}): Promise<LockPage> {
    return this.#get('all-locked', query, options)
  }

  /** The first waiters of a resource, 100 unless `limit` says otherwise (1 to 1,000). */
  async queue(resourceName: string, { limit, ...options }: CallOptions & { readonly limit?: number | undefined } = {}): Promise<Queue> {
    return this.#get('queue', { resourceName, limit }, options)
  }

  /** One page of what happened. */
  async history(query: HistoryQuery = {}, options: CallOptions = {}): Promise<HistoryPage> {
    return this.#get('history', query, options)
  }

  /** The figures of the service. */
  async stats(options: CallOptions = {}): Promise<Stats> {
    return this.#get('stats', {}, options)
  }

  /**
   * Releases a lock that another process holds.
   *
   * @param reason for the history: 1 to 500 characters.
   * @param options `lockId`: only if that is still the valid grant. Left out, the call is made once, whatever comes of it.
   */
  async forceRelease(resourceName: string, reason: string, options: CallOptions & { readonly lockId?: number | undefined } = {}): Promise<ForceReleaseOutcome> {
    const { lockId, signal } = options
    const body = { resourceName, reason, lockId }
    const call = { method: 'POST', path: 'locks/force-release', body, signal } as const
    // Without a lock id, a retry might release the lock of the next holder.
    const answer = await (lockId === undefined ? this.#transport.call(call) : this.#repeat(call))
    if (answer.status === 409) return { kind: 'changed' }
    if (answer.status === 404) return notHeldOf(answer.status, answer.body)
    const data = dataOf(answer.body)
    return { kind: 'released', grant: grantOf(data), ...fromWire<{ releasedAt: Date }>({ released_at: data['released_at'] }) }
  }

  /** Whether the service can work, asked once. Rejects with a LockServiceUnavailableError when nothing answers. */
  async health({ signal }: CallOptions = {}): Promise<Health> {
    const { response, body } = await this.#transport.send({ method: 'GET', path: 'health', signal })
    return { healthy: response.status === 200 && body['status'] === 'healthy', service: String(body['service']), database: String(body['database']) }
  }

  /** Renews all locks of a process in one call. @returns what was renewed, sorted by name. */
  protected async renewAllOf(processId: string, ttlSeconds: number | null | undefined, { signal }: CallOptions): Promise<Grant[]> {
    return this.#locksOf({ method: 'POST', path: 'locks/renew-all', body: { processId, ttlSeconds }, signal })
  }

  /** Releases all locks of a process in one call. @returns what was released, sorted by name. */
  protected async releaseAllOf(processId: string, { signal }: CallOptions): Promise<NamedLock[]> {
    return this.#locksOf({ method: 'DELETE', path: 'locks/release-all', query: { processId }, signal })
  }

  async #locksOf<Lock>(call: Call): Promise<Lock[]> {
    const { status, body } = await this.#repeat(call)
    if (status !== 200) throw refusalOf(status, body)
    return fromWire<Lock[]>(dataOf(body)['locks'])
  }

  async #get<Result>(path: string, query: object, { signal }: CallOptions): Promise<Result> {
    const { status, body } = await this.#repeat({ method: 'GET', path: `locks/${path}`, query, signal })
    if (status !== 200) throw refusalOf(status, body)
    return fromWire<Result>(dataOf(body))
  }

  #repeat(call: Call): Promise<Answer> {
    return retrying((timeoutMs) => this.#transport.call({ ...call, timeoutMs }), this.#retrying, call.signal)
  }
}

export function dataOf(body: Json): Json {
  return body['data'] as Json
}

/** A refusal that the call has no result for. */
export function refusalOf(status: number, body: Json): LockRequestError {
  return new LockRequestError(status, String(body['code']), body['detail'])
}

function renewedOf(json: Json): RenewOutcome {
  const { renewedAt, ...grant } = fromWire<Grant & { readonly renewedAt: Date }>(json)
  return { kind: 'renewed', grant: { ...grant, metadata: grant.metadata ?? null }, renewedAt }
}

/** A 404 speaks of the lock only by its code; any other says that there is no such call, or no such service. */
function notHeldOf(status: number, body: Json): NotHeld {
  if (body['code'] !== 'LOCK_NOT_HELD') throw refusalOf(status, body)
  return { kind: 'not-held', reason: body['reason'] as NotHeld['reason'] }
}
