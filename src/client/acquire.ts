import type { Conflict, Grant, Metadata, ResourceShare, Sharing } from './answers.js'
import type { ClientContext } from './api.js'
import type { Clock } from './clock.js'
import { LockRequestError, LockServiceUnavailableError } from './errors.js'
import { endOf, leaseOf } from './leases.js'
import { Backoff, grantOf, resultOf, retrying, type Answer } from './transport.js'

/** How long one call waits in the queue: short enough for the time limits of proxies between client and service … */
const LONGEST_CALL_MS = 25_000
/** … and at most this share of the time in which a service that hangs has to be noticed. */
const WAIT_SHARE = 1 / 2
/** How long instead when the caller wants to hear of its position in the queue. */
const REPORT_EVERY_MS = 5000
const FIRST_REPORT_MS = 500
/** When a service refuses even so short a wait, the client does not try a shorter one. */
const SHORTEST_CALL_MS = 250
/** A wait that is over at once gives up the position in the queue that was kept. */
const LEAVING_MS = 1

/** A grant whose answer took longer than this share of its lease is renewed before the caller gets it. */
const FRESH = 1 / 3
/** After so many grants that ended before their answer arrived, the lease is too short for this service. */
const MOST_DEAD = 2

export interface Wanted {
  /** Several are granted all or none. */
  readonly resources: readonly (string | ResourceShare)[]
  /** Whether they are asked for as several, which one may be too. */
  readonly many: boolean
  readonly processId: string
  /** Null never ends. */
  readonly ttlSeconds: number | null
  /** What else it says of the lock, as the service takes it. */
  readonly fields: { readonly metadata?: Metadata | undefined; readonly steal?: boolean | undefined; readonly holdAtLeastSeconds?: number | undefined; readonly lockDelaySeconds?: number | undefined } & Sharing
  /** Infinity waits as long as it takes, 0 does not wait. */
  readonly waitMs: number
  /** Resumes an earlier request whose answer was lost. */
  readonly requestId?: string | undefined
  readonly signal?: AbortSignal | undefined
  readonly onWaiting?: ((conflict: Conflict) => void) | undefined
}

/** Grants whose leases began at `since` of the client's clock or later. */
export interface Granted {
  readonly grants: readonly { readonly grant: Grant; readonly leaseMs: number | null }[]
  readonly since: number
}

/**
 * Asks for locks until they are granted, or the time to wait is over. All calls bear one request id: a repetition of a call
 * whose answer was lost finds what that was granted, and the next of several calls finds its position in the queue.
 */
export class Acquisition {
  readonly #wanted: Wanted
  readonly #context: ClientContext
  readonly #clock: Clock
  #backoff: Backoff
  #requestId: string
  /** When the first of the calls was sent that may have been granted the lock although no answer arrived. */
  #since: number | undefined
  /** Whether a position in the queue is kept for the next call. */
  #isQueued = false
  #dead = 0
  /** The longest wait that the service has not refused. */
  #limitMs = LONGEST_CALL_MS
  #reportMs: number

  constructor(wanted: Wanted, context: ClientContext) {
    this.#wanted = wanted
    this.#context = context
    this.#clock = context.clock
    this.#backoff = new Backoff(context)
    this.#requestId = wanted.requestId ?? newId()
    this.#reportMs = wanted.onWaiting ? FIRST_REPORT_MS : Infinity
  }

  /** Rejects as {@link LockCalls} does. A caller that aborts it, or throws from `onWaiting`, keeps neither a lock nor a position in the queue. */
  async run(): Promise<Granted | Conflict> {
    try {
      return await this.#ask()
    } catch (error) {
      const { signal, processId } = this.#wanted
      const unsure = this.#since !== undefined
      if (error instanceof LockServiceUnavailableError && !signal?.aborted) {
        if (unsure && error.outcomeUnknown) Object.assign(error, { requestId: this.#requestId, processId })
      } else if (unsure || this.#isQueued) void this.#giveUp()
      throw error
    }
  }

  async #ask(): Promise<Granted | Conflict> {
    const { waitMs, signal, onWaiting, requestId } = this.#wanted
    const deadline = this.#clock.now() + waitMs
    for (;;) {
      signal?.throwIfAborted()
      const timeoutMs = this.#backoff.begin()
      const now = this.#clock.now()
      const callMs = Math.min(Math.max(0, deadline - now), this.#limitMs, this.#reportMs, timeoutMs * WAIT_SHARE)
      const comesBack = now + callMs < deadline
      const lost = this.#since !== undefined
      const since = (this.#since ??= now)
      let answer: Answer
      try {
        answer = await this.#call(callMs, timeoutMs, comesBack, signal)
      } catch (error) {
        const isRefused = error instanceof LockRequestError
        if (!lost && (isRefused || (error instanceof LockServiceUnavailableError && !error.outcomeUnknown))) this.#since = undefined
        // A service whose MAX_WAIT_SECONDS is smaller names the field, and may accept a shorter wait.
        if (isRefused && callMs >= SHORTEST_CALL_MS && error.message.includes('"wait_seconds"')) this.#limitMs = callMs / 2
        else await this.#backoff.pauseAfter(error, signal)
        continue
      }
      // The service is there.
      this.#backoff = new Backoff(this.#context)
      const { status, body } = answer
      if (status === 200) {
        const granted = await this.#confirm(answer, since)
        if (granted) return granted
        continue
      }
      this.#since = undefined
      const { code, detail: _detail, ...conflict } = body
      if (code === 'REQUEST_ID_REUSED' && lost && !requestId) {
        // What an earlier call was granted has ended since.
        this.#countDead(since)
        continue
      }
      // Throws.
      if (code !== 'RESOURCE_LOCKED') resultOf(answer)
      this.#isQueued = comesBack
      const found = { queuePosition: null, ...conflict } as unknown as Conflict
      if (this.#clock.now() >= deadline) return found
      if (onWaiting) {
        onWaiting(found)
        this.#reportMs = REPORT_EVERY_MS
      }
    }
  }

  #call(waitMs: number, timeoutMs: number, keepPlace: boolean, signal?: AbortSignal): Promise<Answer> {
    const { resources, many, processId, ttlSeconds, fields } = this.#wanted
    return this.#context.transport.call({
      method: 'POST',
      path: many ? 'locks/request-many' : 'locks/request',
      body: {
        ...(many ? namesOf(resources) : { resourceName: resources[0] }),
        ...fields,
        processId,
        ttlSeconds,
        requestId: this.#requestId,
        ...(waitMs > 0 && { waitSeconds: waitMs / 1000, keepPlace })
      },
      timeoutMs,
      signal
    })
  }

  /**
   * The client cannot know when, during a long wait, a lease began. Where that may be long ago, a renewal gives it a
   * beginning that is known; undefined when it has ended by then.
   */
  async #confirm(answer: Answer, since: number): Promise<Granted | undefined> {
    const { requestId, processId, signal } = this.#wanted
    const grants = grantsOf(answer)
    const fresh = { since, grants: grants.map((grant) => ({ grant, leaseMs: leaseOf(grant, grant.lockedAt) })) }
    const isOld = requestId && resultOf<{ replayed?: boolean }>(answer).replayed
    const shortestMs = Math.min(...fresh.grants.map(({ leaseMs }) => leaseMs ?? Infinity))
    if (shortestMs === Infinity || (!isOld && this.#clock.now() - since < shortestMs * FRESH)) return fresh
    let sentAt = since
    const outcomes = await retrying(
      (timeoutMs) => {
        sentAt = this.#clock.now()
        return this.#context.calls.renewManyOnce(processId, grants, { signal, timeoutMs })
      },
      this.#context,
      signal,
      this.#backoff
    )
    const renewed = outcomes.flatMap((outcome) => (outcome.kind === 'renewed' ? { grant: outcome.grant, leaseMs: leaseOf(outcome.grant, outcome.renewedAt) } : []))
    if (renewed.length === grants.length && renewed.every(({ leaseMs }) => this.#clock.now() < endOf(sentAt, leaseMs))) return { since: sentAt, grants: renewed }
    this.#release(grants)
    this.#countDead(since)
    return undefined
  }

  /** @throws LockServiceUnavailableError when it has happened too often. */
  #countDead(since: number): void {
    this.#since = undefined
    this.#dead += 1
    const { ttlSeconds, requestId } = this.#wanted
    if (this.#dead >= MOST_DEAD || requestId) {
      const ms = Math.round(this.#clock.now() - since)
      throw new LockServiceUnavailableError(`A lease of ${ttlSeconds} s was over before its answer came, after ${ms} ms: ask for a longer ttlSeconds`, {
        code: 'LEASE_TOO_SHORT',
        outcomeUnknown: false
      })
    }
    this.#requestId = newId()
  }

  /** Finds out, in the background, whether the lock was granted just as the caller gave up, and releases it; a kept position goes as well. */
  async #giveUp(): Promise<void> {
    const waitMs = this.#isQueued ? LEAVING_MS : 0
    try {
      const answer = await retrying((timeoutMs) => this.#call(waitMs, timeoutMs, false), this.#context)
      if (answer.status === 200) this.#release(grantsOf(answer))
    } catch {
      // What cannot be found out now ends with its lease.
    }
  }

  #release(grants: readonly Grant[]): void {
    for (const grant of grants) this.#context.calls.release(grant).catch(() => {})
  }
}

/** Only a service that knows of shares is asked for some. */
function namesOf(resources: readonly (string | ResourceShare)[]): object {
  if (resources.every((one) => typeof one === 'string')) return { resourceNames: resources }
  return { resources: resources.map((one) => (typeof one === 'string' ? { resourceName: one } : one)) }
}

function grantsOf(answer: Answer): Grant[] {
  const result = resultOf<Grant & { readonly locks?: readonly Grant[] }>(answer)
  return (result.locks ?? [result]).map(grantOf)
}

/** 128 random bits; `randomUUID` does not exist in pages that came over plain http. */
export function newId(): string {
  return crypto.getRandomValues(new Uint8Array(16)).reduce((id, byte) => id + byte.toString(16).padStart(2, '0'), '')
}

