import type { AcquireCommand, AcquireOutcome, SweepCommand, SweepOutcome } from '../../src/locks/commands.js'
import type { EpochMs, Grant, IdempotencyKey, ResourceName, TtlMs } from '../../src/locks/lock.js'
import type { EventKind, LockEvent } from '../../src/locks/store.js'
import { KEEP_ENDED_MS, KEEP_REQUEST_MS } from '../../src/storage/tables.js'
import { matches } from './list.js'

/** How much longer than it has to a store may keep an ended row that the sweeper has already met once. */
const SLACK_MS = 1000

/** The latest grant of a resource, and what the sweeper may have done about it. */
export interface Latest {
  grant: Grant
  /** The lease with which it was made, or last restarted by a renewal. */
  ttlMs: TtlMs
  /** The key that it belongs to. */
  readonly key: string | null
  /** When the history last had an event of it while it was valid. */
  toldAt: EpochMs
  releasedAt: EpochMs | null
  /** Whether the sweeper has written the expiry down, and the last instant at which it may have. */
  marked: 'no' | 'maybe' | 'yes'
  markedAt: EpochMs
  /** Whether its expiry was read in the history. */
  endTold: boolean
  /** Whether the store still remembers that the grant ever was. */
  remembered: 'yes' | 'maybe' | 'no'
}

export function newest(grant: Grant, ttlMs: TtlMs, key: string | null): Latest {
  const { lockedAt } = grant
  return { grant, ttlMs, key, toldAt: lockedAt, releasedAt: null, marked: 'no', markedAt: lockedAt, endTold: false, remembered: 'yes' }
}

export function isValid({ grant, releasedAt }: Latest, now: EpochMs): boolean {
  return releasedAt === null && (grant.expiresAt === null || now < grant.expiresAt)
}

export function isOpenTo(latest: Latest, key: string | null): boolean {
  return key === null || latest.key === null || latest.key === key
}

export function hasExpired(latest: Latest, now: EpochMs): boolean {
  return latest.releasedAt === null && !isValid(latest, now)
}

export function endOf({ grant, releasedAt }: Latest): EpochMs {
  return releasedAt ?? grant.expiresAt ?? Number.POSITIVE_INFINITY
}

function mayForget(latest: Latest, now: EpochMs): boolean {
  return endOf(latest) + KEEP_ENDED_MS <= now
}

/** The sweeper keeps what it marks for another while, so that an expiry it saw late is remembered too. */
function mustForget({ releasedAt, marked, markedAt }: Latest, now: EpochMs): boolean {
  if (releasedAt === null && marked !== 'yes') return false
  return (releasedAt ?? markedAt) + KEEP_ENDED_MS + SLACK_MS <= now
}

type Holder = (name: ResourceName) => Grant | null

interface Memory {
  readonly fingerprint: string
  readonly grants: readonly Grant[]
  /** Until when it is remembered at least and at most, should nothing of it be held then: a sweep may have put it off. */
  until: EpochMs
  untilAtMost: EpochMs
}

/** The granted requests that bore an id. */
export class RememberedRequests {
  readonly #memories = new Map<string, Memory>()
  readonly #holder: Holder

  constructor(holder: Holder) {
    this.#holder = holder
  }

  /** Whose grants the id is remembered for. */
  namesOf(id: string): readonly ResourceName[] | undefined {
    return this.#memories.get(id)?.grants.map(({ resourceName }) => resourceName)
  }

  remember({ idempotencyKey: mark, ttlMs }: AcquireCommand, grants: readonly Grant[], now: EpochMs): void {
    if (mark === null) return
    const until = now + Math.max(ttlMs ?? 0, KEEP_REQUEST_MS)
    this.#memories.set(mark.id, { fingerprint: mark.fingerprint, grants, until, untilAtMost: until })
  }

  /** What a request with that mark is answered, if it is recognised; `surely` not where it may be forgotten. */
  recognise({ id, fingerprint }: IdempotencyKey, now: EpochMs): { outcome: AcquireOutcome; surely: boolean } | undefined {
    const memory = this.#memories.get(id)
    if (memory === undefined) return undefined
    const held = this.#heldOf(memory)
    if (held.length === memory.grants.length && fingerprint === memory.fingerprint) {
      return { outcome: { kind: 'granted', grants: held, replayed: true }, surely: true }
    }
    if (held.length === 0 && memory.untilAtMost <= now) return undefined
    return { outcome: { kind: 'request-id-reused' }, surely: held.length > 0 || now < memory.until }
  }

  /** A sweep forgets what is past its time, and puts off what is held. @param all whether it has surely got to the last of them. */
  swept(now: EpochMs, all: boolean): void {
    for (const [id, memory] of this.#memories) {
      if (memory.until > now) continue
      const held = this.#heldOf(memory).length > 0
      const surelyDue = all && memory.untilAtMost <= now
      if (held) memory.untilAtMost = now + KEEP_REQUEST_MS
      if (held && surelyDue) memory.until = memory.untilAtMost
      if (!held && surelyDue) this.#memories.delete(id)
    }
  }

  /** As they are now, in the order of the request. */
  #heldOf({ grants }: Memory): Grant[] {
    return grants.flatMap(({ resourceName, lockId }) => {
      const grant = this.#holder(resourceName)
      return grant?.lockId === lockId ? [grant] : []
    })
  }
}

type Expected = Omit<LockEvent, 'eventId'>

/** The events that the history must have: of each resource exactly these, in this order. Only an expiry may come earlier or later. */
export class ExpectedHistory {
  readonly #due = new Map<string, Expected[]>()

  expect(kind: EventKind, at: EpochMs, { resourceName, lockId, processId }: Grant, reason: string | null = null): void {
    const due = this.#due.get(resourceName) ?? []
    due.push({ kind, at, resourceName, lockId, processId, reason })
    this.#due.set(resourceName, due)
  }

  /** Its event must come before the next grant of the resource, unless it was read already. */
  expectExpiry({ grant, endTold }: Latest): void {
    if (!endTold) this.expect('expired', grant.expiresAt ?? 0, grant)
  }

  /** What is wrong with the events since the last reading. Nothing may go on meanwhile. */
  fault(events: readonly LockEvent[], latest: ReadonlyMap<string, Latest>, now: EpochMs): string | undefined {
    for (const event of events) {
      const last = latest.get(event.resourceName)
      const next = this.#due.get(event.resourceName)?.shift() ?? (last === undefined ? undefined : openExpiry(last, now))
      if (next === undefined) return `tells ${JSON.stringify(event)}, which did not happen`
      if (!matches(event, next)) return `tells ${JSON.stringify(event)} instead of ${JSON.stringify(next)}`
      if (last !== undefined && event.kind === 'expired' && event.lockId === last.grant.lockId) last.endTold = true
    }
    const missing = [...this.#due.values()].flat()[0]
    if (missing !== undefined) return `leaves out ${JSON.stringify(missing)}`
    this.#due.clear()
    const untold = [...latest.values()].find((last) => last.marked === 'yes' && openExpiry(last, now) !== undefined)
    return untold && `leaves out that ${JSON.stringify(untold.grant)} expired, which the sweeper has seen`
  }
}

/** The expiry whose event may be there by now and was not read yet. */
function openExpiry(latest: Latest, now: EpochMs): Expected | undefined {
  if (latest.endTold || !hasExpired(latest, now)) return undefined
  const { resourceName, lockId, processId, expiresAt } = latest.grant
  return { kind: 'expired', at: expiresAt ?? 0, resourceName, lockId, processId, reason: null }
}

/** What sweeps may do to the latest grants; how far they got is taken from their answers. */
export class Sweeping {
  readonly #latest: ReadonlyMap<unknown, Latest>
  #mayExpire = 0

  constructor(latest: ReadonlyMap<unknown, Latest>) {
    this.#latest = latest
  }

  /** Begins a round. @param sweeping whether a sweeper runs by itself. */
  begin(now: EpochMs, sweeping: boolean): void {
    this.#mayExpire = this.#expired(now).length
    if (sweeping) this.#sweptSome(now, { expired: true, removed: true })
  }

  /** What is wrong with the counts of a sweep. */
  fault({ limit }: SweepCommand, { expired, removed, more }: SweepOutcome, now: EpochMs, concurrent: boolean): string | undefined {
    if (expired + removed > limit) return `worked on more than ${limit} rows`
    this.#mayExpire -= expired
    if (this.#mayExpire < 0) return 'expired grants that were valid or had ended before'
    if (concurrent) {
      // A row that was laid but is not granted yet may be removed too, and another sweep may have done some of the work.
      this.#sweptSome(now, { expired: expired > 0, removed: removed > 0 })
      return undefined
    }
    const due = this.#expired(now)
    const ended = [...this.#latest.values()].filter((latest) => latest.remembered !== 'no' && mayForget(latest, now))
    const mustRemove = ended.filter((latest) => latest.remembered === 'yes' && mustForget(latest, now))
    if (removed > ended.length) return `removed more than the ${ended.length} grants that ended long enough ago`
    if (!more && expired < due.filter(({ marked }) => marked === 'no').length) return 'left an expired grant as it was'
    if (!more && removed < mustRemove.length) return `removed less than the ${mustRemove.length} grants that ended long ago`
    for (const latest of removed > 0 ? ended : []) latest.remembered = more || !mustForget(latest, now) ? 'maybe' : 'no'
    for (const latest of due) mark(latest, now, more ? 'maybe' : 'yes')
    return undefined
  }

  /** The sweeper has run and got somewhere, nobody knows how far. */
  #sweptSome(now: EpochMs, { expired, removed }: { readonly expired: boolean; readonly removed: boolean }): void {
    for (const latest of removed ? this.#latest.values() : []) {
      if (latest.remembered === 'yes' && mayForget(latest, now)) latest.remembered = 'maybe'
    }
    for (const latest of expired ? this.#expired(now) : []) mark(latest, now, 'maybe')
  }

  /** Those whose expiry is perhaps not written down yet. */
  #expired(now: EpochMs): Latest[] {
    return [...this.#latest.values()].filter((latest) => latest.marked !== 'yes' && hasExpired(latest, now))
  }
}

function mark(latest: Latest, now: EpochMs, marked: 'maybe' | 'yes'): void {
  latest.marked = marked
  latest.markedAt = now
}
