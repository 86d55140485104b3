import { LockRequestError, LockServiceUnavailableError, type LossReason } from './errors.js'
import { watchEvents, type ClientContext } from './events.js'
import { RENEW_AFTER, type Lease } from './lease.js'
import type { EventKind, LockEvent, RenewOutcome } from './types.js'

/** A machine that slept wakes with its timers as they were, so that the time is looked at this often. */
const LOOK_EVERY_MS = 1000
/** A lock that is held for so long is listened for. */
const LISTEN_AFTER_MS = 1000
/** When a lock is renewed, so are those that are due within this share of their lease. */
const COMPANY = 1 / 10
/** Most locks that one call renews. */
const MOST_TOGETHER = 100
/** How far back the history is looked through for what happened before the stream was there. */
const LOOK_BACK = 100

const LOSSES: Readonly<Partial<Record<EventKind, LossReason>>> = { expired: 'expired', released: 'released', force_released: 'released' }

/**
 * Looks after all locks of a client, by one timer: renews those that are due in as few calls as that takes, notices the end
 * of those that could not be renewed, and listens, by one stream for each process id, for what is taken away.
 */
export class Keeper {
  readonly #context: ClientContext
  /** Undefined where nobody listens: for who may not read, or where no history is kept. */
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

  /** What a process holds by this client. */
  heldBy(processId: string): Lease[] {
    return [...this.#leases].filter(({ grant }) => grant.processId === processId)
  }

  /** Renews at once. One renewal of a lock at a time: of two under way, nobody could tell which one decides. */
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

  /** Looks what is due, and when to look again. */
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

  /** Begins to listen for what happens to the locks of a process, unless somebody does. */
  #listen(processId: string): void {
    if (this.#listening === undefined || this.#listening.has(processId)) return
    const ending = new AbortController()
    this.#listening.set(processId, ending)
    this.#watch(processId, ending.signal).catch((error: unknown) => {
      if (ending.signal.aborted) return
      // Without the scope to read, or a history, renewals tell: later, and as surely.
      if (error instanceof LockServiceUnavailableError) this.#listening?.delete(processId)
      else this.#listening = undefined
    })
  }

  async #watch(processId: string, signal: AbortSignal): Promise<void> {
    const context = { ...this.#context, retryMs: Infinity }
    // What happened before the stream was there is looked up.
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
