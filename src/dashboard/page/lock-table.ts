import type { Grant, ListedLock, LockEvent } from '../../client/index.js'

/** What a share takes of its resource. What is undefined only a list tells, after a conversion. */
export interface Share {
  /** Null for any number. */
  readonly limit: number | null | undefined
  readonly permits: number | undefined
  readonly slots: readonly number[]
}

/** A grant as far as the page knows it. What only lists contain is undefined until one was read. Times are in milliseconds since 1970. */
export interface Lock {
  readonly name: string
  readonly process: string
  readonly lockId: number
  /** Tells the grant from all others. */
  readonly key: string
  readonly lockedAt: number
  /** Null never ends. */
  readonly expiresAt: number | null | undefined
  /** The lease with which it was granted. */
  readonly ttlMs: number | null | undefined
  readonly renewals: number | undefined
  /** How many wait for the resource. */
  readonly waiters: number | undefined
  readonly metadata: Readonly<Record<string, unknown>> | null | undefined
  /** Null for an exclusive lock. */
  readonly share: Share | null | undefined
  /** The text that the filter searches. */
  readonly haystack: string
}

interface Entry {
  readonly lock: Lock
  readonly round: number
}

interface Resource {
  /** The valid grants by their numbers. */
  readonly grants: Map<number, Entry>
  /** The number of the latest grant that is known to have been exclusive, 0 for none: all before it have ended. */
  exclusive: number
}

/**
 * All grants, from lists, which are complete and late, and from events, which are early and say little.
 *
 * A list is read page by page, and events arrive in between. The numbers of a resource's grants grow, and an exclusive one is
 * valid alone: what is reported with a smaller number than it is over, however late the report arrives.
 */
export class LockTable {
  readonly #resources = new Map<string, Resource>()
  /** The keys of grants that are known to have ended, for pages that were read before, with the round in which they did. */
  readonly #ended = new Map<string, number>()
  #round = 0
  #sorted: readonly Lock[] | undefined

  /** In the order of the service's lists: by name, then by number. */
  get locks(): readonly Lock[] {
    this.#sorted ??= [...this.#resources.keys()].toSorted(compareNames).flatMap((name) => this.grantsOf(name))
    return this.#sorted
  }

  /** The valid grants of a resource, by number. */
  grantsOf(name: string): readonly Lock[] {
    const locks = Array.from(this.#resources.get(name)?.grants.values() ?? [], ({ lock }) => lock)
    return locks.length < 2 ? locks : locks.toSorted((a, b) => a.lockId - b.lockId)
  }

  /** Whether that very grant is valid. */
  has({ name, lockId }: Pick<Lock, 'name' | 'lockId'>): boolean {
    return this.#resources.get(name)?.grants.has(lockId) ?? false
  }

  /** Forgets everything, as when the page goes on with another key. */
  clear(): void {
    this.#resources.clear()
    this.#ended.clear()
    this.#sorted = undefined
  }

  /** A complete reading of the list begins. */
  beginRound(): void {
    this.#round += 1
  }

  /** The reading is complete: a lock that neither it nor any event since its beginning has shown is gone. */
  endRound(): void {
    for (const [name, { grants }] of this.#resources) {
      for (const [lockId, { round }] of grants) if (round < this.#round) grants.delete(lockId)
      if (grants.size === 0) this.#resources.delete(name)
    }
    for (const [key, round] of this.#ended) if (round < this.#round) this.#ended.delete(key)
    this.#sorted = undefined
  }

  /** Takes over a list or a page of it. */
  merge(locks: readonly ListedLock[]): void {
    for (const listed of locks) {
      const lock = lockFromList(listed)
      if (this.#isOver(lock)) continue
      const { grants } = this.#resourceOf(lock.name)
      if (lock.share === null) {
        const known = grants.get(lock.lockId)?.lock
        // Pages from before it was converted, and from before another grant.
        if (known?.share) this.#put(known)
        else if (![...grants.keys()].some((other) => other > lock.lockId)) this.#put(lock)
      } else this.#put(lock)
    }
    this.#sorted = undefined
  }

  /** Takes over an event. @returns false when it changes nothing. */
  apply(event: LockEvent): boolean {
    const lock = lockFromEvent(event)
    const { grants } = this.#resourceOf(lock.name)
    const known = grants.get(lock.lockId)?.lock
    switch (event.event) {
      case 'renewed':
      case 'revoked':
        return known !== undefined
      case 'granted':
        if (known !== undefined || this.#isOver(lock)) return false
        this.#put(lock)
        break
      case 'converted':
        if (known !== undefined) this.#put({ ...known, share: { limit: undefined, permits: undefined, slots: [] } })
        break
      case 'released':
      case 'expired':
      case 'force_released':
        this.#ended.set(lock.key, this.#round)
        if (![grants.delete(lock.lockId), this.#endExclusive(lock)].includes(true)) return false
    }
    this.#sorted = undefined
    return true
  }

  #resourceOf(name: string): Resource {
    let resource = this.#resources.get(name)
    if (resource === undefined) this.#resources.set(name, (resource = { grants: new Map(), exclusive: 0 }))
    return resource
  }

  #isOver({ name, lockId, key }: Lock): boolean {
    return lockId < this.#resourceOf(name).exclusive || this.#ended.has(key)
  }

  #put(lock: Lock): void {
    const resource = this.#resourceOf(lock.name)
    this.#endExclusive(lock)
    if (lock.share === null) {
      resource.exclusive = lock.lockId
      for (const lockId of resource.grants.keys()) if (lockId < resource.exclusive) resource.grants.delete(lockId)
    }
    resource.grants.set(lock.lockId, { lock, round: this.#round })
  }

  /** Where the holder was exclusive, a later grant has ended it. @returns whether there was one. */
  #endExclusive({ name, lockId }: Lock): boolean {
    const { grants, exclusive } = this.#resourceOf(name)
    return lockId > exclusive && grants.get(exclusive)?.lock.share === null && grants.delete(exclusive)
  }
}

function lockFromList(listed: ListedLock): Lock {
  return {
    name: listed.resourceName,
    process: listed.processId,
    lockId: listed.lockId,
    key: keyOf(listed),
    lockedAt: listed.lockedAt.getTime(),
    expiresAt: listed.expiresAt === null ? null : listed.expiresAt.getTime(),
    ttlMs: listed.ttlSeconds === null ? null : listed.ttlSeconds * 1000,
    renewals: listed.renewals,
    waiters: listed.waiters,
    metadata: listed.metadata,
    share: shareOf(listed),
    haystack: haystackOf(listed)
  }
}

function lockFromEvent(event: LockEvent): Lock {
  return {
    name: event.resourceName,
    process: event.processId,
    lockId: event.lockId,
    key: keyOf(event),
    lockedAt: event.at.getTime(),
    expiresAt: undefined,
    ttlMs: undefined,
    renewals: undefined,
    waiters: undefined,
    metadata: undefined,
    share: undefined,
    haystack: haystackOf(event)
  }
}

function keyOf({ resourceName, lockId }: Pick<Grant, 'resourceName' | 'lockId'>): string {
  return `${lockId} ${resourceName}`
}

function shareOf({ mode, limit = null, permits = 1, slots = [] }: Pick<Grant, 'mode' | 'limit' | 'permits' | 'slots'>): Share | null {
  return mode === 'shared' ? { limit, permits, slots } : null
}

/** What a share takes, and each field of the metadata, as `name=value`. */
function haystackOf({ resourceName, processId, metadata, mode, slots = [] }: Pick<Grant, 'resourceName' | 'processId'> & Partial<Grant>): string {
  const fields = Object.entries(metadata ?? {}).map(([name, value]) => `${name}=${typeof value === 'string' ? value : JSON.stringify(value)}`)
  const taken = mode === undefined ? [] : [`mode=${mode}`, ...slots.map((slot) => `slot=${slot}`)]
  return [resourceName, processId, ...taken, ...fields].join('\n').toLowerCase()
}

/** A lock as the service's lists have it; what is not known is left out. */
export function exported({ name, process, lockId, lockedAt, expiresAt, ttlMs, renewals, waiters, metadata, share }: Lock): object {
  return {
    resource_name: name,
    process_id: process,
    lock_id: lockId,
    locked_at: new Date(lockedAt).toISOString(),
    expires_at: typeof expiresAt === 'number' ? new Date(expiresAt).toISOString() : expiresAt,
    ttl_seconds: typeof ttlMs === 'number' ? ttlMs / 1000 : ttlMs,
    renewals,
    waiters,
    metadata,
    ...(share ? { mode: 'shared', ...share } : {})
  }
}

/** A lock with so little of its lease left is about to expire: a client that renews does so long before. */
export const NEAR_END = 0.25

/** How much of its lease a lock has left, 0 to 1; undefined where it never ends or is not known yet. */
export function shareLeft({ expiresAt, ttlMs, lockedAt }: Lock, now: number): number | undefined {
  if (expiresAt === null || expiresAt === undefined) return undefined
  const whole = ttlMs ?? expiresAt - lockedAt
  return Math.min(1, Math.max(0, (expiresAt - now) / Math.max(1, whole)))
}

/** Nearly every name has none of the characters whose order differs. */
const BEYOND = /[\ud800-\uffff]/

/** The service's order, that of the UTF-8 bytes: JavaScript's own puts characters beyond U+FFFF before some below it. */
function compareNames(a: string, b: string): number {
  if (a === b) return 0
  if (!BEYOND.test(a) || !BEYOND.test(b)) return a < b ? -1 : 1
  const right = Array.from(b)
  for (const [index, character] of Array.from(a).entries()) {
    const difference = (character.codePointAt(0) ?? 0) - (right[index]?.codePointAt(0) ?? -1)
    if (difference !== 0) return difference
  }
  return -1
}
