import { dataOf, refusalOf } from './api.js'
import { Backoff, retrying, type Clock } from './clock.js'
import { LockRequestError, LockServiceUnavailableError } from './errors.js'
import type { ClientContext } from './events.js'
import { endOf, leaseOf } from './keeper.js'
import { conflictOf, grantOf, type Answer, type Json } from './transport.js'
import type { Conflict, Grant, Metadata, RenewOutcome } from './types.js'

/** How long one call waits in the queue: short enough for the time limits of proxies between client and service … */
const LONGEST_CALL_MS = 25_000
/** … and at most this share of the call's time limit, so that a service that hangs is noticed. */
const WAIT_SHARE = 1 / 2
/** How long instead where `onWaiting` reports the position in the queue. */
const REPORT_EVERY_MS = 5000
const FIRST_REPORT_MS = 500
/** A shorter wait is not tried where the service refuses even this one. */
const SHORTEST_CALL_MS = 250
/** A wait this short gives up the place in the queue that was kept. */
const LEAVING_MS = 1

/** A grant whose response took longer than this share of its lease is renewed before the caller gets it. */
const FRESH = 1 / 3
/** After this many grants that ended before their responses arrived, the lease is too short for this service. */
const MOST_DEAD = 2

export interface Wanted {
  /** Several are granted all or none. */
  readonly resourceNames: readonly string[]
  /** Whether they are asked for as several, which one may be too. */
  readonly many: boolean
  readonly processId: string
  /** Undefined takes the service's default, null never ends. */
  readonly ttlSeconds: number | null | undefined
  readonly metadata: Metadata | undefined
  /** Infinity waits as long as it takes, 0 does not wait. */
  readonly waitMs: number
  /** Takes up an earlier request whose answer was lost. */
  readonly requestId: string | undefined
  readonly signal: AbortSignal | undefined
  readonly onWaiting: ((conflict: Conflict) => void) | undefined
}

/** Grants whose leases began at `since` of the client's clock or later. */
export interface Granted {
  readonly kind: 'granted'
  readonly grants: readonly { readonly grant: Grant; readonly leaseMs: number | null }[]
  readonly since: number
}

export type Acquired = Granted | { readonly kind: 'held'; readonly conflict: Conflict }

/**
 * Requests locks until they are granted or the time to wait is over. All calls carry one request id, so that a retry finds what
 * a call with a lost response was granted, and the next of several calls finds its place in the queue.
 */
export class Acquisition {
  readonly #wanted: Wanted
  readonly #context: ClientContext
  readonly #clock: Clock
  readonly #backoff: Backoff
  #requestId: string
  /** When the first call was sent that may have been granted the lock although its response was lost. */
  #since: number | undefined
  /** Whether the service keeps a place in the queue for the next call. */
  #hasPlace = false
  #dead = 0
  /** The longest wait that the service has not refused. */
  #limitMs: number
  #reportMs: number

  constructor(wanted: Wanted, context: ClientContext) {
    this.#wanted = wanted
    this.#context = context
    this.#clock = context.clock
    this.#backoff = new Backoff(context)
    this.#requestId = wanted.requestId ?? newId()
    this.#limitMs = LONGEST_CALL_MS
    this.#reportMs = wanted.onWaiting === undefined ? Infinity : FIRST_REPORT_MS
  }

  /** Rejects as {@link LockCalls} does. A caller that aborts it, or throws from `onWaiting`, never keeps the lock or a place. */
  async run(): Promise<Acquired> {
    try {
      return await this.#ask()
    } catch (error) {
      const { signal, processId } = this.#wanted
      const unsure = this.#since !== undefined
      if (error instanceof LockServiceUnavailableError && signal?.aborted !== true) {
        if (unsure && error.outcomeUnknown) Object.assign(error, { requestId: this.#requestId, processId })
      } else if (unsure || this.#hasPlace) void this.#releaseAbandoned()
      throw error
    }
  }

  async #ask(): Promise<Acquired> {
    const { waitMs, signal, onWaiting, requestId } = this.#wanted
    const deadline = this.#clock.now() + waitMs
    for (;;) {
      signal?.throwIfAborted()
      const timeoutMs = this.#backoff.begin()
      const callMs = Math.min(Math.max(0, deadline - this.#clock.now()), this.#limitMs, this.#reportMs, timeoutMs * WAIT_SHARE)
      const lost = this.#since !== undefined
      this.#since ??= this.#clock.now()
      const comesBack = this.#clock.now() + callMs < deadline
      let answer: Answer
      try {
        answer = await this.#call(callMs, timeoutMs, comesBack, signal)
      } catch (error) {
        if (!lost && changedNothing(error)) this.#since = undefined
        if (!this.#asksTooMuch(error, callMs)) await this.#backoff.pauseAfter(error, signal)
        continue
      }
      this.#backoff.reset()
      const since = this.#since
      if (answer.status === 200) {
        const granted = await this.#confirm(answer.body, since)
        if (granted !== undefined) return granted
        continue
      }
      this.#since = undefined
      if (answer.body['code'] === 'REQUEST_ID_REUSED' && lost && requestId === undefined) {
        // The grant of an earlier call has ended since.
        this.#countDead(since)
        continue
      }
      if (answer.body['code'] !== 'RESOURCE_LOCKED') throw refusalOf(answer.status, answer.body)
      const conflict = conflictOf(answer.body)
      this.#hasPlace = comesBack
      if (this.#clock.now() >= deadline) return { kind: 'held', conflict }
      if (onWaiting !== undefined) {
        onWaiting(conflict)
        this.#reportMs = REPORT_EVERY_MS
      }
    }
  }

  #call(waitMs: number, timeoutMs: number, keepPlace: boolean, signal?: AbortSignal): Promise<Answer> {
    const { resourceNames, many, processId, ttlSeconds, metadata } = this.#wanted
    return this.#context.transport.call({
      method: 'POST',
      path: many ? 'locks/request-many' : 'locks/request',
      body: {
        ...(many ? { resourceNames } : { resourceName: resourceNames[0] }),
        processId,
        ttlSeconds,
        metadata,
        requestId: this.#requestId,
        ...(waitMs > 0 ? { waitSeconds: waitMs / 1000, keepPlace } : {})
      },
      timeoutMs,
      signal
    })
  }

  /** A service with a smaller MAX_WAIT_SECONDS refuses the call; a shorter wait may be allowed. */
  #asksTooMuch(error: unknown, callMs: number): boolean {
    if (!(error instanceof LockRequestError) || !isAboutTheWait(error) || callMs < SHORTEST_CALL_MS) return false
    this.#limitMs = callMs / 2
    return true
  }

  /**
   * It is unknown when, during a long wait, a lease began. Where that may be long ago, a renewal gives it a known beginning;
   * undefined when it has ended by then.
   */
  async #confirm(body: Json, since: number): Promise<Granted | undefined> {
    const grants = grantsOf(body)
    const fresh: Granted = { kind: 'granted', since, grants: grants.map((grant) => ({ grant, leaseMs: leaseOf(grant, grant.lockedAt) })) }
    const isOld = this.#wanted.requestId !== undefined && dataOf(body)['replayed'] === true
    const leaseMs = Math.min(...fresh.grants.map((one) => one.leaseMs ?? Infinity))
    if (leaseMs === Infinity || (!isOld && this.#clock.now() - since < leaseMs * FRESH)) return fresh
    const { signal } = this.#wanted
    let sent = since
    const outcomes = await retrying(
      (timeoutMs) => {
        sent = this.#clock.now()
        return this.#renew(grants, timeoutMs)
      },
      this.#context,
      signal,
      this.#backoff
    )
    const renewed = outcomes.flatMap((outcome) => (outcome.kind === 'renewed' ? [outcome] : []))
    const inTime = this.#clock.now() < Math.min(...renewed.map(({ grant, renewedAt }) => endOf(sent, leaseOf(grant, renewedAt))))
    if (renewed.length === grants.length && inTime) {
      return { kind: 'granted', since: sent, grants: renewed.map(({ grant, renewedAt }) => ({ grant, leaseMs: leaseOf(grant, renewedAt) })) }
    }
    this.#release(grants)
    this.#countDead(since)
    return undefined
  }

  #renew(grants: readonly Grant[], timeoutMs: number): Promise<RenewOutcome[]> {
    const { calls } = this.#context
    const { signal, processId, many } = this.#wanted
    const [grant] = grants
    if (!many && grant !== undefined) return calls.renewOnce(grant, undefined, { signal, timeoutMs }).then((outcome) => [outcome])
    return calls.renewManyOnce(processId, grants, { signal, timeoutMs })
  }

  /** @throws LockServiceUnavailableError when it has happened too often. */
  #countDead(since: number): void {
    this.#since = undefined
    this.#dead += 1
    const { ttlSeconds, requestId } = this.#wanted
    if (this.#dead >= MOST_DEAD || requestId !== undefined) {
      const ms = Math.round(this.#clock.now() - since)
      throw new LockServiceUnavailableError(`A lease of ${ttlSeconds} s is over before the service is heard, which took ${ms} ms: ask for a longer ttlSeconds`, {
        code: 'LEASE_TOO_SHORT',
        outcomeUnknown: false
      })
    }
    this.#requestId = newId()
  }

  /** Finds out, in the background, whether the lock was granted just as the caller gave up, and releases it; a kept place goes as well. */
  async #releaseAbandoned(): Promise<void> {
    const waitMs = this.#hasPlace ? LEAVING_MS : 0
    try {
      const answer = await retrying((timeoutMs) => this.#call(waitMs, timeoutMs, false), this.#context)
      if (answer.status === 200) this.#release(grantsOf(answer.body))
    } catch {
      // A lock that cannot be released now ends with its lease.
    }
  }

  #release(grants: readonly Grant[]): void {
    for (const grant of grants) this.#context.calls.release(grant).catch(() => undefined)
  }
}

function grantsOf(body: Json): Grant[] {
  const data = dataOf(body)
  return ((data['locks'] as Json[] | undefined) ?? [data]).map(grantOf)
}

/** 128 random bits; `randomUUID` is not there in pages that came over plain http. */
export function newId(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, '0')).join('')
}

function isAboutTheWait({ detail }: LockRequestError): boolean {
  return Array.isArray(detail) && detail.some((fault: { loc?: unknown } | null) => Array.isArray(fault?.loc) && fault.loc.includes('wait_seconds'))
}

function changedNothing(error: unknown): boolean {
  return error instanceof LockRequestError || (error instanceof LockServiceUnavailableError && !error.outcomeUnknown)
}
