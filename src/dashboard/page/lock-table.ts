import { compareNames } from './names.js'
import type { WireEvent, WireLock } from './wire.js'

/** A grant as far as the page knows it. What only a list tells is undefined until one has. Times are in milliseconds since 1970. */
export interface Lock {
  readonly name: string
  readonly process: string
  readonly lockId: number
  readonly lockedAt: number
  /** Null never ends. */
  readonly expiresAt: number | null | undefined
  /** The lease with which it was granted. */
  readonly ttlMs: number | null | undefined
  readonly renewals: number | undefined
  readonly waiters: number | undefined
  readonly metadata: Readonly<Record<string, unknown>> | null | undefined
  /** What the filter looks for a text in. */
  readonly haystack: string
}

interface Entry {
  readonly lock: Lock
  readonly round: number
}

/**
 * All grants, put together from lists, which are complete and late, and from events, which are early and say little.
 *
 * A list is read page by page, and events come in between. Numbers of grants grow, so that of two reports on a resource the
 * one with the larger number is the newer one, however late it arrives.
 */
export class LockTable {
  readonly #entries = new Map<string, Entry>()
  /** The largest number that is known to have ended, for pages that were read before. */
  readonly #ended = new Map<string, { readonly lockId: number; readonly round: number }>()
  #round = 0
  #sorted: readonly Lock[] | undefined

  /** In the order of the service's lists. */
  get locks(): readonly Lock[] {
    this.#sorted ??= [...this.#entries.values()].map(({ lock }) => lock).toSorted((a, b) => compareNames(a.name, b.name))
    return this.#sorted
  }

  get(name: string): Lock | undefined {
    return this.#entries.get(name)?.lock
  }

  /** A complete reading of the list begins. */
  beginRound(): void {
    this.#round += 1
  }

  /** The reading is complete: what neither it nor any event since its beginning has shown is gone. */
  endRound(): void {
    for (const [name, { round }] of this.#entries) if (round < this.#round) this.#entries.delete(name)
    for (const [name, { round }] of this.#ended) if (round < this.#round) this.#ended.delete(name)
    this.#sorted = undefined
  }

  /** What a list says, whole or in part. */
  merge(locks: readonly WireLock[]): void {
    for (const wire of locks) {
      const { resource_name: name, lock_id: lockId } = wire
      const known = this.#entries.get(name)
      if (lockId <= (this.#ended.get(name)?.lockId ?? 0) || lockId < (known?.lock.lockId ?? 0)) continue
      this.#entries.set(name, { lock: lockFromList(wire), round: this.#round })
    }
    this.#sorted = undefined
  }

  /** What an event says; false when it is no news. */
  apply(event: WireEvent): boolean {
    const { resource_name: name, lock_id: lockId } = event
    const known = this.#entries.get(name)?.lock
    if (event.event === 'renewed') return known?.lockId === lockId
    if (event.event === 'granted') {
      if (lockId <= Math.max(known?.lockId ?? 0, this.#ended.get(name)?.lockId ?? 0)) return false
      this.#entries.set(name, { lock: lockFromEvent(event), round: this.#round })
    } else {
      if (lockId > (this.#ended.get(name)?.lockId ?? 0)) this.#ended.set(name, { lockId, round: this.#round })
      if (known === undefined || known.lockId > lockId) return false
      this.#entries.delete(name)
    }
    this.#sorted = undefined
    return true
  }
}

function lockFromList(wire: WireLock): Lock {
  return {
    name: wire.resource_name,
    process: wire.process_id,
    lockId: wire.lock_id,
    lockedAt: Date.parse(wire.locked_at),
    expiresAt: wire.expires_at === null ? null : Date.parse(wire.expires_at),
    ttlMs: wire.ttl_seconds === null ? null : wire.ttl_seconds * 1000,
    renewals: wire.renewals,
    waiters: wire.waiters,
    metadata: wire.metadata,
    haystack: haystackOf(wire)
  }
}

function lockFromEvent(event: WireEvent): Lock {
  return {
    name: event.resource_name,
    process: event.process_id,
    lockId: event.lock_id,
    lockedAt: Date.parse(event.at),
    expiresAt: undefined,
    ttlMs: undefined,
    renewals: undefined,
    waiters: undefined,
    metadata: undefined,
    haystack: haystackOf(event)
  }
}

function haystackOf({ resource_name, process_id }: { resource_name: string; process_id: string }): string {
  return `${resource_name}\n${process_id}`.toLowerCase()
}
