import type { Clock } from './clock.js'
import { LockLostError, type LossReason } from './errors.js'
import type { Grant, RenewOutcome } from './types.js'

/** The lock counts as lost so long before its lease can end, so that its holder has time to stop: a tenth of the lease … */
const MARGIN = 1 / 10
/** … at most this … */
const LONGEST_MARGIN_MS = 2000
/** … and at least this, for timers of a busy machine fire late: two fifths of a lease that is too short even for that. */
const SHORTEST_MARGIN_MS = 500
const LARGEST_MARGIN = 2 / 5

/** A lease is renewed when this share of it is over. */
export const RENEW_AFTER = 1 / 3
/** By how much of that share renewals are spread, so that many clients do not renew together. */
const SPREAD = 1 / 5
/** How often a lock without a lease is looked after, to learn of its being taken away. */
const LOOK_AFTER_MS = 10_000
const LONGEST_PAUSE_MS = 1000

/** When a lock counts as lost whose lease began at that moment. */
export function endOf(since: number, leaseMs: number | null): number {
  if (leaseMs === null) return Infinity
  return since + leaseMs - Math.min(Math.max(leaseMs * MARGIN, Math.min(SHORTEST_MARGIN_MS, leaseMs * LARGEST_MARGIN)), LONGEST_MARGIN_MS)
}

/** The lease of a grant from an instant on, in milliseconds; null never ends. */
export function leaseOf({ expiresAt }: Grant, from: Date): number | null {
  return expiresAt === null ? null : expiresAt.getTime() - from.getTime()
}

/** What is held together: one lock or several, which are lost together. Knows nothing of the object in the caller's hands. */
export class Hold {
  readonly clock: Clock
  readonly leases: Lease[] = []
  loss: LockLostError | undefined
  released = false
  readonly #onEnd: (() => void)[] = []

  constructor(clock: Clock) {
    this.clock = clock
  }

  /** Whether all of it is certainly held at this moment. */
  get held(): boolean {
    if (!this.released && this.loss === undefined) for (const lease of this.leases) lease.look()
    return !this.released && this.loss === undefined
  }

  get deadline(): number {
    return Math.min(...this.leases.map(({ deadline }) => deadline))
  }

  /** Calls back when it is released and when it is lost, which may be both. */
  onEnd(action: () => void): void {
    this.#onEnd.push(action)
    if (this.released || this.loss !== undefined) action()
  }

  /** Only the first loss counts. */
  lose(grant: Grant, reason: LossReason, cause?: unknown): LockLostError {
    if (this.loss === undefined) {
      this.loss = new LockLostError(grant.resourceName, grant.lockId, reason, cause === undefined ? undefined : { cause })
      this.#end()
    }
    return this.loss
  }

  release(): void {
    this.released = true
    this.#end()
  }

  #end(): void {
    for (const action of this.#onEnd) action()
  }
}

/** The lease of one grant, as the client counts it. */
export class Lease {
  readonly grant: Grant
  readonly hold: Hold
  readonly since: number
  /** What every renewal asks for; undefined asks for the lease of the grant. */
  ttlSeconds: number | null | undefined
  expiresAt: Date | null
  leaseMs: number | null = null
  /** By the client's clock, when the lock counts as lost, and when it is due for renewal. */
  deadline = Infinity
  renewAt = Infinity
  autoRenew: boolean
  renewing: Promise<unknown> | undefined
  /** Why the last renewal was not confirmed. */
  failure: unknown
  readonly #random: () => number

  constructor(hold: Hold, grant: Grant, since: number, leaseMs: number | null, options: { ttlSeconds: number | null | undefined; autoRenew: boolean; random: () => number }) {
    this.hold = hold
    this.grant = grant
    this.since = since
    this.ttlSeconds = options.ttlSeconds
    this.autoRenew = options.autoRenew
    this.expiresAt = grant.expiresAt
    this.#random = options.random
    this.#begin(since, leaseMs)
  }

  /** Looks whether its time is over. */
  look(): void {
    if (this.hold.clock.now() >= this.deadline) this.hold.lose(this.grant, 'unconfirmed', this.failure)
  }

  /** A renewal is being sent: unheard of, it may shorten the lease. */
  sent(at: number, ttlSeconds: number | null | undefined): void {
    if (typeof ttlSeconds === 'number') this.deadline = Math.min(this.deadline, endOf(at, ttlSeconds * 1000))
  }

  /** @throws LockLostError when the lock is not held, or was lost before the answer came. */
  renewed(sentAt: number, ttlSeconds: number | null | undefined, outcome: RenewOutcome): void {
    if (this.hold.released) return
    if (outcome.kind === 'not-held') throw this.hold.lose(this.grant, outcome.reason)
    if (!this.hold.held) throw this.hold.loss ?? this.hold.lose(this.grant, 'unconfirmed')
    this.ttlSeconds = ttlSeconds
    this.expiresAt = outcome.grant.expiresAt
    this.#begin(sentAt, leaseOf(outcome.grant, outcome.renewedAt))
  }

  /** A renewal failed: there is time for another one. */
  putOff(error: unknown): void {
    this.failure = error
    const pauseMs = Math.min(LONGEST_PAUSE_MS, (this.leaseMs ?? Infinity) * MARGIN)
    this.renewAt = this.hold.clock.now() + pauseMs * (0.5 + this.#random() / 2)
  }

  /** The lease is known to go on from that moment for so long. */
  #begin(since: number, leaseMs: number | null): void {
    this.leaseMs = leaseMs
    this.deadline = endOf(since, leaseMs)
    const afterMs = leaseMs === null ? LOOK_AFTER_MS : leaseMs * RENEW_AFTER
    this.renewAt = this.autoRenew ? since + afterMs * (1 - SPREAD + 2 * SPREAD * this.#random()) : Infinity
    this.failure = undefined
  }
}
