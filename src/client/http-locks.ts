import { FlowStorage, ownProcessId } from '#platform'
import type { LockApi } from '../embedded/lock-api.js'
import { Acquisition, newId, type Acquired, type Granted } from './acquire.js'
import { LockCalls, type CallOptions, type NamedLock } from './api.js'
import { systemClock, type Clock } from './clock.js'
import { LockNotAcquiredError, LockReentryError, LockServiceUnavailableError } from './errors.js'
import { watchEvents, type ClientContext, type WatchOptions } from './events.js'
import { HeldLock, HeldLocks, Hold, requireLease } from './held-lock.js'
import { Keeper, Lease } from './keeper.js'
import { Transport } from './transport.js'
import type { Conflict, Grant, LockEvent, Metadata } from './types.js'

const DEFAULTS = { url: 'http://127.0.0.1:8000', ttlSeconds: 30, retrySeconds: 10, timeoutSeconds: 10 }

/** At most a day: a timer for longer than 24.8 days would fire at once. */
const LONGEST_TIMEOUT_SECONDS = 86_400

const CLIENT_OPTIONS = ['url', 'apiKey', 'processId', 'retrySeconds', 'timeoutSeconds', 'listen', 'fetch', 'clock', 'random']
const ACQUIRE_OPTIONS = ['ttlSeconds', 'autoRenew', 'metadata', 'processId', 'requestId', 'signal', 'waitSeconds', 'onWaiting', 'reentrant']

export interface HttpLocksOptions {
  /** Where the service is; `http://127.0.0.1:8000` if left out. */
  readonly url?: string | undefined
  /** Sent as `Authorization: Bearer`. */
  readonly apiKey?: string | undefined
  /** Who holds what is acquired: 1 to 255 characters. In Node `HOST/PID/RANDOM`, in a page a random one if left out. */
  readonly processId?: string | undefined
  /**
   * For how long calls are repeated while the service is away; 10 if left out, 0 tries once. No call that the service does
   * not answer takes longer than this and `timeoutSeconds`, whichever is longer.
   */
  readonly retrySeconds?: number | undefined
  /** How long one call may take, including its wait in the queue: a longer wait takes several calls. At most a day; 10 if left out. */
  readonly timeoutSeconds?: number | undefined
  /** Whether one stream of events reports the loss of locks that are held for longer than a second; true if left out. */
  readonly listen?: boolean | undefined
  readonly fetch?: typeof globalThis.fetch
  readonly clock?: Clock
  /** 0 to 1; spreads repetitions. */
  readonly random?: () => number
}

export interface TryAcquireOptions {
  /** The lease, greater than 0; 30 if left out, null never ends. A lock that renews itself lasts longer. */
  readonly ttlSeconds?: number | null | undefined
  /** Whether the lock renews itself until it is released or lost; true if left out. */
  readonly autoRenew?: boolean | undefined
  readonly metadata?: Metadata | undefined
  /** Instead of the client's own. */
  readonly processId?: string | undefined
  /** That of an earlier request whose answer was lost, as its error says: takes up what it was granted. All else must be the same. */
  readonly requestId?: string | undefined
  /** Aborts the request: the call rejects with its reason and leaves no lock behind. Has no effect on a lock once it is held. */
  readonly signal?: AbortSignal | undefined
}

export interface AcquireOptions extends TryAcquireOptions {
  /** How long to wait in the queue; without a limit if left out. */
  readonly waitSeconds?: number | undefined
  /** Called with the holder and the position in the queue, after half a second and then every five. */
  readonly onWaiting?: ((conflict: Conflict) => void) | undefined
}

export interface WithLockOptions extends AcquireOptions {
  /** Whether a flow that has the lock already works under it, instead of an error; in Node only. */
  readonly reentrant?: boolean | undefined
}

/** The locks that a flow works under, where the platform knows flows. */
type Flow = readonly { readonly locks: HttpLocks; readonly lock: HeldLock }[]

const FLOW = new FlowStorage<Flow>()

/**
 * Locks of a Resource Lock Manager over HTTP. Needs nothing but `fetch`: it runs in Node and in pages.
 *
 * ```ts
 * const locks = new HttpLocks({ url: 'http://127.0.0.1:8000' })
 * await locks.withLock('nightly report', async ({ signal, fencingToken }) => report({ signal, fencingToken }))
 * ```
 *
 * Calls whose answer was lost are repeated so that they take effect once. Every call can reject with a
 * LockServiceUnavailableError, which says neither "locked" nor "free", or with a LockRequestError, which a repetition would
 * not change.
 */
export class HttpLocks extends LockCalls implements LockApi {
  /** Who holds what is acquired. */
  readonly processId: string
  readonly #context: ClientContext
  readonly #keeper: Keeper

  /** @throws TypeError for a URL or an option that cannot be meant, RangeError for a time. */
  constructor(options: HttpLocksOptions = {}) {
    checkOptions('HttpLocks', options, CLIENT_OPTIONS)
    const { url = DEFAULTS.url, apiKey, retrySeconds = DEFAULTS.retrySeconds, timeoutSeconds = DEFAULTS.timeoutSeconds } = options
    checkService(url, apiKey)
    checkTimes(retrySeconds, timeoutSeconds)
    const { clock = systemClock(), random = Math.random, fetch, listen = true } = options
    const timeoutMs = timeoutSeconds * 1000
    const retrying = { clock, random, retryMs: retrySeconds * 1000, timeoutMs }
    const transport = new Transport({ url, apiKey, fetch, clock, timeoutMs })
    super(transport, retrying)
    this.processId = options.processId ?? ownProcessId(newId())
    this.#context = { ...retrying, transport, calls: this }
    this.#keeper = new Keeper(this.#context, listen)
  }

  /**
   * Takes the lock if it is free and has no waiters. The holder itself is refused too.
   *
   * @param lease the seconds after which the lock ends, as {@link LockApi} has it: such a lock does not renew itself. Or options.
   * @returns undefined when it is held.
   */
  async tryAcquire(resourceName: string, lease: number | TryAcquireOptions = {}): Promise<HeldLock | undefined> {
    const options = typeof lease === 'number' ? { ttlSeconds: lease, autoRenew: false } : lease
    const acquired = await this.#acquire('tryAcquire', [resourceName], false, options, 0)
    return acquired.kind === 'granted' ? this.#one(acquired, options) : undefined
  }

  /**
   * Takes the lock, and waits in the queue for it, first come, first served.
   *
   * @throws LockNotAcquiredError when the time to wait is over.
   */
  async acquire(resourceName: string, options: AcquireOptions = {}): Promise<HeldLock> {
    const acquired = await this.#acquire('acquire', [resourceName], false, options)
    if (acquired.kind === 'held') throw new LockNotAcquiredError(resourceName, acquired.conflict)
    return this.#one(acquired, options)
  }

  /** {@link tryAcquire} for 1 to 100 resources, all or none. */
  async tryAcquireMany(resourceNames: readonly string[], options: TryAcquireOptions = {}): Promise<HeldLocks | undefined> {
    const acquired = await this.#acquire('tryAcquireMany', resourceNames, true, options, 0)
    return acquired.kind === 'granted' ? this.#several(acquired, options) : undefined
  }

  /** {@link acquire} for 1 to 100 resources, all or none. Holds nothing while it waits. */
  async acquireMany(resourceNames: readonly string[], options: AcquireOptions = {}): Promise<HeldLocks> {
    const acquired = await this.#acquire('acquireMany', resourceNames, true, options)
    if (acquired.kind === 'held') throw new LockNotAcquiredError(acquired.conflict.resourceName, acquired.conflict)
    return this.#several(acquired, options)
  }

  /**
   * Works while it has the lock, and releases it when the work settles. An error of the work goes before every other; work
   * that succeeded although the lock was lost meanwhile ends in a LockLostError, so that nobody takes it for exclusive. A
   * lock that cannot be released because the service is away ends with its lease.
   *
   * @param work is handed the lock, whose `signal` says when to stop.
   * @throws LockNotAcquiredError when the time to wait is over.
   * @throws LockReentryError when the flow works under that lock already, in Node.
   */
  withLock<Result>(resourceName: string, work: (lock: HeldLock) => Promise<Result> | Result): Promise<Result>
  withLock<Result>(resourceName: string, options: WithLockOptions, work: (lock: HeldLock) => Promise<Result> | Result): Promise<Result>
  async withLock<Result>(
    resourceName: string,
    ...[first, second]: [Work<Result>] | [WithLockOptions, Work<Result>]
  ): Promise<Result> {
    const [options, work] = typeof first === 'function' ? [{}, first] : [first, second]
    if (work === undefined) throw new TypeError('withLock needs work to do')
    const flow = FLOW.getStore() ?? []
    const outer = flow.find(({ locks, lock }) => locks === this && lock.resourceName === resourceName && lock.held)
    if (outer !== undefined) {
      if (options.reentrant !== true) throw new LockReentryError(resourceName)
      return work(outer.lock)
    }
    const lock = await this.acquire(resourceName, options)
    let result: Result
    try {
      result = await FLOW.run([...flow, { locks: this, lock }], () => work(lock))
    } catch (error) {
      await lock.release().catch(() => undefined)
      throw error
    }
    await lock.release().catch((error: unknown) => {
      // It was held to the end of the work.
      if (!(error instanceof LockServiceUnavailableError)) throw error
    })
    if (lock.loss !== undefined) throw lock.loss
    return result
  }

  /**
   * Moves the end of every lock of a process, this client's if left out, in one call.
   *
   * @returns what was renewed, sorted by name.
   */
  renewAll({ processId = this.processId, ttlSeconds, signal }: RenewAllOptions = {}): Promise<Grant[]> {
    return this.renewAllOf(processId, ttlSeconds, { signal })
  }

  /** Releases every lock of a process, this client's if left out, in one call. @returns what was released, sorted by name. */
  releaseAll({ processId = this.processId, signal }: CallOptions & { readonly processId?: string } = {}): Promise<NamedLock[]> {
    for (const { hold } of this.#keeper.heldBy(processId)) hold.release()
    return this.releaseAllOf(processId, { signal })
  }

  /**
   * What happens to locks from now on, in order and without gaps, across broken connections.
   *
   * @throws LockWatchEndedError when events were missed for good, or none are kept.
   */
  watch(options: WatchOptions = {}): AsyncGenerator<LockEvent, void, undefined> {
    return watchEvents(this.#context, options)
  }

  async #acquire(call: string, resourceNames: readonly string[], many: boolean, options: AcquireOptions, wait = options.waitSeconds ?? Infinity): Promise<Acquired> {
    checkOptions(call, options, ACQUIRE_OPTIONS)
    const { metadata, signal, onWaiting, requestId, processId = this.processId, ttlSeconds = DEFAULTS.ttlSeconds } = options
    // JSON knows neither NaN nor Infinity, and would ask for a lock that never ends.
    requireLease(ttlSeconds)
    if (!(wait >= 0)) throw new RangeError('waitSeconds must be a number, and at least 0')
    const wanted = { resourceNames, many, processId, ttlSeconds, metadata, waitMs: wait * 1000, requestId, signal, onWaiting }
    return new Acquisition(wanted, this.#context).run()
  }

  #hold({ grants, since }: Granted, { ttlSeconds = DEFAULTS.ttlSeconds, autoRenew = true }: TryAcquireOptions): Hold {
    const { clock, random } = this.#context
    const hold = new Hold(clock)
    for (const { grant, leaseMs } of grants) hold.leases.push(new Lease(hold, grant, since, leaseMs, { ttlSeconds, autoRenew, random }))
    return hold
  }

  #one(granted: Granted, options: TryAcquireOptions): HeldLock {
    const hold = this.#hold(granted, options)
    return new HeldLock(hold, hold.leases[0] as Lease, this.#context, this.#keeper)
  }

  #several(granted: Granted, options: TryAcquireOptions): HeldLocks {
    return new HeldLocks(this.#hold(granted, options), options.processId ?? this.processId, this.#context, this.#keeper)
  }
}

type Work<Result> = (lock: HeldLock) => Promise<Result> | Result

export interface RenewAllOptions extends CallOptions {
  readonly processId?: string | undefined
  /** From now, null for no end; left out, the lease with which each lock was granted. */
  readonly ttlSeconds?: number | null | undefined
}

/** @throws TypeError for an unknown option, since a misspelt one would silently have no effect. */
function checkOptions(call: string, options: unknown, known: readonly string[]): void {
  const all = known.join(', ')
  if (typeof options !== 'object' || options === null) throw new TypeError(`${call} takes an object of options: ${all}`)
  for (const name of Object.keys(options)) {
    if (known.includes(name)) continue
    const given = name.toLowerCase()
    const meant = known.find((one) => one.toLowerCase().startsWith(given) || given.includes(one.toLowerCase()))
    throw new TypeError(`${call} has no option '${name}'; ${meant === undefined ? all : `did you mean '${meant}'?`}`)
  }
}

/** @throws TypeError that repeats neither a password nor a key, since messages end up in logs. */
function checkService(url: unknown, apiKey: unknown): void {
  const parsed = typeof url === 'string' && URL.canParse(url) ? new URL(url) : undefined
  if (parsed !== undefined && `${parsed.username}${parsed.password}` !== '') throw new TypeError('The url holds a user or a password; the service knows keys: apiKey')
  if (parsed === undefined || !/^https?:$/.test(parsed.protocol)) throw new TypeError(`The url is '${String(url)}'; expected one that begins with http:// or https://`)
  if (apiKey !== undefined && !(typeof apiKey === 'string' && /^[!-~]+$/.test(apiKey))) throw new TypeError('The apiKey holds characters that no key has')
}

/** @throws RangeError for times that no call can have. */
function checkTimes(retrySeconds: number, timeoutSeconds: number): void {
  if (!(timeoutSeconds > 0 && timeoutSeconds <= LONGEST_TIMEOUT_SECONDS)) throw new RangeError(`timeoutSeconds must be greater than 0 and at most ${LONGEST_TIMEOUT_SECONDS}`)
  if (!(retrySeconds >= 0)) throw new RangeError('retrySeconds must be a number, and at least 0')
}
