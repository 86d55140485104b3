import type { AcquireCommand, AcquireOutcome } from './commands.js'
import { LockError } from './errors.js'
import { GivingUp } from './giving-up.js'
import { Crowd, NO_LIMITS, type Limits } from './limits.js'
import type { Grant } from './lock.js'
import type { LockStore } from './lock-store.js'

/** How often this instance gives a sign of life and the first of each line asks by itself, in milliseconds. */
const TICK_MS = 1000

/** How long the place of a request with an id is kept after its wait ended in vain, in milliseconds. */
const KEEP_PLACE_MS = 10_000

export interface WaitOptions {
  /** How long to wait in line, in milliseconds. */
  readonly waitMs: number
  /** Fires when the caller is gone. */
  readonly signal?: AbortSignal | undefined
  /** False for a caller that will not come back for its place; true if left out. */
  readonly keepPlace?: boolean | undefined
  /** On whose account it waits; see {@link Crowd.enter}. */
  readonly caller?: string | undefined
}

export type WaitOutcome =
  | AcquireOutcome
  | (Extract<AcquireOutcome, { kind: 'held' }> & { /** 1 is the next to be served. */ readonly queuePosition: number })

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
export class WaitingRoom {
  readonly #store: LockStore
  readonly #crowd: Crowd
  readonly #waiters = new Map<number, Waiter>()
  /** The tickets of each line on this instance, smallest first. */
  readonly #lines = new Map<string, number[]>()
  readonly #entering = new Set<Promise<Waiter>>()
  readonly #givingUp: GivingUp
  #tidying: Promise<void> | undefined
  #ticking: NodeJS.Timeout | undefined
  #draining = false
  #drained = false

  constructor(store: LockStore, limits: Limits = NO_LIMITS) {
    this.#store = store
    this.#crowd = new Crowd(limits)
    this.#givingUp = new GivingUp(store, () => this.#keepTicking())
    store.onTurn((ticket) => this.#call(ticket))
  }

  get draining(): boolean {
    return this.#draining
  }

  get size(): number {
    return this.#waiters.size
  }

  /**
   * Waits in line until the command is granted, the time is up or the caller is gone; then its place is given up, or kept a
   * while where the request bears an id and may come back.
   *
   * @throws LockError `DRAINING` when the service stops meanwhile, `TOO_MANY_REQUESTS` when there is no room to wait.
   */
  async wait(command: AcquireCommand, wait: WaitOptions): Promise<WaitOutcome> {
    if (this.#draining) throw new LockError('DRAINING')
    const exit = this.#crowd.enter(command.resourceNames, wait.caller)
    try {
      return await this.#wait(command, wait)
    } finally {
      exit()
    }
  }

  async #wait(command: AcquireCommand, { waitMs, signal, keepPlace = true }: WaitOptions): Promise<WaitOutcome> {
    const { mark } = command
    const deadline = performance.now() + waitMs
    const waiter = await this.#queueUp(command)
    const { ticket } = waiter
    const stays = (): boolean => signal?.aborted !== true && !this.#draining
    try {
      for (;;) {
        waiter.called = false
        const outcome = await this.#store.submit({ ...command, ticket })
        if (outcome.kind === 'granted') {
          // Granted to an earlier request with the same id: nobody has used this place.
          if (outcome.replayed) await this.#givingUp.leave(ticket)
          else if (signal?.aborted === true) await this.giveBack(outcome.grants, mark?.id)
          return outcome
        }
        const left = deadline - performance.now()
        if (outcome.kind === 'held' && left > 0 && stays()) {
          await this.#sleep(waiter, Math.min(left, this.#untilExpiry(waiter, outcome)), signal)
          if (stays()) continue
        }
        if (this.#draining) throw new LockError('DRAINING')
        if (outcome.kind !== 'held' || signal?.aborted === true) {
          await this.#givingUp.leave(ticket)
          return outcome
        }
        const { position } = await this.#store.submit({ kind: 'leave', tickets: [ticket], keepMs: keepPlace && mark !== null ? KEEP_PLACE_MS : 0 })
        return { ...outcome, queuePosition: position }
      }
    } catch (error) {
      await this.#givingUp.leave(ticket)
      throw error
    } finally {
      this.#exit(waiter)
    }
  }

  /**
   * Releases grants whose caller is gone, unless a repetition of its request was answered with them; what the database does
   * not take now it is told again with the next tick.
   */
  giveBack(grants: readonly Grant[], requestId: string | undefined): Promise<void> {
    return this.#givingUp.release(grants, requestId)
  }

  /** Wakes everybody, each to leave with `DRAINING`; resolves when all are gone. */
  async drain(): Promise<void> {
    this.#draining = true
    for (const waiter of this.#waiters.values()) waiter.wake()
    while (this.#waiters.size > 0) await new Promise((resolve) => setTimeout(resolve, 5))
    if (this.#givingUp.owes) await this.#tidy()
    this.#drained = true
    this.#stopTicking()
  }

  async #queueUp({ resourceNames, processId, mark }: AcquireCommand): Promise<Waiter> {
    // Who tidies must know every place that is in use.
    while (this.#tidying !== undefined) await this.#tidying
    const entering = this.#store
      .submit({ kind: 'enqueue', resourceNames, processId, mark })
      .then(({ ticket }) => this.#enter(ticket, resourceNames))
    this.#entering.add(entering)
    try {
      return await entering
    } catch (error) {
      if (error instanceof LockError && error.code === 'OUTCOME_UNKNOWN') this.#givingUp.doubt()
      throw error
    } finally {
      this.#entering.delete(entering)
    }
  }

  #tidy(): Promise<void> {
    this.#tidying ??= Promise.allSettled(this.#entering)
      .then(() => this.#givingUp.tidy([...this.#waiters.keys()]))
      .finally(() => (this.#tidying = undefined))
    return this.#tidying
  }

  #enter(ticket: number, names: readonly string[]): Waiter {
    const waiter: Waiter = { ticket, names, called: false, wake: () => {} }
    this.#waiters.set(ticket, waiter)
    for (const name of names) {
      const line = this.#lines.get(name) ?? []
      const place = line.findLastIndex((other) => other < ticket) + 1
      line.splice(place, 0, ticket)
      this.#lines.set(name, line)
    }
    this.#keepTicking()
    return waiter
  }

  #exit({ ticket, names }: Waiter): void {
    this.#waiters.delete(ticket)
    for (const name of names) {
      const line = this.#lines.get(name)?.filter((other) => other !== ticket) ?? []
      if (line.length === 0) this.#lines.delete(name)
      else this.#lines.set(name, line)
    }
    if (this.#waiters.size === 0 && !this.#givingUp.owes) this.#stopTicking()
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

  #call(ticket: number): void {
    const waiter = this.#waiters.get(ticket)
    if (waiter === undefined) return
    waiter.called = true
    waiter.wake()
  }

  /** One sign of life for all, and one question per line: a thousand waiters for a resource cost no more than one. */
  #tick(): void {
    if (this.#givingUp.owes) void this.#tidy()
    if (this.#waiters.size === 0) return this.#givingUp.owes ? undefined : this.#stopTicking()
    this.#store.submit({ kind: 'beat' }).catch(() => undefined)
    for (const line of this.#lines.values()) if (line[0] !== undefined) this.#call(line[0])
  }

  /** Only the first of a line watches the lease in its way; the others could not be served when it ends. */
  #untilExpiry({ ticket, names }: Waiter, { conflicts, at }: Extract<AcquireOutcome, { kind: 'held' }>): number {
    if (!names.some((name) => this.#lines.get(name)?.[0] === ticket)) return Number.POSITIVE_INFINITY
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
