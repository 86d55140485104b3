import type { Lock } from './lock-table.js'
import { groupOf } from './names.js'

export const SORTS = ['name', 'holder', 'age', 'ends', 'renewals', 'token', 'waiters'] as const
export type Sort = (typeof SORTS)[number]

export type Row =
  | { readonly kind: 'group'; readonly prefix: string; readonly count: number; readonly waiters: number; readonly open: boolean }
  | { readonly kind: 'lock'; readonly lock: Lock }

export interface RowsQuery {
  /** Looked for in names and holders, without regard to case. */
  readonly filter: string
  readonly sort: Sort
  /** The prefixes of the groups that are folded. */
  readonly folded: ReadonlySet<string>
}

export function filterLocks(locks: readonly Lock[], filter: string): readonly Lock[] {
  const wanted = filter.trim().toLowerCase()
  return wanted === '' ? locks : locks.filter(({ haystack }) => haystack.includes(wanted))
}

/** What the table shows, line by line: groups in the order of their prefixes, what has none last. */
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
    rows.push({ kind: 'group', prefix, count: members.length, waiters, open })
    if (open) for (const lock of sorted(members, sort)) rows.push({ kind: 'lock', lock })
  }
  return rows
}

/** What catches the eye first: the oldest, the soonest to end, the most awaited. Names come sorted already. */
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
