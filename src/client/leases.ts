import type { Grant, RenewOutcome } from './answers.js'
import type { ClientContext } from './api.js'
import { LockLostError, LockServiceUnavailableError, type LossReason } from './errors.js'

/** The lock counts as lost so long before its lease can end, so that its holder has time to stop: a tenth of the lease … */
const MARGIN = 1 / 10
/** … at most this … */
const LONGEST_MARGIN_MS = 2000
/** … and at least this, because timers of a busy machine fire late: two fifths of a lease that is too short even for that. */
const SHORTEST_MARGIN_MS = 500
const LARGEST_MARGIN = 2 / 5

/** A lease is renewed when this share of it is over. */
const RENEW_AFTER = 1 / 3
/** By how much of that share renewals are spread, so that many clients do not renew together. */
const SPREAD = 1 / 5
/** How often a lock without a lease is renewed, to learn of its being taken away. */
const RENEW_ENDLESS_MS = 10_000
const LONGEST_PAUSE_MS = 1000

/** A machine that slept wakes with its timers as they were: the keeper reads the clock this often. */
const TICK_MS = 1000
/** The client listens for a lock that is held for so long. */
const LISTEN_AFTER_MS = 1000
/** For so many process ids at once; losses of others are noticed by their renewals. */
const MOST_STREAMS = 4
/** When a lock is renewed, so are those that are due within this share of their lease. */
const COMPANY = 1 / 10
/** Most locks that one call renews. */
const MOST_TOGETHER = 100

/** When a lock counts as lost whose lease began at that moment. */
export function endOf(since: number, leaseMs: number | null): number {
  if (leaseMs === null) return Infinity
  return since + leaseMs - Math.min(Math.max(leaseMs * MARGIN, Math.min(SHORTEST_MARGIN_MS, leaseMs * LARGEST_MARGIN)), LONGEST_MARGIN_MS)
}

/** The lease of a grant from an instant on, in milliseconds; null never ends. */
export function leaseOf({ expiresAt }: Grant, from: Date): number | null {
  return expiresAt && expiresAt.getTime() - from.getTime()
}

/** One lock or several that are held, and lost, together. Does not refer to the object that the caller has, which may be collected. */
export class Hold {
  readonly context: ClientContext
  readonly leases: Lease[] = []
  loss: LockLostError | undefined
  released = false
  readonly yielding = new AbortController()
  /** Whether it yields to those that wait. */
  readonly yields: boolean | undefined
  readonly #onEnd: (() => void)[] = []

  constructor(context: ClientContext, yields?: boolean) {
    this.context = context
    this.yields = yields
  }

  /** Whether all of it is certainly held at this moment. */
  get held(): boolean {
    for (const { deadline, grant, failure } of this.leases) {
      if (!this.#isOver && this.context.clock.now() >= deadline) this.lose(grant, 'unconfirmed', failure)
    }
    return !this.#isOver
  }

  get deadline(): number {
    return Math.min(...this.leases.map(({ deadline }) => deadline))
  }

  /** Calls back when it is released and when it is lost, which may be both. */
  onEnd(action: () => void): void {
    this.#onEnd.push(action)
    if (this.#isOver) action()
  }

  /** Only the first loss counts. */
  lose({ resourceName, lockId }: Grant, reason: LossReason, cause?: unknown): LockLostError {
    if (this.loss) return this.loss
    this.loss = new LockLostError(resourceName, lockId, reason, cause ? { cause } : undefined)
    this.#end()
    return this.loss
  }

  release(): void {
    this.released = true
    this.#end()
  }

  get #isOver(): boolean {
    return this.released || !!this.loss
  }

  #end(): void {
    for (const action of this.#onEnd) action()
  }
}

/** The lease of one grant, as the client counts it. */
export class Lease {
  /** Another one after a conversion. */
  declare grant: Grant
  declare readonly hold: Hold
  declare readonly since: number
  /** What every renewal asks for. */
  declare ttlSeconds: number | null
  declare expiresAt: Date | null
  declare leaseMs: number | null
  /** By the client's clock, when the lock counts as lost, and when it is due for renewal. */
  declare deadline: number
  declare renewAt: number
  declare autoRenew: boolean
  declare renewing: Promise<unknown> | undefined
  /** Why the last renewal was not confirmed. */
  declare failure: unknown

  constructor(hold: Hold, grant: Grant, since: number, leaseMs: number | null, ttlSeconds: number | null, autoRenew: boolean) {
    Object.assign(this, { hold, grant, since, ttlSeconds, autoRenew, expiresAt: grant.expiresAt })
    this.#begin(since, leaseMs)
  }

  /** A renewal is being sent. If its answer is lost, it may have shortened the lease. */
  sent(at: number, ttlSeconds: number | null): void {
    if (ttlSeconds !== null) this.deadline = Math.min(this.deadline, endOf(at, ttlSeconds * 1000))
  }

  /** A renewal was answered. @returns why the lock is lost, also when it was before the answer came. */
  renewed(sentAt: number, ttlSeconds: number | null, outcome: RenewOutcome): LockLostError | undefined {
    const { hold, grant } = this
    if (hold.released) return undefined
    if (outcome.kind === 'not-held') return hold.lose(grant, outcome.reason)
    if (!hold.held) return hold.loss
    this.ttlSeconds = ttlSeconds
    this.expiresAt = outcome.grant.expiresAt
    if (outcome.revoked || (hold.yields && outcome.waiters)) hold.yielding.abort(outcome.revoked?.reason)
    this.#begin(sentAt, leaseOf(outcome.grant, outcome.renewedAt))
    return undefined
  }

  /** A renewal failed: there is time for another one. */
  putOff(error: unknown): void {
    this.failure = error
    const pauseMs = Math.min(LONGEST_PAUSE_MS, (this.leaseMs ?? Infinity) * MARGIN)
    this.renewAt = this.hold.context.clock.now() + pauseMs * (0.5 + this.hold.context.random() / 2)
  }

  /** The lease is known to go on from that moment for so long. */
  #begin(since: number, leaseMs: number | null): void {
    this.leaseMs = leaseMs
    this.deadline = endOf(since, leaseMs)
    const afterMs = leaseMs === null ? RENEW_ENDLESS_MS : leaseMs * RENEW_AFTER
    this.renewAt = this.autoRenew ? since + afterMs * (1 - SPREAD + 2 * SPREAD * this.hold.context.random()) : Infinity
    this.failure = undefined
  }
}

/**
 * Looks after all locks of a client, by one timer: renews those that are due in as few calls as that takes, notices the end
 * of those that could not be renewed, and listens, by one stream for each process id, for what is taken away.
 */
export class LeaseKeeper {
  readonly #context: ClientContext
  /** Undefined when the client does not listen: the key may not read, or the service keeps no history. */
  #listening: Map<string, AbortController> | undefined
  readonly #leases = new Set<Lease>()
  #cancelTimer: () => void = () => {}
  #firesAt = Infinity

  constructor(context: ClientContext, listens: boolean) {
    this.#context = context
    this.#listening = listens ? new Map() : undefined
  }

  add(lease: Lease): void {
    this.#leases.add(lease)
    lease.hold.onEnd(() => this.#remove(lease))
    this.#wakeAt(Math.min(lease.deadline, lease.renewAt, this.#context.clock.now() + TICK_MS))
  }

  /** What a process holds by this client. */
  heldBy(processId: string): Lease[] {
    return [...this.#leases].filter(({ grant }) => grant.processId === processId)
  }

  /** Renews at once. One renewal of a lock at a time: of two in flight, the client would not know which one decides. */
  async renew(lease: Lease, ttlSeconds: number | null | undefined, timeoutMs: number, signal: AbortSignal): Promise<void> {
    const until = this.#context.clock.now() + timeoutMs
    while (lease.renewing) await lease.renewing.catch(() => {})
    if (lease.hold.held) await this.#renew([lease], ttlSeconds, Math.max(1, until - this.#context.clock.now()), signal)
  }

  #remove(lease: Lease): void {
    this.#leases.delete(lease)
    const { processId } = lease.grant
    if (this.heldBy(processId).length === 0) {
      this.#listening?.get(processId)?.abort()
      this.#listening?.delete(processId)
    }
    if (this.#leases.size > 0) return
    this.#cancelTimer()
    this.#firesAt = Infinity
  }

  #wakeAt(at: number): void {
    if (at >= this.#firesAt) return
    this.#cancelTimer()
    this.#firesAt = at
    const { clock } = this.#context
    this.#cancelTimer = clock.schedule(Math.max(1, at - clock.now()), () => this.#tick(), true)
  }

  /** Renews what is due, loses what is over, and sets the timer again. */
  #tick(): void {
    this.#firesAt = Infinity
    const now = this.#context.clock.now()
    // Asking loses what is over.
    const idle = [...this.#leases].filter(({ hold, renewing }) => hold.held && !renewing)
    if (idle.some(({ renewAt }) => renewAt <= now)) {
      const due = idle.filter(({ renewAt, leaseMs }) => renewAt <= now + (leaseMs ?? 0) * COMPANY)
      for (const group of together(due)) this.#renew(group).catch(() => {})
    }
    let next = this.#leases.size === 0 ? Infinity : now + TICK_MS
    for (const { since, grant, deadline, renewing, renewAt } of this.#leases) {
      if (now - since >= LISTEN_AFTER_MS) this.#listen(grant.processId)
      next = Math.min(next, deadline, renewing ? Infinity : renewAt)
    }
    this.#wakeAt(next)
  }

  /** Renews locks of one process. What failed is put off, each by itself. */
  async #renew(leases: readonly Lease[], ttl?: number | null, timeoutMs = this.#context.timeoutMs, signal?: AbortSignal): Promise<void> {
    const { calls, clock } = this.#context
    const sentAt = clock.now()
    const asked = leases.map((lease) => {
      const ttlSeconds = ttl === undefined ? lease.ttlSeconds : ttl
      lease.sent(sentAt, ttlSeconds)
      return { ...lease.grant, lease, ttlSeconds }
    })
    const patienceMs = Math.min(timeoutMs, ...leases.map(({ leaseMs }) => (leaseMs ?? Infinity) * RENEW_AFTER))
    const renewing = calls.renewManyOnce(asked[0]?.processId ?? '', asked, { timeoutMs: patienceMs, signal }).then((outcomes) => {
      const losses = asked.map(({ lease, ttlSeconds }, index) => lease.renewed(sentAt, ttlSeconds, outcomes[index] as RenewOutcome))
      const loss = losses.find((one) => one)
      if (loss) throw loss
    })
    for (const lease of leases) lease.renewing = renewing
    try {
      await renewing
    } catch (error) {
      for (const lease of leases) if (lease.renewAt <= clock.now()) lease.putOff(error)
      throw error
    } finally {
      for (const lease of leases) lease.renewing = undefined
      this.#wakeAt(Math.min(...leases.filter((lease) => this.#leases.has(lease)).map(({ deadline, renewAt }) => Math.min(deadline, renewAt))))
    }
  }

  /** Begins to listen for what happens to the locks of a process, unless the client does already. */
  #listen(processId: string): void {
    if (!this.#listening || this.#listening.has(processId) || this.#listening.size >= MOST_STREAMS) return
    const ending = new AbortController()
    this.#listening.set(processId, ending)
    this.#hear(processId, ending.signal).catch((error: unknown) => {
      if (ending.signal.aborted) return
      // Without the scope to read, or a history, renewals notice a loss: later, and as surely.
      if (error instanceof LockServiceUnavailableError) this.#listening?.delete(processId)
      else this.#listening = undefined
    })
  }

  async #hear(processId: string, signal: AbortSignal): Promise<void> {
    // A page that never holds a lock for so long does not load it.
    const { lossesOf } = await import('./events.js')
    for await (const { lossReason, resourceName, lockId } of lossesOf(this.#context, processId, signal)) {
      for (const lease of this.heldBy(processId)) {
        const { grant, hold } = lease
        if (grant.lockId === lockId && grant.resourceName === resourceName) {
          if (lossReason) hold.lose(grant, lossReason)
          // The renewal says when it ends now.
          else if (lease.autoRenew) this.#wakeAt((lease.renewAt = 0))
        }
      }
    }
  }
}

/** Groups of locks of one process that one call can renew: a call names a resource once. */
function together(leases: readonly Lease[]): Lease[][] {
  const groups: Lease[][] = []
  for (const lease of leases) {
    const { processId, resourceName } = lease.grant
    const group = groups.findLast(([first]) => first?.grant.processId === processId)
    if (group && group.length < MOST_TOGETHER && !group.some(({ grant }) => grant.resourceName === resourceName)) group.push(lease)
    else groups.push([lease])
  }
  return groups
}
