import type { Lock } from '../locking/lock-api.js'
import { lengthOf } from './acquisition.js'
import type { Clock } from './clock.js'
import { LockLostError, type LossReason } from './errors.js'
import type { LockCalls } from './lock-calls.js'
import { Patience, type RetryOptions } from './retry.js'
import type { Grant, Metadata } from './types.js'

/** The lock counts as lost so long before its lease can end, so that its holder has time to stop: a tenth of the lease … */
const MARGIN = 1 / 10
/** … and at most this. */
const LONGEST_MARGIN_MS = 2000

/** A lease is renewed when this share of it is over. */
const RENEW_AFTER = 1 / 3
/** How often a lock without a lease is looked after, to learn of its being taken away. */
const LOOK_AFTER_MS = 10_000
/** A machine that slept wakes with its timers as they were, so that the time is looked at this often. */
const LOOK_EVERY_MS = 1000

export interface HeldLockOptions {
  readonly grant: Grant
  /** The lease began then, by the client's clock, or later. */
  readonly since: number
  readonly leaseMs: number | null
  /** What every renewal asks for; undefined asks for the lease of the grant. */
  readonly ttlSeconds: number | null | undefined
  readonly autoRenew: boolean
  readonly calls: LockCalls
  readonly retrying: RetryOptions
  /** How long one renewal may take. */
  readonly timeoutMs: number
}

/**
 * A lock that the client has, from being granted until it is released or lost. By default it renews itself.
 *
 * The client counts the lease from before the request that began it was sent, so that it always knows less than it has:
 * `signal` fires before the lease can end in the database. Nothing is ever thrown from a timer.
 */
export class HeldLock implements Lock, AsyncDisposable {
  readonly type = 'lock'
  readonly resourceName: string
  readonly processId: string
  readonly lockId: number
  /** The same number, to be handed to whatever the lock protects, which then can refuse smaller ones. */
  readonly fencingToken: number
  readonly lockedAt: Date
  readonly metadata: Metadata | null
  readonly #options: HeldLockOptions
  readonly #clock: Clock
  readonly #losing = new AbortController()
  #leaseMs: number | null
  #ttlSeconds: number | null | undefined
  #expiresAt: Date | null
  /** By the client's clock, when the lock counts as lost, and when it is due for renewal. */
  #deadline = Infinity
  #renewAt = Infinity
  #renewing: Promise<void> | undefined
  #failure: unknown
  #loss: LockLostError | undefined
  #released = false
  #releasing: Promise<void> | undefined
  #cancelTimer: () => void = () => {}

  constructor(options: HeldLockOptions) {
    const { grant, since, leaseMs, ttlSeconds, retrying } = options
    this.resourceName = grant.resourceName
    this.processId = grant.processId
    this.lockId = grant.lockId
    this.fencingToken = grant.fencingToken
    this.lockedAt = grant.lockedAt
    this.metadata = grant.metadata
    this.#options = options
    this.#clock = retrying.clock
    this.#leaseMs = leaseMs
    this.#ttlSeconds = ttlSeconds
    this.#expiresAt = grant.expiresAt
    this.#begin(since, leaseMs)
  }

  /** Fires, with a LockLostError as its reason, when the lock is lost or may be; not when it is released. */
  get signal(): AbortSignal {
    return this.#losing.signal
  }

  /** Whether the lock is certainly held at this moment; true also to code that kept every timer from firing. */
  get held(): boolean {
    if (!this.#released && this.#clock.now() >= this.#deadline) this.#lose('unconfirmed', this.#failure)
    return !this.#released && this.#loss === undefined
  }

  /** Why the lock was lost, if it was. */
  get loss(): LockLostError | undefined {
    return this.#loss
  }

  /** Why the last renewal was not confirmed; undefined after one that was. */
  get renewalError(): unknown {
    return this.#failure
  }

  /** When it ends unless it is renewed, by the database's clock; null never does. */
  get expiresAt(): Date | null {
    return this.#expiresAt
  }

  /** For how long it is certainly held without a renewal, in milliseconds: 0 when it is not, Infinity when it never ends. */
  get remainingMs(): number {
    return this.held ? this.#deadline - this.#clock.now() : 0
  }

  /**
   * Moves the end of the lease, beside what the lock does by itself.
   *
   * @param ttlSeconds from now, null for no end; also what later renewals ask for. Left out, as before.
   * @throws LockLostError when the lock is not held, or is lost while the service stays away.
   * @throws LockServiceUnavailableError when the service stays away and the lease goes on meanwhile.
   * @throws LockRequestError when the service refuses such a lease, RangeError when it is not greater than 0.
   */
  async renew(ttlSeconds: number | null | undefined = this.#ttlSeconds): Promise<void> {
    requireLease(ttlSeconds)
    for (const patience = new Patience(this.#options.retrying); ; ) {
      // One at a time: of two under way, nobody could tell which one decides.
      while (this.#renewing !== undefined) await this.#renewing.catch(() => undefined)
      if (!this.held) throw this.#loss ?? new LockLostError(this.resourceName, this.lockId, 'released')
      try {
        this.#renewing = this.#renewOnce(ttlSeconds)
        await this.#renewing
        return
      } catch (error) {
        await patience.pauseAfter(error, this.signal)
      } finally {
        this.#renewing = undefined
        this.#look()
      }
    }
  }

  /**
   * Lets the lock go. Calling it again is harmless, and so is calling it when the lock was lost: then nobody waits for the
   * service. It never ends a later lock of the same name.
   *
   * @param options `keepalive`: as `fetch` has it, for a page that is being left.
   * @throws LockServiceUnavailableError when the service stays away; the lock then ends with its lease, or by another call.
   */
  release(options: { readonly keepalive?: boolean } = {}): Promise<void> {
    this.#releasing ??= this.#release(options).catch((error: unknown) => {
      this.#releasing = undefined
      throw error
    })
    return this.#releasing
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.release()
  }

  async #release(options: { readonly keepalive?: boolean }): Promise<void> {
    const lost = !this.held && !this.#released
    this.#released = true
    this.#cancelTimer()
    const releasing = this.#options.calls.release(this, options)
    // The lease of a lost lock may still go on in the database: whoever comes next is served the sooner.
    if (lost) return void releasing.catch(() => undefined)
    const outcome = await releasing
    // Released already, by a try whose answer was lost: that is no loss.
    if (outcome.kind === 'not-held' && !(outcome.repeated && outcome.reason === 'released')) this.#lose(outcome.reason)
  }

  /** The lease is known to go on from that moment for so long. */
  #begin(since: number, leaseMs: number | null): void {
    const { autoRenew } = this.#options
    this.#leaseMs = leaseMs
    this.#deadline = leaseMs === null ? Infinity : endOf(since, leaseMs)
    this.#renewAt = autoRenew ? since + (leaseMs === null ? LOOK_AFTER_MS : leaseMs * RENEW_AFTER) : Infinity
    this.#failure = undefined
    this.#look()
  }

  /** Looks what is due, and when to look again. */
  #look(): void {
    this.#cancelTimer()
    if (!this.held) return
    const now = this.#clock.now()
    if (now >= this.#renewAt && this.#renewing === undefined) {
      this.#renewing = this.#renewOnce(this.#ttlSeconds)
        .catch((error: unknown) => this.#putOff(error))
        .finally(() => {
          this.#renewing = undefined
          this.#look()
        })
    }
    const next = Math.min(this.#deadline, this.#renewing === undefined ? this.#renewAt : Infinity, now + LOOK_EVERY_MS)
    if (next < Infinity) this.#cancelTimer = this.#clock.schedule(Math.max(1, next - now), () => this.#look(), true)
  }

  /** A renewal failed: there is time for another one. */
  #putOff(error: unknown): void {
    this.#failure = error
    const pauseMs = Math.min(LOOK_EVERY_MS, (this.#leaseMs ?? Infinity) * MARGIN)
    this.#renewAt = this.#clock.now() + pauseMs * (0.5 + this.#options.retrying.random() / 2)
  }

  async #renewOnce(ttlSeconds: number | null | undefined): Promise<void> {
    const { calls, timeoutMs } = this.#options
    const sent = this.#clock.now()
    // Unheard of, it may have shortened the lease.
    if (typeof ttlSeconds === 'number') this.#deadline = Math.min(this.#deadline, endOf(sent, ttlSeconds * 1000))
    const timeout = Math.min(timeoutMs, (this.#leaseMs ?? Infinity) * RENEW_AFTER)
    const outcome = await calls.renewOnce(this, ttlSeconds, { timeoutMs: timeout, signal: this.signal })
    if (this.#released) return
    if (outcome.kind === 'not-held') throw this.#lose(outcome.reason)
    if (!this.held) throw this.#lose('unconfirmed')
    this.#ttlSeconds = ttlSeconds
    this.#expiresAt = outcome.grant.expiresAt
    this.#begin(sent, lengthOf(outcome.grant, outcome.renewedAt))
  }

  /** Only the first loss counts. */
  #lose(reason: LossReason, cause?: unknown): LockLostError {
    if (this.#loss !== undefined) return this.#loss
    this.#loss = new LockLostError(this.resourceName, this.lockId, reason, cause === undefined ? undefined : { cause })
    this.#cancelTimer()
    this.#losing.abort(this.#loss)
    return this.#loss
  }
}

/** When a lock counts as lost whose lease began at that moment. */
function endOf(since: number, leaseMs: number): number {
  return since + leaseMs - Math.min(leaseMs * MARGIN, LONGEST_MARGIN_MS)
}

/** @throws RangeError for a lease that no lock can have. */
export function requireLease(ttlSeconds: number | null | undefined): void {
  if (typeof ttlSeconds === 'number' && !(ttlSeconds > 0 && ttlSeconds < Infinity)) throw new RangeError('ttlSeconds must be a number greater than 0, or null')
}
