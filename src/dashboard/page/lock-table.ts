import type { ListedLock, LockEvent } from '../../client/index.js'

/** A grant as far as the page knows it. What only lists contain is undefined until one was read. Times are in milliseconds since 1970. */
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
  /** The text that the filter searches. */
  readonly haystack: string
}

interface Entry {
  readonly lock: Lock
  readonly round: number
}

/**
 * All grants, from lists, which are complete and late, and from events, which are early and say little.
 *
 * A list is read page by page, and events arrive in between. Lock ids grow, so of two reports on a resource the one with the
 * larger id is the newer one, however late it arrives.
 */
export class LockTable {
  readonly #entries = new Map<string, Entry>()
  /** The largest lock id that is known to have ended, for pages that were read before. */
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

  /** Forgets everything, as when the page goes on with another key. */
  clear(): void {
    this.#entries.clear()
    this.#ended.clear()
    this.#sorted = undefined
  }

  /** A complete reading of the list begins. */
  beginRound(): void {
    this.#round += 1
  }

  /** The reading is complete: a lock that neither it nor any event since its beginning has shown is gone. */
  endRound(): void {
    for (const [name, { round }] of this.#entries) if (round < this.#round) this.#entries.delete(name)
    for (const [name, { round }] of this.#ended) if (round < this.#round) this.#ended.delete(name)
    this.#sorted = undefined
  }

  /** Takes over a list or a page of it. */
  merge(locks: readonly ListedLock[]): void {
    for (const listed of locks) {
      const { resourceName: name, lockId } = listed
      const known = this.#entries.get(name)
      if (lockId <= (this.#ended.get(name)?.lockId ?? 0) || lockId < (known?.lock.lockId ?? 0)) continue
      this.#entries.set(name, { lock: lockFromList(listed), round: this.#round })
    }
    this.#sorted = undefined
  }

  /** Takes over an event. @returns false when it changes nothing. */
  apply(event: LockEvent): boolean {
    const { resourceName: name, lockId } = event
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

function lockFromList(listed: ListedLock): Lock {
  return {
    name: listed.resourceName,
    process: listed.processId,
    lockId: listed.lockId,
    lockedAt: listed.lockedAt.getTime(),
    expiresAt: listed.expiresAt === null ? null : listed.expiresAt.getTime(),
    ttlMs: listed.ttlSeconds === null ? null : listed.ttlSeconds * 1000,
    renewals: listed.renewals,
    waiters: listed.waiters,
    metadata: listed.metadata,
    haystack: haystackOf(listed)
  }
}

function lockFromEvent(event: LockEvent): Lock {
  return {
    name: event.resourceName,
    process: event.processId,
    lockId: event.lockId,
    lockedAt: event.at.getTime(),
    expiresAt: undefined,
    ttlMs: undefined,
    renewals: undefined,
    waiters: undefined,
    metadata: undefined,
    haystack: haystackOf(event)
  }
}

/** Each field of the metadata as `name=value`. */
function haystackOf({ resourceName, processId, metadata }: Pick<ListedLock, 'resourceName' | 'processId'> & Partial<Pick<ListedLock, 'metadata'>>): string {
  const fields = Object.entries(metadata ?? {}).map(([name, value]) => `${name}=${typeof value === 'string' ? value : JSON.stringify(value)}`)
  return [resourceName, processId, ...fields].join('\n').toLowerCase()
}

/** A lock as the service's lists have it; what is not known is left out. */
export function exported({ name, process, lockId, lockedAt, expiresAt, ttlMs, renewals, waiters, metadata }: Lock): object {
  return {
    resource_name: name,
    process_id: process,
    lock_id: lockId,
    locked_at: new Date(lockedAt).toISOString(),
    expires_at: typeof expiresAt === 'number' ? new Date(expiresAt).toISOString() : expiresAt,
    ttl_seconds: typeof ttlMs === 'number' ? ttlMs / 1000 : ttlMs,
    renewals,
    waiters,
    metadata
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

/** The prefix of a name up to its first slash or colon; empty where it has none. */
export function groupOf(name: string): string {
  const end = name.search(/[/:]/)
  return end < 0 ? '' : name.slice(0, end + 1)
}

export const SORTS = ['name', 'holder', 'age', 'ends', 'renewals', 'token', 'waiters'] as const
export type Sort = (typeof SORTS)[number]

export type Row =
  | { readonly kind: 'group'; readonly prefix: string; readonly members: readonly Lock[]; readonly waiters: number; readonly open: boolean }
  | { readonly kind: 'lock'; readonly lock: Lock }

export interface RowsQuery {
  /** Searched for in names, holders and metadata, without regard to case. */
  readonly filter: string
  readonly sort: Sort
  /** The prefixes of the groups that are folded. */
  readonly folded: ReadonlySet<string>
}

export function filterLocks(locks: readonly Lock[], filter: string): readonly Lock[] {
  const wanted = filter.trim().toLowerCase()
  return wanted === '' ? locks : locks.filter(({ haystack }) => haystack.includes(wanted))
}

/** The rows of the table: groups in the order of their prefixes, names without one last. */
export function rowsOf(locks: readonly Lock[], { filter, sort, folded }: RowsQuery): readonly Row[] {
  const groups = new Map<string, Lock[]>()
  for (const lock of filterLocks(locks, filter)) {
    const prefix = groupOf(lock.name)
    const group = groups.get(prefix)
    if (group === undefined) groups.set(prefix, [lock])
    else group.push(lock)
  }
  const rest = groups.get('')
  groups.delete('')
  if (rest !== undefined) groups.set('', rest)

  const rows: Row[] = []
  for (const [prefix, members] of groups) {
    const open = !folded.has(prefix)
    const waiters = members.reduce((sum, lock) => sum + (lock.waiters ?? 0), 0)
    rows.push({ kind: 'group', prefix, members, waiters, open })
    if (open) for (const lock of sorted(members, sort)) rows.push({ kind: 'lock', lock })
  }
  return rows
}

/** The oldest first, the soonest to end, the most waiters. Names are sorted already. */
const ORDERS: Readonly<Record<Exclude<Sort, 'name'>, (a: Lock, b: Lock) => number>> = {
  holder: (a, b) => (a.process < b.process ? -1 : a.process > b.process ? 1 : 0),
  age: (a, b) => a.lockedAt - b.lockedAt,
  ends: (a, b) => endOf(a) - endOf(b),
  renewals: (a, b) => (b.renewals ?? 0) - (a.renewals ?? 0),
  token: (a, b) => b.lockId - a.lockId,
  waiters: (a, b) => (b.waiters ?? 0) - (a.waiters ?? 0)
}

function sorted(locks: readonly Lock[], sort: Sort): readonly Lock[] {
  return sort === 'name' ? locks : locks.toSorted(ORDERS[sort])
}

/** Not infinity, whose difference with itself is no number. */
function endOf({ expiresAt }: Lock): number {
  return expiresAt ?? Number.MAX_SAFE_INTEGER
}
