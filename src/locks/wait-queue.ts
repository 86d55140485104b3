import { Cleanup } from './cleanup.js'
import type { AcquireCommand } from './commands.js'
import { LockError } from './errors.js'
import { WaiterQuota, NO_LIMITS, type Limits } from './quotas.js'
import type { Held, RequestOutcome, WaitOptions } from './requests.js'
import type { LockStore } from './store.js'

/** How often this instance gives a sign of life and the first of each line asks by itself, in milliseconds. */
const TICK_MS = 1000

interface Waiter {
  readonly ticket: number
  readonly names: readonly string[]
  /** Set when its turn may have come; the wait reads and clears it. */
  called: boolean
  wake: () => void
}

/**
 * Where requests wait for their turn. The line itself is in the database; here they sleep until they are called, the grant
 * in their way expires, or a tick passes, and then ask again with their ticket.
 *
 * A call may come while its waiter is asking: it is remembered, and the waiter asks once more before it sleeps. So no order
 * of "freed", "called" and "asked" leaves a free resource with a sleeping first waiter; a call that is lost altogether costs
 * a tick.
 */
export class WaitQueue {
  readonly #store: LockStore
  readonly #quota: WaiterQuota
  readonly cleanup: Cleanup
  readonly #waiters = new Set<Waiter>()
  /** Who is called by a ticket: of two the later one, since the earlier is leaving a place that was kept. */
  readonly #byTicket = new Map<number, Waiter>()
  /** The waiters of each line on this instance, the smallest ticket first. */
  readonly #queues = new Map<string, Waiter[]>()
  readonly #entering = new Set<Promise<Waiter | undefined>>()
  #tidying: Promise<void> | undefined
  #ticking: NodeJS.Timeout | undefined
  #draining = false
  #drained = false

  constructor(store: LockStore, limits: Limits = NO_LIMITS) {
    this.#store = store
    this.#quota = new WaiterQuota(limits)
    this.cleanup = new Cleanup(store, () => this.#keepTicking())
    store.onWakeup((ticket) => this.#wake(this.#byTicket.get(ticket)))
  }

  get draining(): boolean {
    return this.#draining
  }

  get size(): number {
    return this.#waiters.size
  }

  /**
   * Waits in line until the command is granted, the time is up, the caller is gone or its process left all queues; then its
   * place is given up, or kept a while where the request bears an id and may come back.
   *
   * @param refused what the request was answered before it began to wait.
   * @throws LockError `DRAINING` when the service stops meanwhile, `TOO_MANY_REQUESTS` when there is no room to wait.
   */
  async wait(command: AcquireCommand, refused: Held, wait: WaitOptions): Promise<RequestOutcome> {
    if (this.#draining) throw new LockError('DRAINING')
    const deadline = performance.now() + wait.waitMs
    const { resourceNames: names, idempotencyKey: idempotencyKey } = command
    const fault = this.#quota.faultOf(names, wait.caller)
    // A request that comes back for its place was let in before.
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
        waiter.called = false
        const outcome = await this.#store.submit({ ...command, ticket })
        if (outcome.kind === 'granted') {
          // Granted to an earlier request with the same id: nobody has used this place.
          if (outcome.replayed) await this.cleanup.leave(ticket)
          return outcome
        }
        if (outcome.kind === 'dequeued') {
          await this.cleanup.leave(ticket)
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
          await this.cleanup.leave(ticket)
          return outcome
        }
        const { position } = await this.#store.submit({ kind: 'dequeue', tickets: [ticket], keepFor: keepPlace ? command.idempotencyKey : null })
        return { ...outcome, queuePosition: position }
      }
    } catch (error) {
      await this.cleanup.leave(ticket)
      throw error
    } finally {
      this.#exit(waiter)
    }
  }

  /** Wakes everybody, each to leave with `DRAINING`; resolves when all are gone. */
  async drain(): Promise<void> {
    this.#draining = true
    for (const waiter of this.#waiters) waiter.wake()
    while (this.#waiters.size > 0) await new Promise((resolve) => setTimeout(resolve, 5))
    if (this.cleanup.owes) await this.#tidy()
    this.#drained = true
    this.#stopTicking()
  }

  async #queueUp({ resourceNames, processId, idempotencyKey: idempotencyKey, key }: AcquireCommand, which?: 'only-kept'): Promise<Waiter | undefined> {
    // Who tidies must know every place that is in use.
    while (this.#tidying !== undefined) await this.#tidying
    const entering = this.#store
      .submit({ kind: 'enqueue', resourceNames, processId, idempotencyKey, key, onlyKept: which === 'only-kept' })
      .then(({ ticket }) => (ticket === null ? undefined : this.#enter(ticket, resourceNames)))
    this.#entering.add(entering)
    try {
      return await entering
    } catch (error) {
      if (error instanceof LockError && error.code === 'OUTCOME_UNKNOWN') this.cleanup.doubt()
      throw error
    } finally {
      this.#entering.delete(entering)
    }
  }

  #tidy(): Promise<void> {
    this.#tidying ??= Promise.allSettled(this.#entering)
      .then(() => this.cleanup.tidy(Array.from(this.#waiters, ({ ticket }) => ticket)))
      .finally(() => (this.#tidying = undefined))
    return this.#tidying
  }

  #enter(ticket: number, names: readonly string[]): Waiter {
    const waiter: Waiter = { ticket, names, called: false, wake: () => {} }
    this.#waiters.add(waiter)
    this.#byTicket.set(ticket, waiter)
    for (const name of names) {
      const line = this.#queues.get(name) ?? []
      const place = line.findLastIndex((other) => other.ticket < ticket) + 1
      line.splice(place, 0, waiter)
      this.#queues.set(name, line)
    }
    this.#keepTicking()
    return waiter
  }

  #exit(waiter: Waiter): void {
    const { ticket, names } = waiter
    this.#waiters.delete(waiter)
    if (this.#byTicket.get(ticket) === waiter) this.#byTicket.delete(ticket)
    for (const name of names) {
      const line = this.#queues.get(name)?.filter((other) => other !== waiter) ?? []
      if (line.length === 0) this.#queues.delete(name)
      else this.#queues.set(name, line)
    }
    if (this.#waiters.size === 0 && !this.cleanup.owes) this.#stopTicking()
  }

  #stopTicking(): void {
    clearInterval(this.#ticking)
    this.#ticking = undefined
  }

  #keepTicking(): void {
    // Whoever is let go of later than that would start a timer that nobody stops.
    if (this.#drained) return
    this.#ticking ??= setInterval(() => this.#tick(), TICK_MS)
    // What is owed from now on is tried as long as the process lives, and does not keep it alive.
    if (this.#draining) this.#ticking.unref()
  }

  #wake(waiter: Waiter | undefined): void {
    if (waiter === undefined) return
    waiter.called = true
    waiter.wake()
  }

  /** One sign of life for all, and one question per line: a thousand waiters for a resource cost no more than one. */
  #tick(): void {
    if (this.cleanup.owes) void this.#tidy()
    if (this.#waiters.size === 0) return this.cleanup.owes ? undefined : this.#stopTicking()
    this.#store.submit({ kind: 'heartbeat' }).catch(() => undefined)
    for (const [first] of this.#queues.values()) this.#wake(first)
  }

  /** Only the first of a line watches the lease in its way; the others could not be served when it ends. */
  #untilExpiry(waiter: Waiter, { conflicts, at }: Held): number {
    if (!waiter.names.some((name) => this.#queues.get(name)?.[0] === waiter)) return Number.POSITIVE_INFINITY
    const ends = conflicts.flatMap(({ expiresAt }) => (expiresAt === null ? [] : [expiresAt - at]))
    return Math.max(1, Math.min(...ends))
  }

  #sleep(waiter: Waiter, ms: number, signal: AbortSignal | undefined): Promise<void> {
    if (waiter.called || this.#draining || signal?.aborted === true) return Promise.resolve()
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
