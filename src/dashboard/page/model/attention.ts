import type { Lock } from './lock-table.js'
import { groupOf } from './names.js'

/** A lock is held unusually long from so many times the median age of its group on, and never before the least age. */
const UNUSUAL_TIMES = 8
const UNUSUAL_LEAST_MS = 60_000
/** A median of fewer says nothing; a lock of a small group is held unusually long from this age on. */
const FEWEST_FOR_MEDIAN = 5
const LONG_MS = 15 * 60_000
/** Whoever keeps a lock alive renews it long before this share of its lease is left. */
const NEAR_END = 0.25

export interface Notable {
  readonly lock: Lock
  readonly note: 'waited-for' | 'long' | 'expiring'
  /** Waiters; times the median age of its group, undefined where that says nothing; the share of the lease that is left. */
  readonly measure: number | undefined
}

export interface Attention {
  readonly waitedFor: readonly Notable[]
  readonly long: readonly Notable[]
  readonly expiring: readonly Notable[]
}

/** What an operator should look at first, each list with the worst on top. @param now by the database's clock. */
export function attention(locks: readonly Lock[], now: number): Attention {
  const medianOf = medians(locks, now)
  const waitedFor: Notable[] = []
  const long: Notable[] = []
  const expiring: Notable[] = []
  for (const lock of locks) {
    if ((lock.waiters ?? 0) > 0) waitedFor.push({ lock, note: 'waited-for', measure: lock.waiters })
    const age = now - lock.lockedAt
    const median = medianOf(lock.name)
    const times = median === undefined ? undefined : age / Math.max(1, median)
    if (times === undefined ? age >= LONG_MS : age >= UNUSUAL_LEAST_MS && times >= UNUSUAL_TIMES) long.push({ lock, note: 'long', measure: times })
    const left = shareLeft(lock, now)
    if (left !== undefined && left > 0 && left <= NEAR_END) expiring.push({ lock, note: 'expiring', measure: left })
  }
  return {
    waitedFor: waitedFor.toSorted((a, b) => (b.measure ?? 0) - (a.measure ?? 0)),
    long: long.toSorted((a, b) => a.lock.lockedAt - b.lock.lockedAt),
    // First those that were renewed and then no more: their holders may have died.
    expiring: expiring.toSorted(
      (a, b) => Number((b.lock.renewals ?? 0) > 0) - Number((a.lock.renewals ?? 0) > 0) || (a.lock.expiresAt ?? 0) - (b.lock.expiresAt ?? 0)
    )
  }
}

/** How much of its lease a lock has left, 0 to 1; undefined where it never ends or is not known yet. */
export function shareLeft({ expiresAt, ttlMs, lockedAt }: Lock, now: number): number | undefined {
  if (expiresAt === null || expiresAt === undefined) return undefined
  const whole = ttlMs ?? expiresAt - lockedAt
  return Math.min(1, Math.max(0, (expiresAt - now) / Math.max(1, whole)))
}

/** The median age of the group of a name; undefined where it says nothing. */
function medians(locks: readonly Lock[], now: number): (name: string) => number | undefined {
  const ages = new Map<string, number[]>()
  for (const { name, lockedAt } of locks) {
    const group = groupOf(name)
    const known = ages.get(group)
    if (known === undefined) ages.set(group, [now - lockedAt])
    else known.push(now - lockedAt)
  }
  const ofGroup = new Map([...ages].map(([group, some]) => [group, some.length < FEWEST_FOR_MEDIAN ? undefined : median(some)]))
  // Names without a prefix have nothing in common.
  return (name) => (groupOf(name) === '' ? undefined : ofGroup.get(groupOf(name)))
}

function median(ages: readonly number[]): number {
  return ages.toSorted((a, b) => a - b)[Math.floor(ages.length / 2)] ?? 0
}
