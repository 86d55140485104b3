import { ownProcessId } from '#platform'
import { Acquisition, newId } from './acquire.js'
import type { Grant, LockEvent, ResourceShare } from './answers.js'
import { type LockApi, LockCalls, type CallOptions, type ClientContext, type NamedLock } from './api.js'
import { systemClock } from './clock.js'
import { LockNotAcquiredError } from './errors.js'
import type { WatchOptions } from './events.js'
import { HeldLock, HeldLocks, requireLease, requireRange } from './held-lock.js'
import { Hold, Lease, LeaseKeeper } from './leases.js'
import { Transport } from './transport.js'
import type { AcquireOptions, DocumentLockOptions, ElectOptions, HttpLocksOptions, LeaderState, ObserveOptions, OnceOptions, OnceOutcome, RenewAllOptions, TryAcquireOptions, WithLockOptions } from './types.js'

const DEFAULT_TTL_SECONDS = 30
/** At most a day: a timer for longer than 24.8 days would fire at once. */
const LONGEST_TIMEOUT_SECONDS = 86_400

const CLIENT_OPTIONS = 'url apiKey processId retrySeconds timeoutSeconds listen fetch clock random'.split(' ')
const ACQUIRE_OPTIONS = 'ttlSeconds autoRenew metadata processId requestId signal waitSeconds onWaiting reentrant mode limit permits steal holdAtLeastSeconds lockDelaySeconds yieldWhenWaited'.split(' ')

export type Work<Result> = (lock: HeldLock) => Promise<Result> | Result

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
  /** The holder of what is acquired. */
  readonly processId: string
  readonly #options: HttpLocksOptions
  readonly #context: ClientContext
  readonly #keeper: LeaseKeeper
  #shares = 0

  /** @throws TypeError for a URL or an option that cannot be meant, RangeError for a time. */
  constructor(options: HttpLocksOptions = {}) {
    checkOptions('HttpLocks', options, CLIENT_OPTIONS)
    const { url = 'http://127.0.0.1:8000', apiKey, retrySeconds = 10, timeoutSeconds = 10 } = options
    checkService(url, apiKey)
    requireRange('timeoutSeconds', timeoutSeconds > 0 && timeoutSeconds <= LONGEST_TIMEOUT_SECONDS, `greater than 0 and at most ${LONGEST_TIMEOUT_SECONDS}`)
    requireRange('retrySeconds', retrySeconds >= 0, 'at least 0')
    const { clock = systemClock(), random = Math.random, fetch, listen = true } = options
    const times = { clock, random, retryMs: retrySeconds * 1000, timeoutMs: timeoutSeconds * 1000 }
    const shared = { ...times, transport: new Transport(url, apiKey, fetch, times) }
    super(shared)
    this.processId = options.processId ?? ownProcessId(newId())
    this.#options = options
    this.#context = { ...shared, calls: this }
    this.#keeper = new LeaseKeeper(this.#context, listen)
  }

  /** Another client of the same service, which differs in these options. */
  with(options: HttpLocksOptions): HttpLocks {
    return new HttpLocks({ ...this.#options, processId: this.processId, ...options })
  }

  /**
   * Takes the lock if no process has it, and none waits for it. The holder itself is refused too.
   *
   * @param lease the seconds after which the lock ends, as {@link LockApi} has it: such a lock does not renew itself. Or options.
   * @returns undefined when another process has it.
   */
  tryAcquire(resourceName: string, lease: number | TryAcquireOptions = {}): Promise<HeldLock | undefined> {
    const options = typeof lease === 'number' ? { ttlSeconds: lease, autoRenew: false } : lease
    return this.#acquire<HeldLock | undefined>('tryAcquire', resourceName, options)
  }

  /**
   * Takes the lock, and waits for it in the queue, first come, first served.
   *
   * @throws LockNotAcquiredError when the time to wait is over.
   */
  acquire(resourceName: string, options: AcquireOptions = {}): Promise<HeldLock> {
    return this.#acquire<HeldLock>('acquire', resourceName, options)
  }

  /** {@link tryAcquire} for 1 to 100 resources, all or none. */
  tryAcquireMany(resources: readonly (string | ResourceShare)[], options: TryAcquireOptions = {}): Promise<HeldLocks | undefined> {
    return this.#acquire<HeldLocks | undefined>('tryAcquireMany', resources, options)
  }

  /** {@link acquire} for 1 to 100 resources, all or none. Holds nothing while it waits. */
  acquireMany(resources: readonly (string | ResourceShare)[], options: AcquireOptions = {}): Promise<HeldLocks> {
    return this.#acquire<HeldLocks>('acquireMany', resources, options)
  }

  /**
   * Works while it has the lock, and releases it when the work settles. An error of the work goes before every other; work
   * that succeeded although the lock was lost meanwhile ends in a LockLostError, so that its result is not taken for
   * exclusive. A lock that cannot be released because the service is away ends with its lease.
   *
   * @param work gets the lock, whose `signal` says when to stop.
   * @throws LockNotAcquiredError when the time to wait is over.
   * @throws LockReentryError when the flow works under that lock already, in Node.
   */
  withLock<Result>(resourceName: string, work: Work<Result>): Promise<Result>
  withLock<Result>(resourceName: string, options: WithLockOptions, work: Work<Result>): Promise<Result>
  async withLock<Result>(resourceName: string, first: Work<Result> | WithLockOptions, second?: Work<Result>): Promise<Result> {
    return (await import('./work.js')).withLock(this, resourceName, first, second)
  }

  /**
   * Moves the end of every lock of a process, this client's if left out, in one call.
   *
   * @returns what was renewed, sorted by name.
   */
  renewAll({ processId = this.processId, ttlSeconds, signal }: RenewAllOptions = {}): Promise<Grant[]> {
    return this.locksOf({ method: 'POST', path: 'locks/renew-all', body: { processId, ttlSeconds }, signal })
  }

  /** Releases every lock of a process, this client's if left out, in one call. @returns what was released, sorted by name. */
  releaseAll({ processId = this.processId, signal }: CallOptions & { readonly processId?: string } = {}): Promise<NamedLock[]> {
    for (const { hold } of this.#keeper.heldBy(processId)) hold.release()
    return this.locksOf({ method: 'DELETE', path: 'locks/release-all', query: { processId }, signal })
  }

  /**
   * What happens to locks from now on, in order and without gaps, across broken connections.
   *
   * @throws LockWatchEndedError when events were missed for good, or none are kept.
   */
  async *watch(options: WatchOptions = {}): AsyncGenerator<LockEvent, void, undefined> {
    const { watchEvents } = await import('./events.js')
    yield* watchEvents(this.#context, options)
  }

  /**
   * Takes part in the election of a leader, which is the holder of that lock: leads when no other process does, first come,
   * first served, and campaigns again after each end. Resolves when the signal fires, or has led and it was `once`.
   *
   * ```ts
   * await locks.elect('scheduler', { onElected: ({ signal, fencingToken }) => schedule({ signal, fencingToken }) })
   * ```
   *
   * @throws what `onElected` throws while it leads; LockRequestError when the service refuses to let it campaign.
   */
  async elect(resourceName: string, options: ElectOptions): Promise<void> {
    return (await import('./election.js')).elect(this, this.#context, resourceName, options)
  }

  /** The present leader, undefined where there is none, and then every change of the leader or its value that lasts. */
  async *observe(resourceName: string, options: ObserveOptions = {}): AsyncGenerator<LeaderState | undefined, void, undefined> {
    yield* (await import('./election.js')).observe(this.#context, resourceName, options)
  }

  /**
   * Works if nobody has done so in the present period, on however many machines: the lock is kept after the work until shortly
   * before a period after it began. Only the database's clock counts.
   *
   * ```ts
   * const { ran } = await locks.once('digest mail', { everySeconds: 3600 }, ({ signal }) => sendDigest(signal))
   * ```
   */
  async once<Result>(resourceName: string, options: OnceOptions, work: Work<Result>): Promise<OnceOutcome<Result>> {
    return (await import('./work.js')).once(this, this.#context, resourceName, options, work)
  }

  /** @param call names the method, of which those that begin with `try` do not wait and do not throw for a conflict. */
  async #acquire<Held extends HeldLock | HeldLocks | undefined>(call: string, resources: string | readonly (string | ResourceShare)[], options: AcquireOptions): Promise<Held> {
    checkOptions(call, options, ACQUIRE_OPTIONS)
    const tries = call.startsWith('try')
    const many = typeof resources !== 'string'
    // A process has one lock of a resource: each share is another process's.
    const shares = options.mode === 'shared' || options.limit || (many && resources.some((one) => typeof one !== 'string'))
    const {
      processId = shares ? `${this.processId}/${(this.#shares += 1)}` : this.processId,
      ttlSeconds = DEFAULT_TTL_SECONDS,
      autoRenew = true,
      waitSeconds = Infinity,
      requestId,
      signal,
      onWaiting,
      reentrant: _reentrant,
      yieldWhenWaited,
      ...fields
    }: WithLockOptions = options
    requireLease(ttlSeconds)
    requireRange('waitSeconds', waitSeconds >= 0, 'at least 0')
    const wanted = { resources: many ? resources : [resources], many, processId, ttlSeconds, waitMs: tries ? 0 : waitSeconds * 1000, requestId, signal, onWaiting, fields }
    const outcome = await new Acquisition(wanted, this.#context).run()
    if (!('grants' in outcome)) {
      if (tries) return undefined as Held
      throw new LockNotAcquiredError(outcome.resourceName, outcome)
    }
    const hold = new Hold(this.#context, yieldWhenWaited)
    for (const { grant, leaseMs } of outcome.grants) hold.leases.push(new Lease(hold, grant, outcome.since, leaseMs, ttlSeconds, autoRenew))
    return (many ? new HeldLocks(hold, processId, this.#context, this.#keeper) : new HeldLock(hold, this.#context, this.#keeper)) as Held
  }
}

/**
 * Locks a document that is edited in a page, for as long as the page lives: it is renewed meanwhile, and released when the
 * page is left, also by closing it. A page that is left and shown again, as browsers keep pages, has lost it: its signal
 * fires then. Another page of the same user is refused as well.
 *
 * Its resource is `doc-lock:DOCID`, the one that the calls below `/api/lock` and the route guards know.
 *
 * ```ts
 * const lock = await lockDocument(locks, 'quote-123', { userId: 'ann', username: 'Ann' })
 * lock.signal.addEventListener('abort', () => showReadOnly())
 * ```
 *
 * @throws LockNotAcquiredError when another page or user has it; `conflict.lockedBy` says who.
 */
export async function lockDocument(locks: HttpLocks, docId: string, options: DocumentLockOptions): Promise<HeldLock> {
  return (await import('./work.js')).lockDocument(locks, docId, options)
}

/** @throws TypeError for what is not an object of these options; an option that is misspelt would silently be ignored. */
function checkOptions(call: string, options: unknown, known: readonly string[]): void {
  const all = known.join(', ')
  if (typeof options !== 'object' || options === null) throw new TypeError(`${call} takes an object of options: ${all}`)
  for (const name of Object.keys(options)) {
    if (known.includes(name)) continue
    const given = name.toLowerCase()
    const meant = known.find((one) => one.toLowerCase().startsWith(given) || given.includes(one.toLowerCase()))
    throw new TypeError(`${call} has no option '${name}'; ${meant ? `did you mean '${meant}'?` : all}`)
  }
}

/** @throws TypeError that repeats neither a password nor a key, since messages end up in logs. */
function checkService(url: unknown, apiKey: unknown): void {
  const { protocol = '', username, password }: Partial<URL> = typeof url === 'string' && URL.canParse(url) ? new URL(url) : {}
  if (username || password) throw new TypeError('The url contains a user or a password; use apiKey')
  if (!/^https?:$/.test(protocol)) throw new TypeError(`The url is '${String(url)}'; expected one that begins with http:// or https://`)
  if (apiKey !== undefined && !(typeof apiKey === 'string' && /^[!-~]+$/.test(apiKey))) throw new TypeError('The apiKey holds characters that no key has')
}
