import type { Clock } from './clock.js'
import { LockRequestError, LockServiceUnavailableError } from './errors.js'
import { dataOf, refusalOf, type LockCalls } from './lock-calls.js'
import { Patience, retrying, type RetryOptions } from './retry.js'
import type { Answer, Transport } from './transport.js'
import type { Conflict, Grant, Metadata } from './types.js'
import { conflictOf, grantOf } from './wire.js'

/** How long one call waits in line; short enough for the time limits of what may stand between client and service. */
const LONGEST_CALL_MS = 25_000
/** How long instead where somebody wants to hear of the place in line. */
const REPORT_EVERY_MS = 5000
const FIRST_REPORT_MS = 500
/** A service that lets nobody wait even so long is not asked for less. */
const SHORTEST_CALL_MS = 250

/** A grant that took longer than this share of its lease to be heard of is renewed before it is handed out. */
const FRESH = 1 / 3

export interface Wanted {
  readonly resourceName: string
  readonly processId: string
  /** Undefined takes the service's default, null never ends. */
  readonly ttlSeconds: number | null | undefined
  readonly metadata: Metadata | undefined
  /** Infinity waits as long as it takes, 0 does not wait. */
  readonly waitMs: number
  readonly signal: AbortSignal | undefined
  readonly onWaiting: ((conflict: Conflict) => void) | undefined
}

export interface Surroundings extends RetryOptions {
  readonly transport: Transport
  readonly calls: LockCalls
  readonly timeoutMs: number
}

export type Acquired =
  /** The lease began at `since` of the client's clock or later, and lasts `leaseMs`; null never ends. */
  | { readonly kind: 'granted'; readonly grant: Grant; readonly since: number; readonly leaseMs: number | null }
  | { readonly kind: 'held'; readonly conflict: Conflict }

/**
 * Asks for a lock until it is granted, or the time to wait is over. All calls bear one request id, so that a repetition of
 * one whose answer was lost finds the lock that it was given, and the next of several calls finds its place in line.
 */
export class Acquisition {
  readonly #wanted: Wanted
  readonly #surroundings: Surroundings
  readonly #clock: Clock
  #requestId = newId()
  /** When the first of the calls was sent that may have been granted the lock unheard of. */
  #since: number | undefined
  /** The longest wait that the service has not refused. */
  #limitMs = LONGEST_CALL_MS
  #reportMs: number

  constructor(wanted: Wanted, surroundings: Surroundings) {
    this.#wanted = wanted
    this.#surroundings = surroundings
    this.#clock = surroundings.clock
    this.#reportMs = wanted.onWaiting === undefined ? Infinity : FIRST_REPORT_MS
  }

  /** Rejects as {@link LockCalls} does. Whoever aborts it is never left holding the lock. */
  async run(): Promise<Acquired> {
    const { signal } = this.#wanted
    try {
      return await this.#ask()
    } catch (error) {
      if (signal?.aborted === true && this.#since !== undefined) void this.#giveBack()
      throw error
    }
  }

  async #ask(): Promise<Acquired> {
    const { waitMs, signal, onWaiting } = this.#wanted
    const deadline = this.#clock.now() + waitMs
    for (const patience = new Patience(this.#surroundings); ; ) {
      signal?.throwIfAborted()
      const callMs = Math.min(Math.max(0, deadline - this.#clock.now()), this.#limitMs, this.#reportMs)
      const lost = this.#since !== undefined
      this.#since ??= this.#clock.now()
      let answer: Answer
      try {
        answer = await this.#call(callMs, this.#clock.now() + callMs < deadline)
      } catch (error) {
        if (!lost && changedNothing(error)) this.#since = undefined
        if (!this.#asksTooMuch(error, callMs)) await patience.pauseAfter(error, signal)
        continue
      }
      patience.reset()
      const since = this.#since
      if (answer.status === 200) {
        const granted = await this.#confirm(grantOf(dataOf(answer.body)), since)
        if (granted !== undefined) return granted
        continue
      }
      this.#since = undefined
      if (answer.body['code'] === 'REQUEST_ID_REUSED' && lost) {
        // What an earlier call was granted has ended since.
        this.#requestId = newId()
        continue
      }
      if (answer.body['code'] !== 'RESOURCE_LOCKED') throw refusalOf(answer.status, answer.body)
      const conflict = conflictOf(answer.body)
      if (this.#clock.now() >= deadline) return { kind: 'held', conflict }
      if (onWaiting !== undefined) {
        onWaiting(conflict)
        this.#reportMs = REPORT_EVERY_MS
      }
    }
  }

  /** @param comesBack whether another call may ask for the place in line that this one leaves. */
  #call(waitMs: number, comesBack: boolean): Promise<Answer> {
    const { resourceName, processId, ttlSeconds, metadata, signal } = this.#wanted
    const { transport, timeoutMs } = this.#surroundings
    return transport.call({
      method: 'POST',
      path: 'locks/request',
      body: {
        resource_name: resourceName,
        process_id: processId,
        ttl_seconds: ttlSeconds,
        metadata,
        request_id: this.#requestId,
        ...(waitMs > 0 ? { wait_seconds: waitMs / 1000, keep_place: comesBack } : {})
      },
      timeoutMs: waitMs + timeoutMs,
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
   * known; undefined when the lock has ended by then.
   */
  async #confirm(grant: Grant, since: number): Promise<Acquired | undefined> {
    const leaseMs = lengthOf(grant, grant.lockedAt)
    if (leaseMs === null || this.#clock.now() - since < leaseMs * FRESH) return { kind: 'granted', grant, since, leaseMs }
    const { calls } = this.#surroundings
    const { signal } = this.#wanted
    let sent = since
    const renewal = await retrying(() => {
      sent = this.#clock.now()
      return calls.renewOnce(grant, undefined, { signal })
    }, this.#surroundings, signal)
    if (renewal.kind === 'renewed') return { kind: 'granted', grant: renewal.grant, since: sent, leaseMs: lengthOf(renewal.grant, renewal.renewedAt) }
    this.#since = undefined
    this.#requestId = newId()
    return undefined
  }

  /** Finds out, in the background, whether the lock was granted just as the caller gave up, and releases it. */
  async #giveBack(): Promise<void> {
    const { transport, calls } = this.#surroundings
    const { resourceName, processId, ttlSeconds, metadata } = this.#wanted
    const body = { resource_name: resourceName, process_id: processId, ttl_seconds: ttlSeconds, metadata, request_id: this.#requestId }
    try {
      const answer = await retrying(() => transport.call({ method: 'POST', path: 'locks/request', body }), this.#surroundings)
      if (answer.status === 200) await calls.release(grantOf(dataOf(answer.body)))
    } catch {
      // What cannot be found out now ends with its lease.
    }
  }
}

/** The lease of a grant from an instant on, in milliseconds; null never ends. */
export function lengthOf({ expiresAt }: Grant, from: Date): number | null {
  return expiresAt === null ? null : expiresAt.getTime() - from.getTime()
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
