import { Cleanup } from './cleanup.js'
import type { AcquireCommand } from './commands.js'
import { LockError } from './errors.js'
import { WaiterQuota, NO_LIMITS, type Limits } from './quotas.js'
import type { Held, RequestOutcome, WaitOptions } from './requests.js'
import type { LockStore } from './store.js'

/** How often this instance sends its heartbeat and the first waiter of each queue retries by itself, in milliseconds. */
const TICK_MS = 1000

interface Waiter {
  readonly ticket: number
  readonly names: readonly string[]
  /** As in its command. */
  readonly sharing: AcquireCommand['sharing']
  /** Set by a wake-up, cleared before each attempt. */
  woken: boolean
  wake: () => void
}

/**
 * The waiters of this instance. The queues themselves are in the database; a waiter sleeps until it is woken, the grant that
 * it waits for expires, or a tick passes, and then retries with its ticket.
 *
 * A wake-up may arrive while the waiter's attempt is in flight; it is recorded, and the waiter retries before sleeping. So no
 * order of release, wake-up and attempt leaves a free resource with a sleeping first waiter; a lost wake-up costs a tick.
 */
export class WaitQueue {
  readonly #store: LockStore
  readonly #quota: WaiterQuota
  readonly #tickMs: number
  readonly cleanup: Cleanup
  readonly #waiters = new Set<Waiter>()
  /** The waiter to wake for a ticket: of two the later one, since the earlier one is about to leave the place that it kept. */
  readonly #byTicket = new Map<number, Waiter>()
  /** The waiters for each resource on this instance, the smallest ticket first. */
  readonly #queues = new Map<string, Waiter[]>()
  readonly #entering = new Set<Promise<Waiter | undefined>>()
  #purging: Promise<void> | undefined
  #ticking: NodeJS.Timeout | undefined
  #draining = false
  #drained = false

  constructor(store: LockStore, limits: Limits = NO_LIMITS, tickMs = TICK_MS) {
    this.#store = store
    this.#tickMs = tickMs
    this.#quota = new WaiterQuota(limits)
    this.cleanup = new Cleanup(store, () => this.#startTicking())
    store.onWakeup((ticket) => this.#wakeWithFollowers(this.#byTicket.get(ticket)))
  }

  get draining(): boolean {
    return this.#draining
  }

  get size(): number {
    return this.#waiters.size
  }

  /**
   * Waits until the command is granted, the time is up, the caller is gone or its process leaves all queues. Then the place is
   * given up, or kept a while for a request with an id, which may come back.
   *
   * @param refused the outcome of the request before it began to wait.
   * @throws LockError `DRAINING` when the service stops meanwhile, `TOO_MANY_REQUESTS` when too many wait already.
   */
  async wait(command: AcquireCommand, refused: Held, wait: WaitOptions): Promise<RequestOutcome> {
    if (this.#draining) throw new LockError('DRAINING')
    const deadline = performance.now() + wait.waitMs
    const { resourceNames: names, idempotencyKey } = command
    const fault = this.#quota.faultOf(names, wait.caller)
    // A request that comes back for its place was admitted before.
    const kept = fault === undefined || idempotencyKey === null ? undefined : await this.#queueUp(command, 'only-kept')
    if (fault !== undefined && kept === undefined) throw fault
    const exit = this.#quota.enter(names, wait.caller)
    try {
      const waiter = kept ?? (await this.#queueUp(command))
      return waiter === undefined ? refused : await this.#wait(waiter, command, refused, deadline, wait)
    } finally {
      exit()
    }
  }

  async #wait(waiter: Waiter, command: AcquireCommand, refused: Held, deadline: number, wait: WaitOptions): Promise<RequestOutcome> {
    const { signal, keepPlace = true } = wait
    const { ticket } = waiter
    const stays = (): boolean => signal?.aborted !== true && !this.#draining
    try {
      for (;;) {
        waiter.woken = false
        const outcome = await this.#store.submit({ ...command, ticket })
        if (outcome.kind === 'granted') {
          // An earlier request with the same id was granted the lock: the place is unused.
          if (outcome.replayed) await this.cleanup.dequeue(ticket)
          return outcome
        }
        if (outcome.kind === 'dequeued') {
          await this.cleanup.dequeue(ticket)
          return refused
        }
        if (outcome.kind === 'held') refused = outcome
        const left = deadline - performance.now()
        if (outcome.kind === 'held' && left > 0 && stays()) {
          await this.#sleep(waiter, Math.min(left, this.#untilExpiry(waiter, outcome)), signal)
          if (stays()) continue
        }
        if (this.#draining) throw new LockError('DRAINING')
        if (outcome.kind !== 'held' || signal?.aborted === true) {
          await this.cleanup.dequeue(ticket)
          return outcome
        }
        const { position } = await this.#store.submit({ kind: 'dequeue', tickets: [ticket], keepFor: keepPlace ? command.idempotencyKey : null })
        return { ...outcome, queuePosition: position }
      }
    } catch (error) {
      await this.cleanup.dequeue(ticket)
      throw error
    } finally {
      this.#exit(waiter)
    }
  }

  /** Wakes every waiter, each to end with `DRAINING`; resolves when all are gone. */
  async drain(): Promise<void> {
    this.#draining = true
    for (const waiter of this.#waiters) waiter.wake()
    while (this.#waiters.size > 0) await new Promise((resolve) => setTimeout(resolve, 5))
    if (this.cleanup.owes) await this.#retryCleanup()
    this.#drained = true
    this.#stopTicking()
  }

  async #queueUp({ resourceNames, processId, idempotencyKey, key, sharing }: AcquireCommand, which?: 'only-kept'): Promise<Waiter | undefined> {
    // The cleanup must know every ticket that is in use.
    while (this.#purging !== undefined) await this.#purging
    const entering = this.#store
      .submit({ kind: 'enqueue', resourceNames, processId, idempotencyKey, key, onlyKept: which === 'only-kept', ...(sharing === undefined ? {} : { sharing }) })
      .then(({ ticket }) => (ticket === null ? undefined : this.#enter(ticket, resourceNames, sharing)))
    this.#entering.add(entering)
    try {
      return await entering
    } catch (error) {
      if (error instanceof LockError && error.code === 'OUTCOME_UNKNOWN') this.cleanup.purgeLater()
      throw error
    } finally {
      this.#entering.delete(entering)
    }
  }

  #retryCleanup(): Promise<void> {
    this.#purging ??= Promise.allSettled(this.#entering)
      .then(() => this.cleanup.retry(Array.from(this.#waiters, ({ ticket }) => ticket)))
      .finally(() => (this.#purging = undefined))
    return this.#purging
  }

  #enter(ticket: number, names: readonly string[], sharing: AcquireCommand['sharing']): Waiter {
    const waiter: Waiter = { ticket, names, sharing, woken: false, wake: () => {} }
    this.#waiters.add(waiter)
    this.#byTicket.set(ticket, waiter)
    for (const name of names) {
      const queue = this.#queues.get(name) ?? []
      const place = queue.findLastIndex((other) => other.ticket < ticket) + 1
      queue.splice(place, 0, waiter)
      this.#queues.set(name, queue)
    }
    this.#startTicking()
    return waiter
  }

  #exit(waiter: Waiter): void {
    const { ticket, names } = waiter
    this.#waiters.delete(waiter)
    if (this.#byTicket.get(ticket) === waiter) this.#byTicket.delete(ticket)
    for (const name of names) {
      const queue = this.#queues.get(name)?.filter((other) => other !== waiter) ?? []
      if (queue.length === 0) this.#queues.delete(name)
      else this.#queues.set(name, queue)
    }
    if (this.#waiters.size === 0 && !this.cleanup.owes) this.#stopTicking()
  }

  #stopTicking(): void {
    clearInterval(this.#ticking)
    this.#ticking = undefined
  }

  #startTicking(): void {
    // A cleanup that fails after draining would start a timer that nobody stops.
    if (this.#drained) return
    this.#ticking ??= setInterval(() => this.#tick(), this.#tickMs)
    // From now on cleanup is retried as long as the process lives, and does not keep it alive.
    if (this.#draining) this.#ticking.unref()
  }

  #wake(waiter: Waiter | undefined): void {
    if (waiter === undefined) return
    waiter.woken = true
    waiter.wake()
  }

  /**
   * Also wakes those right behind it that may be granted their shares beside it, so that they share a batch. On other instances the
   * grant wakes the next one.
   */
  #wakeWithFollowers(waiter: Waiter | undefined): void {
    this.#wake(waiter)
    if (waiter?.sharing === undefined) return
    for (const name of waiter.names) {
      const queue = this.#queues.get(name) ?? []
      let [used, limit] = [0, Infinity]
      for (const one of queue.slice(queue.indexOf(waiter))) {
        const share = one.sharing?.[one.names.indexOf(name)] ?? null
        if (share === null || used + share.permits > Math.min(limit, share.limit ?? Infinity)) break
        used += share.permits
        limit = Math.min(limit, share.limit ?? Infinity)
        this.#wake(one)
      }
    }
  }

  /** One heartbeat for all, and one attempt per queue: a thousand waiters for a resource cost no more than one. */
  #tick(): void {
    if (this.cleanup.owes) void this.#retryCleanup()
    if (this.#waiters.size === 0) return this.cleanup.owes ? undefined : this.#stopTicking()
    this.#store.submit({ kind: 'heartbeat' }).then(
      ({ dequeued }) => {
        for (const ticket of dequeued) this.#wake(this.#byTicket.get(ticket))
      },
      () => undefined
    )
    for (const [first] of this.#queues.values()) this.#wake(first)
  }

  /** Only the first waiter of a queue wakes when the lease ends; the others could not be granted the lock then. */
  #untilExpiry(waiter: Waiter, { conflicts, at }: Held): number {
    if (!waiter.names.some((name) => this.#queues.get(name)?.[0] === waiter)) return Number.POSITIVE_INFINITY
    const ends = conflicts.flatMap(({ expiresAt }) => (expiresAt === null ? [] : [expiresAt - at]))
    return Math.max(1, Math.min(...ends))
  }

  #sleep(waiter: Waiter, ms: number, signal: AbortSignal | undefined): Promise<void> {
    if (waiter.woken || this.#draining || signal?.aborted === true) return Promise.resolve()
    return new Promise((resolve) => {
      const wake = (): void => {
        clearTimeout(timer)
        signal?.removeEventListener('abort', wake)
        waiter.wake = () => {}
        resolve()
      }
      const timer = setTimeout(wake, Math.min(ms, 2 ** 31 - 1))
      signal?.addEventListener('abort', wake)
      waiter.wake = wake
    })
  }
}
