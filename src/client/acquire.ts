import { dataOf, refusalOf } from './api.js'
import type { Clock } from './clock.js'
import { LockRequestError, LockServiceUnavailableError } from './errors.js'
import type { ClientContext } from './events.js'
import { endOf, leaseOf } from './lease.js'
import { Backoff, retrying } from './retry.js'
import type { Answer } from './transport.js'
import type { Conflict, Grant, Metadata, RenewOutcome } from './types.js'
import { conflictOf, grantOf, type Json } from './wire.js'

/** How long one call waits in line: short enough for the time limits of what may stand between client and service … */
const LONGEST_CALL_MS = 25_000
/** … and at most this share of the time in which a service that hangs has to be noticed. */
const WAIT_SHARE = 1 / 2
/** How long instead where somebody wants to hear of the place in line. */
const REPORT_EVERY_MS = 5000
const FIRST_REPORT_MS = 500
/** A service that lets nobody wait even so long is not asked for less. */
const SHORTEST_CALL_MS = 250
/** A wait that is over at once gives the place in line up that was kept. */
const LEAVING_MS = 1

/** A grant that took longer than this share of its lease to be heard of is renewed before it is handed out. */
const FRESH = 1 / 3
/** So many grants may end before they are heard of: then the lease is too short for this service. */
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
 * Asks for locks until they are granted, or the time to wait is over. All calls bear one request id, so that a repetition of
 * one whose answer was lost finds what it was granted, and the next of several calls finds its place in line.
 */
export class Acquisition {
  readonly #wanted: Wanted
  readonly #context: ClientContext
  readonly #clock: Clock
  readonly #backoff: Backoff
  #requestId: string
  /** When the first of the calls was sent that may have been granted the lock unheard of. */
  #since: number | undefined
  /** Whether a place in line is kept for the next call. */
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

  /** Rejects as {@link LockCalls} does. Whoever aborts it, or throws from `onWaiting`, is never left holding the lock or a place. */
  async run(): Promise<Acquired> {
    try {
      return await this.#ask()
    } catch (error) {
      const { signal, processId } = this.#wanted
      const unsure = this.#since !== undefined
      if (error instanceof LockServiceUnavailableError && signal?.aborted !== true) {
        if (unsure && error.outcomeUnknown) Object.assign(error, { requestId: this.#requestId, processId })
      } else if (unsure || this.#hasPlace) void this.#giveBack()
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
        // What an earlier call was granted has ended since.
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

  /** A service whose MAX_WAIT_SECONDS is smaller refuses the call; a shorter one may please it. */
  #asksTooMuch(error: unknown, callMs: number): boolean {
    if (!(error instanceof LockRequestError) || !isAboutTheWait(error) || callMs < SHORTEST_CALL_MS) return false
    this.#limitMs = callMs / 2
    return true
  }

  /**
   * Nobody knows when, during a long wait, a lease began. Where that may be long ago, a renewal gives it a beginning that is
   * known; undefined when it has ended by then.
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
  async #giveBack(): Promise<void> {
    const waitMs = this.#hasPlace ? LEAVING_MS : 0
    try {
      const answer = await retrying((timeoutMs) => this.#call(waitMs, timeoutMs, false), this.#context)
      if (answer.status === 200) this.#release(grantsOf(answer.body))
    } catch {
      // What cannot be found out now ends with its lease.
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
