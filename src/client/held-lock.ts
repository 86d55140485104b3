import type { Grant, Metadata, Sharing } from './answers.js'
import type { Lock, ClientContext, ReleaseOptions } from './api.js'
import { LockLostError, type LossReason } from './errors.js'
import type { Hold, Lease, LeaseKeeper } from './leases.js'
import { retrying } from './transport.js'

/** When the caller's object is collected, the client stops renewing the lock, which then ends. */
const FORGOTTEN = new FinalizationRegistry<Hold>(({ leases }) => {
  for (const lease of leases) {
    lease.autoRenew = false
    lease.renewAt = Infinity
  }
})

/** One lock or several in the hands of a caller: held, lost and released together. */
abstract class Held implements AsyncDisposable {
  readonly #hold: Hold
  readonly #context: ClientContext
  readonly #keeper: LeaseKeeper
  #signal: AbortSignal | undefined
  #lost: Promise<LockLostError | undefined> | undefined
  #releasing: Promise<void> | undefined

  constructor(hold: Hold, context: ClientContext, keeper: LeaseKeeper) {
    this.#hold = hold
    this.#context = context
    this.#keeper = keeper
    FORGOTTEN.register(this, hold)
    for (const lease of hold.leases) keeper.add(lease)
  }

  /**
   * Fires, with a LockLostError as its reason, when the lock is lost or may be; not when it is released. Its `aborted` looks
   * at the clock, and so is true also to code that kept every timer from firing.
   */
  get signal(): AbortSignal {
    this.#signal ??= this.#makeSignal()
    void this.held
    return this.#signal
  }

  /**
   * Fires, with the reason, when a renewal says that an operator asks the holder to end, and with `yieldWhenWaited` also when one says
   * that others wait. The lock is still held. A client that listens renews as soon as it is asked.
   */
  get yieldSignal(): AbortSignal {
    return this.#hold.yielding.signal
  }

  /** Resolves to why the lock was lost, or to undefined when it is released. Keeps the process alive meanwhile. */
  get lost(): Promise<LockLostError | undefined> {
    this.#lost ??= new Promise((resolve) => {
      const cancel = this.#context.clock.schedule(Infinity, () => {})
      this.#hold.onEnd(() => {
        cancel()
        resolve(this.loss)
      })
    })
    return this.#lost
  }

  /** Whether the lock is certainly held at this moment; true also to code that kept every timer from firing. */
  get held(): boolean {
    return this.#hold.held
  }

  /** Why the lock was lost, if it was. */
  get loss(): LockLostError | undefined {
    return this.#hold.loss
  }

  /** Why the last renewal was not confirmed; undefined after one that was. */
  get renewalError(): unknown {
    return this.#hold.leases.find(({ failure }) => failure)?.failure
  }

  /** For how long it is certainly held without a renewal, in milliseconds: 0 when it is not, Infinity when it never ends. */
  get remainingMs(): number {
    return this.held ? this.#hold.deadline - this.#context.clock.now() : 0
  }

  /**
   * Moves the end of the lease, beside what the lock does by itself.
   *
   * @param ttlSeconds from now, null for no end; also what later renewals ask for. Left out, as before.
   * @throws LockLostError when the lock is not held, or is lost while the service stays away.
   * @throws LockServiceUnavailableError when the service stays away and the lease goes on meanwhile.
   * @throws LockRequestError when the service refuses such a lease, RangeError when it is not greater than 0.
   */
  async renew(ttlSeconds?: number | null): Promise<void> {
    requireLease(ttlSeconds)
    await Promise.all(
      this.#hold.leases.map((lease) =>
        retrying(
          async (timeoutMs) => {
            if (this.held) await this.#keeper.renew(lease, ttlSeconds, timeoutMs, this.signal)
            if (!this.held) throw this.loss ?? new LockLostError(lease.grant.resourceName, lease.grant.lockId, 'released')
          },
          this.#context,
          this.signal
        )
      )
    )
  }

  /**
   * Releases the lock. Calling it again is harmless, and so is calling it when the lock was lost: then it does not wait for the
   * service. It never ends a later lock of the same name.
   *
   * @param options `keepSeconds`: keeps everybody out for so long; `keepalive`: as `fetch` has it, for a page that is being left.
   * @throws LockServiceUnavailableError when the service stays away; the lock then ends with its lease, or by another call.
   */
  release(options: ReleaseOptions = {}): Promise<void> {
    this.#releasing ??= this.#release(options).catch((error: unknown) => {
      this.#releasing = undefined
      throw error
    })
    return this.#releasing
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.release()
  }

  async #release(options: ReleaseOptions): Promise<void> {
    const wasLost = !this.held && !this.#hold.released
    this.#hold.release()
    const releasing = Promise.all(
      this.#hold.leases.map(async ({ grant }) => {
        const outcome = await this.#context.calls.release(grant, options)
        if (outcome.kind === 'released') return
        // Released already, by a try whose answer was lost or by a proxy that repeats: not a loss.
        const byItself = outcome.releasedAt === undefined ? outcome.repeated && outcome.reason === 'released' : outcome.releasedAt !== null
        if (!byItself) this.#hold.lose(grant, outcome.reason)
      })
    )
    // The lease of a lost lock may still go on in the database: the next waiter gets it sooner.
    if (wasLost) void releasing.catch(() => {})
    else await releasing
  }

  #makeSignal(): AbortSignal {
    const losing = new AbortController()
    const { signal } = losing
    this.#hold.onEnd(() => {
      if (this.loss) losing.abort(this.loss)
    })
    // The getters refer to the lock: as long as the caller keeps the signal, the lock is not collected.
    const aborted = (): boolean => !this.held && !!this.loss
    Object.defineProperties(signal, {
      aborted: { get: aborted },
      reason: { get: () => this.loss },
      throwIfAborted: {
        value: () => {
          if (aborted()) throw this.loss
        }
      }
    })
    return signal
  }
}

/**
 * A lock that the client has, from being granted until it is released or lost. By default it renews itself.
 *
 * The client counts the lease from before the request that began it was sent, so that it always knows less than it has:
 * `signal` fires before the lease can end in the database. Nothing is ever thrown from a timer.
 */
export class HeldLock extends Held implements Lock {
  readonly type = 'lock'
  declare readonly resourceName: string
  declare readonly processId: string
  declare readonly lockId: number
  /** The same number, for the resource that the lock protects, which then can refuse smaller ones. */
  declare readonly fencingToken: number
  declare readonly lockedAt: Date
  declare readonly metadata: Metadata | null
  declare readonly mode: 'exclusive' | 'shared'
  /** The numbers of its permits, where it was taken with a limit: no other holder has one of them. */
  declare readonly slots: readonly number[]
  readonly #lease: Lease

  constructor(hold: Hold, context: ClientContext, keeper: LeaseKeeper) {
    super(hold, context, keeper)
    const lease = hold.leases[0] as Lease
    this.#lease = lease
    this.#show(lease.grant)
  }

  /**
   * Lets others share it from now on, with the same number; no other holder comes in between.
   *
   * @throws LockLostError when it is not held, LockServiceUnavailableError when the service stays away.
   */
  async downgrade(sharing: Omit<Sharing, 'mode'> = {}): Promise<void> {
    await this.#convert({ ...sharing, mode: 'shared' })
  }

  /**
   * Makes a share exclusive, with a new number. Never waits: two that waited for each other would do so forever.
   *
   * @returns false, and changes nothing, when there are other holders.
   * @throws LockLostError when it is not held, LockServiceUnavailableError when the service stays away.
   */
  upgrade(): Promise<boolean> {
    return this.#convert({ mode: 'exclusive' })
  }

  async #convert(sharing: Sharing): Promise<boolean> {
    const grant = await (await import('./rare-calls.js')).convert(this.#lease, sharing)
    if (grant) this.#show(grant)
    return !!grant
  }

  /** When it ends unless it is renewed, by the database's clock; null never does. */
  get expiresAt(): Date | null {
    return this.#lease.expiresAt
  }

  #show({ expiresAt: _moves, ...grant }: Grant): void {
    Object.assign(this, { mode: 'exclusive', slots: [], ...grant })
  }

  /** Counts the lock as lost, for a reason that it does not see itself. */
  static lose(lock: HeldLock, reason: LossReason): void {
    lock.#lease.hold.lose(lock.#lease.grant, reason)
  }
}

/** One of several locks that are held together. */
export type HeldPart = Omit<Grant, 'expiresAt'>

/** Several locks that were granted together: when one of them is lost, all of it counts as lost. */
export class HeldLocks extends Held {
  declare readonly processId: string
  /** In the order in which they were asked for. */
  declare readonly locks: readonly HeldPart[]

  constructor(hold: Hold, processId: string, context: ClientContext, keeper: LeaseKeeper) {
    super(hold, context, keeper)
    this.processId = processId
    this.locks = hold.leases.map(({ grant }) => grant)
  }

  /** The number by which that resource should check its callers. */
  fencingTokenOf(resourceName: string): number | undefined {
    return this.locks.find((lock) => lock.resourceName === resourceName)?.fencingToken
  }
}

/** @throws RangeError for a lease that no lock can have; JSON would turn NaN and Infinity into null, which never ends. */
export function requireLease(ttlSeconds: number | null | undefined): void {
  requireRange('ttlSeconds', typeof ttlSeconds !== 'number' || (ttlSeconds > 0 && ttlSeconds < Infinity), 'greater than 0, or null')
}

export function requireRange(name: string, isInRange: boolean, range: string): void {
  if (!isInRange) throw new RangeError(`${name} must be a number, ${range}`)
}
