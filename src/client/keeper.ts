import { LockRequestError, LockServiceUnavailableError, type LossReason } from './errors.js'
import { watchEvents, type ClientContext } from './events.js'
import type { Hold } from './held-lock.js'
import type { EventKind, Grant, LockEvent, RenewOutcome } from './types.js'

/** The lock counts as lost this long before its lease can end, so that its holder has time to stop: a tenth of the lease … */
const MARGIN = 1 / 10
/** … at most this … */
const LONGEST_MARGIN_MS = 2000
/** … and at least this, since timers of a busy machine fire late: two fifths of a lease that is too short even for that. */
const SHORTEST_MARGIN_MS = 500
const LARGEST_MARGIN = 2 / 5

/** A lease is renewed when this share of it is over. */
const RENEW_AFTER = 1 / 3
/** By how much of that share renewals are spread, so that many clients do not renew together. */
const SPREAD = 1 / 5
/** How often a lock without a lease is renewed, to learn whether it was force-released. */
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

  /** A renewal is being sent: even if its response is lost, it may shorten the lease. */
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

/** Timers do not count a machine's sleep, so the clock is read this often. */
const LOOK_EVERY_MS = 1000
/** The stream of events covers locks that are held for this long. */
const LISTEN_AFTER_MS = 1000
/** A renewal includes the locks that are due within this share of their lease. */
const COMPANY = 1 / 10
/** Most locks that one call renews. */
const MOST_TOGETHER = 100
/** How many events of the history are read for what happened before the stream was open. */
const LOOK_BACK = 100

const LOSSES: Readonly<Partial<Record<EventKind, LossReason>>> = { expired: 'expired', released: 'released', force_released: 'released' }

/**
 * Keeps all locks of a client alive with one timer: it renews those that are due in as few calls as possible, notices the end
 * of those that could not be renewed, and hears of released ones by one stream of events for each process id.
 */
export class Keeper {
  readonly #context: ClientContext
  /** Undefined where there is no stream: the key may not read, or no history is kept. */
  #listening: Map<string, AbortController> | undefined
  readonly #leases = new Set<Lease>()
  #cancelTimer: () => void = () => {}
  #firesAt = Infinity
  /** False for a service that knows only the renewal of one lock. */
  #renewsMany = true

  constructor(context: ClientContext, listens: boolean) {
    this.#context = context
    this.#listening = listens ? new Map() : undefined
  }

  add(lease: Lease): void {
    this.#leases.add(lease)
    lease.hold.onEnd(() => this.#remove(lease))
    this.#wakeAt(Math.min(lease.deadline, lease.renewAt, this.#context.clock.now() + LOOK_EVERY_MS))
  }

  /** What a process holds through this client. */
  heldBy(processId: string): Lease[] {
    return [...this.#leases].filter(({ grant }) => grant.processId === processId)
  }

  /** Renews at once. One renewal of a lock at a time: of two in flight, it is unknown which one the service executes last. */
  async renew(lease: Lease, ttlSeconds: number | null | undefined, timeoutMs: number, signal: AbortSignal): Promise<void> {
    const until = this.#context.clock.now() + timeoutMs
    while (lease.renewing !== undefined) await lease.renewing.catch(() => undefined)
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

  /** Renews what is due, and sets the next timer. */
  #tick(): void {
    this.#firesAt = Infinity
    const now = this.#context.clock.now()
    // Loses what is over.
    for (const lease of this.#leases) void lease.hold.held
    const idle = [...this.#leases].filter(({ renewing }) => renewing === undefined)
    if (idle.some(({ renewAt }) => renewAt <= now)) {
      const due = idle.filter(({ renewAt, leaseMs }) => renewAt <= now + (leaseMs ?? 0) * COMPANY)
      for (const group of together(due)) this.#renew(group).catch(() => undefined)
    }
    for (const { since, grant } of this.#leases) if (now - since >= LISTEN_AFTER_MS) this.#listen(grant.processId)
    let next = this.#leases.size === 0 ? Infinity : now + LOOK_EVERY_MS
    for (const { deadline, renewing, renewAt } of this.#leases) next = Math.min(next, deadline, renewing === undefined ? renewAt : Infinity)
    this.#wakeAt(next)
  }

  /** Renews locks of one process. What failed is put off, each by itself. */
  async #renew(leases: readonly Lease[], ttlSeconds?: number | null, timeoutMs = this.#context.timeoutMs, signal?: AbortSignal): Promise<void> {
    const sentAt = this.#context.clock.now()
    const asked = leases.map((lease) => ({ lease, ttlSeconds: ttlSeconds === undefined ? lease.ttlSeconds : ttlSeconds }))
    for (const { lease, ttlSeconds } of asked) lease.sent(sentAt, ttlSeconds)
    const patienceMs = Math.min(timeoutMs, ...leases.map(({ leaseMs }) => (leaseMs ?? Infinity) * RENEW_AFTER))
    const renewing = (async () => {
      const outcomes = await this.#call(asked, patienceMs, signal)
      let loss: unknown
      for (const [index, { lease, ttlSeconds }] of asked.entries()) {
        try {
          lease.renewed(sentAt, ttlSeconds, outcomes[index] as RenewOutcome)
        } catch (error) {
          loss = error
        }
      }
      if (loss !== undefined) throw loss
    })()
    for (const lease of leases) lease.renewing = renewing
    try {
      await renewing
    } catch (error) {
      for (const lease of leases) if (lease.renewAt <= this.#context.clock.now()) lease.putOff(error)
      throw error
    } finally {
      for (const lease of leases) lease.renewing = undefined
      this.#wakeAt(Math.min(...leases.filter((lease) => this.#leases.has(lease)).map(({ deadline, renewAt }) => Math.min(deadline, renewAt))))
    }
  }

  async #call(asked: readonly { readonly lease: Lease; readonly ttlSeconds: number | null | undefined }[], timeoutMs: number, signal: AbortSignal | undefined): Promise<RenewOutcome[]> {
    const { calls } = this.#context
    const [first, second] = asked
    if (first !== undefined && second !== undefined && this.#renewsMany) {
      try {
        const { processId } = first.lease.grant
        return await calls.renewManyOnce(processId, asked.map(({ lease: { grant }, ttlSeconds }) => ({ ...grant, ttlSeconds })), { timeoutMs })
      } catch (error) {
        // An older service.
        if (!(error instanceof LockRequestError) || ![404, 405].includes(error.status)) throw error
        this.#renewsMany = false
      }
    }
    return Promise.all(asked.map(({ lease: { grant }, ttlSeconds }) => calls.renewOnce(grant, ttlSeconds, { timeoutMs, signal })))
  }

  /** Opens the stream of events of a process, unless it is open. */
  #listen(processId: string): void {
    if (this.#listening === undefined || this.#listening.has(processId)) return
    const ending = new AbortController()
    this.#listening.set(processId, ending)
    this.#watch(processId, ending.signal).catch((error: unknown) => {
      if (ending.signal.aborted) return
      // Without the scope to read, or a history, renewals find losses: later, but as surely.
      if (error instanceof LockServiceUnavailableError) this.#listening?.delete(processId)
      else this.#listening = undefined
    })
  }

  async #watch(processId: string, signal: AbortSignal): Promise<void> {
    const context = { ...this.#context, retryMs: Infinity }
    // The history has what happened before the stream was open.
    const { events } = await context.calls.history({ processId, limit: LOOK_BACK }, { signal })
    for (const event of events) this.#heard(event)
    for await (const event of watchEvents(context, { processId, after: events[0]?.eventId ?? 0, signal }, true)) this.#heard(event)
  }

  #heard({ event, resourceName, processId, lockId }: LockEvent): void {
    const reason = LOSSES[event]
    if (reason === undefined) return
    for (const { grant, hold } of this.heldBy(processId)) if (grant.lockId === lockId && grant.resourceName === resourceName) hold.lose(grant, reason)
  }
}

/** Locks of one process that one call can renew. */
function together(leases: readonly Lease[]): Lease[][] {
  const groups: Lease[][] = []
  const open = new Map<string, Lease[]>()
  for (const lease of leases) {
    let group = open.get(lease.grant.processId)
    // One call names a resource once.
    if (group === undefined || group.length >= MOST_TOGETHER || group.some(({ grant }) => grant.resourceName === lease.grant.resourceName)) {
      group = []
      groups.push(group)
      open.set(lease.grant.processId, group)
    }
    group.push(lease)
  }
  return groups
}
