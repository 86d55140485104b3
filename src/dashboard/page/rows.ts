import type { Lock } from './lock-table.js'

/** The prefix of a name up to its first slash or colon; empty where it has none. */
export function groupOf(name: string): string {
  const end = name.search(/[/:]/)
  return end < 0 ? '' : name.slice(0, end + 1)
}

export const SORTS = ['name', 'holder', 'age', 'ends', 'renewals', 'token', 'waiters'] as const
export type Sort = (typeof SORTS)[number]

/** What the shares of a resource amount to; undefined where a list has yet to tell. */
export interface Usage {
  readonly used: number | undefined
  /** The smallest of their limits; null where none has one. */
  readonly limit: number | null | undefined
}

export type Row =
  | { readonly kind: 'group'; readonly prefix: string; readonly members: readonly Lock[]; readonly waiters: number; readonly open: boolean }
  /** A shared resource, whose holders are the rows below it when it is open. The first of them comes first in the order. */
  | { readonly kind: 'shared'; readonly name: string; readonly members: readonly Lock[]; readonly holders: number; readonly usage: Usage; readonly open: boolean }
  | { readonly kind: 'lock'; readonly lock: Lock; /** Whether it stands below the row of its resource. */ readonly isShare: boolean }

export interface RowsQuery {
  /** Searched for in names, holders and metadata, without regard to case. */
  readonly filter: string
  readonly sort: Sort
  /** The prefixes of the groups that are folded. */
  readonly folded: ReadonlySet<string>
  /** The names of the shared resources that were opened, or, where the filter leaves out some of their holders, folded. */
  readonly turned: ReadonlySet<string>
}

export function filterLocks(locks: readonly Lock[], filter: string): readonly Lock[] {
  const wanted = filter.trim().toLowerCase()
  return wanted === '' ? locks : locks.filter(({ haystack }) => haystack.includes(wanted))
}

/** Whether these grants of one resource are shares; one that only an event has told of is an exclusive one until there are two. */
export function areShares(grants: readonly Lock[]): boolean {
  return grants.length > 1 || Boolean(grants[0]?.share)
}

/** What the shares of a resource amount to. @param grants all of them. */
export function usageOf(grants: readonly Lock[]): Usage {
  const limits = grants.map(({ share }) => share?.limit)
  const permits = grants.map(({ share }) => share?.permits)
  return {
    used: permits.includes(undefined) ? undefined : permits.reduce<number>((sum, some = 0) => sum + some, 0),
    limit: limits.includes(undefined) ? undefined : limits.reduce<number | null>((least, limit = null) => (least === null || (limit !== null && limit < least) ? limit : least), null)
  }
}

/** The rows of the table: groups in the order of their prefixes, names without one last. @param locks sorted by name. */
export function rowsOf(locks: readonly Lock[], { filter, sort, folded, turned }: RowsQuery): readonly Row[] {
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

  const shares = sharesOf(locks)
  const rows: Row[] = []
  for (const [prefix, members] of groups) {
    const open = !folded.has(prefix)
    const waiters = members.reduce((sum, lock, index) => sum + (lock.name === members[index - 1]?.name ? 0 : (lock.waiters ?? 0)), 0)
    rows.push({ kind: 'group', prefix, members, waiters, open })
    if (open) addMembers(rows, sorted(members, sort), shares, turned)
  }
  return rows
}

/** The grants of each shared resource. */
function sharesOf(locks: readonly Lock[]): ReadonlyMap<string, readonly Lock[]> {
  const shares = new Map<string, Lock[]>()
  for (const [index, lock] of locks.entries()) {
    const { name, share } = lock
    if (!share && locks[index - 1]?.name !== name && locks[index + 1]?.name !== name) continue
    const known = shares.get(name)
    if (known === undefined) shares.set(name, [lock])
    else known.push(lock)
  }
  return shares
}

/** A shared resource stands where the first of its holders would. */
function addMembers(rows: Row[], members: readonly Lock[], shares: ReadonlyMap<string, readonly Lock[]>, turned: ReadonlySet<string>): void {
  const shown = new Map<string, Lock[]>()
  for (const lock of members) {
    if (!shares.has(lock.name)) continue
    const known = shown.get(lock.name)
    if (known === undefined) shown.set(lock.name, [lock])
    else known.push(lock)
  }
  for (const lock of members) {
    const { name } = lock
    const all = shares.get(name)
    const some = shown.get(name)
    if (all === undefined) rows.push({ kind: 'lock', lock, isShare: false })
    else if (some !== undefined) {
      shown.delete(name)
      const open = turned.has(name) !== some.length < all.length
      rows.push({ kind: 'shared', name, members: some, holders: all.length, usage: usageOf(all), open })
      if (open) for (const share of some) rows.push({ kind: 'lock', lock: share, isShare: true })
    }
  }
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

/** The one of them that the order puts first. @param locks at least one. */
export function firstBy(sort: Exclude<Sort, 'name'>, locks: readonly Lock[]): Lock {
  return locks.reduce((first, lock) => (ORDERS[sort](lock, first) < 0 ? lock : first))
}

function sorted(locks: readonly Lock[], sort: Sort): readonly Lock[] {
  return sort === 'name' ? locks : locks.toSorted(ORDERS[sort])
}

/** Not infinity, whose difference with itself is no number. */
function endOf({ expiresAt }: Lock): number {
  return expiresAt ?? Number.MAX_SAFE_INTEGER
}
