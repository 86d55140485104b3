import type { Sharing, ForceReleaseOutcome, Grant, Health, HistoryPage, HistoryQuery, ListQuery, LockPage, NotHeld, Queue, Queues, ReleaseOutcome, RenewOutcome, RevokeOutcome, Stats, Status } from './answers.js'
import { LockRequestError, type LockServiceUnavailableError } from './errors.js'
import { grantOf, notHeldOf, resultOf, retrying, type Answer, type Call, type RetryOptions, type Transport } from './transport.js'

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

/** Which grant is taken away. */
export interface ForceReleaseOptions extends CallOptions {
  readonly lockId?: number | undefined
  /** False frees it at once, whatever delay it was asked for with. */
  readonly lockDelay?: boolean | undefined
}

export interface RevokeOptions extends CallOptions {
  /** For so long the lock may still be held. */
  readonly graceSeconds: number
  /** Only if that is still the valid grant. Left out, the call is made once, whatever comes of it. */
  readonly lockId?: number | undefined
}

export interface ReleaseOptions {
  /** Keeps everybody out for so long, the caller too. */
  readonly keepSeconds?: number
  /** As `fetch` has it, for a page that is being left. */
  readonly keepalive?: boolean
}

/** An acquired lock that has not been released. */
export interface Lock {
  readonly type: 'lock'
  /** Releases the lock. Harmless after a release or the end of the lease: it never ends the lock of a later holder. */
  release(): Promise<void>
  /**
   * Moves the end of the lock to that many seconds from now, where the back end can. Rejects when the lock is not held.
   *
   * @param timeoutSeconds greater than 0.
   */
  renew?(timeoutSeconds: number): Promise<void>
}

/** What every back end offers, and all that your own back end needs. */
export interface LockApi {
  /**
   * Acquires the lock if it is free. The holder itself is refused too.
   *
   * @param key names what is locked: 1 to 255 characters.
   * @param timeoutSeconds greater than 0; the lock ends by itself after that time.
   * @returns undefined when it is held.
   */
  tryAcquire(key: string, timeoutSeconds: number): Promise<Lock | undefined>
  /** {@link tryAcquire} for a share beside other holders, where the back end has those. The same holder may have several. */
  tryAcquireShare?(key: string, timeoutSeconds: number, sharing: Sharing): Promise<Lock | undefined>
}

interface Once extends CallOptions {
  readonly timeoutMs?: number | undefined
}

/** What all parts of one client share. */
export interface ClientContext extends RetryOptions {
  readonly transport: Transport
  readonly calls: LockCalls
}

/**
 * The calls of the service that can be repeated without harm, one method each. What a call finds is its result; it rejects
 * with a LockServiceUnavailableError when the service stays away, with a LockRequestError when the call itself is refused,
 * and with the signal's reason when that fires.
 */
export class LockCalls {
  readonly #context: Omit<ClientContext, 'calls'>
  /** False for an older service, which renews only one lock in a call. */
  #renewsMany = true

  constructor(context: Omit<ClientContext, 'calls'>) {
    this.#context = context
  }

  /** Ends a lock of a process. */
  async release({ resourceName, processId, lockId }: NamedLock, options: CallOptions & ReleaseOptions = {}): Promise<ReleaseOutcome> {
    const { keepSeconds } = options
    let repeated = false
    const answer = await this.#repeat({ ...options, method: 'DELETE', path: 'locks/release', query: { resourceName, processId, lockId, keepSeconds } }, (failure) => {
      repeated ||= failure.outcomeUnknown
    })
    if (answer.status !== 404) return { kind: 'released', ...resultOf<{ releasedAt: Date }>(answer) }
    return { ...notHeldOf(answer), repeated, releasedAt: answer.body['releasedAt'] as Date | null | undefined }
  }

  /** @param ttlSeconds from now, null for no end; left out, the lease with which the lock was granted. */
  renew(lock: NamedLock, ttlSeconds?: number | null, options: CallOptions = {}): Promise<RenewOutcome> {
    return retrying((timeoutMs) => this.renewOnce(lock, ttlSeconds, { ...options, timeoutMs }), this.#context, options.signal)
  }

  /** {@link renew} without a second try, for a caller that keeps the time itself. */
  async renewOnce({ resourceName, processId, lockId }: NamedLock, ttlSeconds?: number | null, options: Once = {}): Promise<RenewOutcome> {
    const answer = await this.#context.transport.call({ ...options, method: 'POST', path: 'locks/renew', body: { resourceName, processId, lockId, ttlSeconds } })
    return answer.status === 404 ? notHeldOf(answer) : renewedOf(resultOf(answer))
  }

  /** Renews 1 to 100 locks of a process on different resources, once, in one call if the service can; the outcomes are in their order. */
  async renewManyOnce(processId: string, locks: readonly Renewal[], options: Once = {}): Promise<RenewOutcome[]> {
    if (locks.length > 1 && this.#renewsMany) {
      try {
        const body = { processId, locks: locks.map(({ resourceName, lockId, ttlSeconds }) => ({ resourceName, lockId, ttlSeconds })) }
        const answer = await this.#context.transport.call({ ...options, method: 'POST', path: 'locks/renew-many', body })
        const { renewed, notHeld } = resultOf<{ renewed: Renewed[]; notHeld: (NotHeld & NamedLock)[] }>(answer)
        return locks.map(({ resourceName }) => {
          const isIt = (one: { readonly resourceName: string }): boolean => one.resourceName === resourceName
          const one = renewed.find(isIt)
          return one ? renewedOf(one) : { kind: 'not-held', reason: notHeld.find(isIt)?.reason ?? 'not_locked' }
        })
      } catch (error) {
        if (!(error instanceof LockRequestError && [404, 405].includes(error.status))) throw error
        this.#renewsMany = false
      }
    }
    return Promise.all(locks.map((lock) => this.renewOnce({ ...lock, processId }, lock.ttlSeconds, options)))
  }

  /** Who holds a resource, and how many wait for it. */
  status(resourceName: string, options?: CallOptions): Promise<Status> {
    return this.#get('status', { resourceName }, options)
  }

  /** One page of the valid locks. */
  list(query: ListQuery = {}, options?: CallOptions): Promise<LockPage> {
    return this.#get('all-locked', query, options)
  }

  /** The first waiters for a resource, 100 unless `limit` says otherwise (1 to 1,000). */
  queue(resourceName: string, { limit, ...options }: CallOptions & { readonly limit?: number | undefined } = {}): Promise<Queue> {
    return this.#get('queue', { resourceName, limit }, options)
  }

  /** The first waiters for all resources whose names begin with the prefix, sorted by name; 100 as above. */
  queues(prefix: string, { limit, ...options }: CallOptions & { readonly limit?: number | undefined } = {}): Promise<Queues> {
    return this.#get('queue', { prefix, limit }, options)
  }

  /** One page of what happened. */
  history(query: HistoryQuery = {}, options?: CallOptions): Promise<HistoryPage> {
    return this.#get('history', query, options)
  }

  /** The figures of the service. */
  stats(options?: CallOptions): Promise<Stats> {
    return this.#get('stats', {}, options)
  }

  /**
   * Takes a lock away from its holder.
   *
   * @param reason for the history: 1 to 500 characters.
   * @param options `lockId`: only if that is still the valid grant. Left out, the call is made once, whatever comes of it.
   */
  async forceRelease(resourceName: string, reason: string, options: ForceReleaseOptions = {}): Promise<ForceReleaseOutcome> {
    return (await import('./rare-calls.js')).forceRelease(this.#context, resourceName, reason, options)
  }

  /**
   * Asks the holder of a lock to end: no renewal moves its end past the grace, and its `yieldSignal` fires.
   *
   * @param reason for the holder and the history: 1 to 500 characters.
   * @param options `lockId`: as for {@link forceRelease}.
   */
  async revoke(resourceName: string, reason: string, options: RevokeOptions): Promise<RevokeOutcome> {
    return (await import('./rare-calls.js')).revoke(this.#context, resourceName, reason, options)
  }

  /** Whether the service can work, asked once. Rejects with a LockServiceUnavailableError when nothing answers. */
  async health({ signal }: CallOptions = {}): Promise<Health> {
    return (await import('./rare-calls.js')).health(this.#context, signal)
  }

  /** Makes a call for all locks of a process; the result is what it concerned, sorted by name. */
  protected async locksOf<Lock>(call: Call): Promise<Lock[]> {
    return resultOf<{ locks: Lock[] }>(await this.#repeat(call)).locks
  }

  async #get<Result>(path: string, query: object, { signal }: CallOptions = {}): Promise<Result> {
    return resultOf(await this.#repeat({ method: 'GET', path: `locks/${path}`, query, signal }))
  }

  #repeat(call: Call, onRepeat?: (failure: LockServiceUnavailableError) => void): Promise<Answer> {
    return retrying(
      (timeoutMs, failure) => {
        if (failure) onRepeat?.(failure)
        return this.#context.transport.call({ ...call, timeoutMs })
      },
      this.#context,
      call.signal
    )
  }
}

type Renewed = Grant & Pick<Extract<RenewOutcome, { kind: 'renewed' }>, 'renewedAt' | 'waiters' | 'revoked'>

function renewedOf(renewed: Renewed): RenewOutcome {
  return { kind: 'renewed', ...renewed, grant: grantOf(renewed) }
}
