import type { Selectable } from 'kysely'
import { NEVER } from '../../migrations/0013-lock-shares.js'
import { MAX_HOLDERS_SHOWN, type Conflict, type InspectOutcome, type RenewAllOutcome, type Usage } from '../locks/commands.js'
import { type EpochMs, type Grant, type LatestGrant, type Metadata, type NotHeldReason, type ProcessId, type ResourceName, type Sharing, whyNotHeld } from '../locks/lock.js'
import { latestFromRow, NOBODY, type EXPIRED_PREDECESSOR_COLUMNS, type GrantRow, type LockSharesTable, type ResourceLocksTable } from './tables.js'

/** For each column of rows its type on PostgreSQL, as a map in which the compiler misses none and lets none be of another type. */
export type ColumnTypes<Row> = { readonly [Column in keyof Row]: [NonNullable<Row[Column]>] extends [string] ? 'text' : [NonNullable<Row[Column]>] extends [number] ? 'bigint' : 'boolean' }

/** The key of the table is first. */
export const SHARE_TYPES = {
  resource_name: 'text', process_id: 'text', id: 'bigint', permits: 'bigint', allows: 'bigint', slots: 'text', locked_at: 'bigint', expires_at: 'bigint', is_active: 'boolean',
  ttl_ms: 'bigint', metadata: 'text', renewals: 'bigint', ended_at: 'bigint', end_reason: 'text', sweep_at: 'bigint', told_at: 'bigint', api_key: 'text', is_exclusive: 'boolean',
  held_until: 'bigint', delay_ms: 'bigint', hold_at_least_ms: 'bigint', revoke_at: 'bigint', revoke_reason: 'text'
} as const satisfies ColumnTypes<Selectable<LockSharesTable>>
/** What a change of shares reads and writes of the resource's row. */
export const ROW_TYPES = {
  resource_name: 'text', id: 'bigint', process_id: 'text', locked_at: 'bigint', expires_at: 'bigint', is_active: 'boolean', ttl_ms: 'bigint', metadata: 'text', renewals: 'bigint',
  ended_at: 'bigint', end_reason: 'text', sweep_at: 'bigint', told_at: 'bigint', api_key: 'text', shared_from: 'bigint', share_count: 'bigint', share_permits: 'bigint',
  share_limit: 'bigint', share_check_at: 'bigint', share_slots: 'text'
} as const satisfies ColumnTypes<Omit<Selectable<ResourceLocksTable>, (typeof EXPIRED_PREDECESSOR_COLUMNS)[number]>>

export const SHARE_COLUMNS = columnsOf(SHARE_TYPES)
export const ROW_COLUMNS = columnsOf(ROW_TYPES)

export type ShareRow = Selectable<LockSharesTable>
export type ResourceRow = Selectable<Pick<ResourceLocksTable, keyof typeof ROW_TYPES>>

/** What a share says about its end. */
export type ShareTerms = Pick<ShareRow, 'held_until' | 'delay_ms' | 'hold_at_least_ms' | 'revoke_at' | 'revoke_reason'>

export const NO_TERMS: ShareTerms = { held_until: null, delay_ms: null, hold_at_least_ms: null, revoke_at: null, revoke_reason: null }

export function hasTerms({ delay_ms, hold_at_least_ms, revoke_at }: ShareTerms): boolean {
  return delay_ms !== null || hold_at_least_ms !== null || revoke_at !== null
}

export function columnsOf<Column extends string>(types: Readonly<Record<Column, unknown>>): readonly Column[] {
  return Object.keys(types) as Column[]
}

/** When the lease ends; null never does. */
export function heldEndOf({ held_until, expires_at }: Pick<ShareRow, 'held_until' | 'expires_at'>): EpochMs | null {
  return held_until ?? expires_at
}

/** The end of a lease and, with its delay, that of the share. */
export function endsOf(heldEnd: EpochMs | null, delayMs: number | null): Pick<ShareRow, 'held_until' | 'expires_at'> {
  if (heldEnd === null || delayMs === null) return { held_until: null, expires_at: heldEnd }
  return { held_until: heldEnd, expires_at: heldEnd + delayMs }
}

const EMPTY = Object.fromEntries(ROW_COLUMNS.map((column) => [column, null])) as unknown as ResourceRow

/** The row as it is when nobody was granted anything yet. */
export function emptyRow(name: string): ResourceRow {
  return { ...EMPTY, resource_name: name, id: 0, process_id: NOBODY, locked_at: 0, is_active: false, renewals: 0 }
}

/** Whether shares hold the resource at that instant. */
export function isShared(row: Pick<ResourceRow, 'process_id' | 'is_active' | 'expires_at'>, at: EpochMs): boolean {
  return row.process_id === NOBODY && Boolean(row.is_active) && (row.expires_at === null || row.expires_at > at)
}

/** Whether the share takes its permits at that instant, if its resource is shared then: it is valid, or kept. */
export function takesPermits(share: ShareRow | undefined, { shared_from }: ResourceRow, at: EpochMs): boolean {
  return share !== undefined && Boolean(share.is_active) && share.id >= (shared_from ?? 0) && (share.expires_at === null || share.expires_at > at)
}

/** Whether its process holds the share: of those that are valid or kept, the lease lasts and was not released. */
export function isHeldShare(share: ShareRow, row: ResourceRow, at: EpochMs): boolean {
  return takesPermits(share, row, at) && share.end_reason === null && (share.held_until === null || share.held_until > at)
}

/** When the sweeper has to look at a share that is active: at the end of its lease, and at that of what is kept of it. */
export function nextEndOf(share: Pick<ShareRow, 'end_reason' | 'held_until' | 'expires_at'>): EpochMs | null {
  return share.end_reason === null ? heldEndOf(share) : share.expires_at
}

/** Whether something has ended that is not written down yet. */
export function hasPassed(share: Pick<ShareRow, 'is_active' | 'end_reason' | 'held_until' | 'expires_at'>, at: EpochMs): boolean {
  const end = nextEndOf(share)
  return Boolean(share.is_active) && end !== null && end <= at
}

export function sharingOf({ allows, permits }: Pick<ShareRow, 'allows' | 'permits'>): Sharing {
  return { limit: allows, permits }
}

export function grantFromShare(share: Pick<ShareRow, keyof GrantRow | 'allows' | 'permits' | 'slots' | 'is_exclusive' | 'held_until'>): Grant {
  return {
    lockId: share.id,
    resourceName: share.resource_name as ResourceName,
    processId: share.process_id as ProcessId,
    lockedAt: share.locked_at,
    expiresAt: heldEndOf(share),
    metadata: share.metadata === null ? null : (JSON.parse(share.metadata) as Metadata),
    ...(share.is_exclusive ? {} : { share: { ...sharingOf(share), slots: slotsFromText(share.slots) } })
  }
}

/** The share as the latest grant of its process. */
export function latestFromShare(share: ShareRow): LatestGrant {
  return { ...grantFromShare(share), ended: share.end_reason ?? (share.is_active ? null : 'released'), key: share.api_key }
}

/** Why that process has no share, in a resource whose latest grants were shares. A share of an earlier period is forgotten. */
export function whyNoShare(row: ResourceRow, share: ShareRow | undefined, claim: { readonly processId: ProcessId | null; readonly key: string | null }, at: EpochMs): NotHeldReason {
  const shared = isShared(row, at)
  if (claim.processId === null) return shared ? 'held_by_other' : whyNotHeld(latestFromRow(row), claim, at)
  const known = share !== undefined && share.id >= (row.shared_from ?? 0) && (claim.key === null || share.api_key === null || share.api_key === claim.key)
  if (!known || share === undefined || isHeldShare(share, row, at)) return shared ? 'held_by_other' : 'not_locked'
  return (share.end_reason ?? 'expired') === 'expired' ? 'expired' : 'released'
}

/** Its end is that of the share, when waiters may be granted, also where the lease ends earlier. */
export function conflictWithShare(share: ShareRow, usage: Usage, row: ResourceRow, at: EpochMs): Conflict {
  const { lockId, resourceName, processId, lockedAt } = grantFromShare(share)
  const kept = isHeldShare(share, row, at) ? {} : { kept: true as const }
  return { resourceName, processId, lockId, lockedAt, expiresAt: share.expires_at, ...(share.is_exclusive ? {} : { usage }), ...kept }
}

/** The holders of a resource, or who it is kept for. @param shares those that are valid or kept, by number. */
export function inspectedShares(shares: readonly ShareRow[], row: ResourceRow, at: EpochMs): Pick<InspectOutcome, 'grant' | 'shares' | 'kept'> {
  const held = shares.filter((share) => isHeldShare(share, row, at))
  if (held.length === 0) {
    const kept = shares.length === 0 ? undefined : lastToEnd(shares)
    return kept === undefined ? { grant: null } : { grant: null, kept: { ...grantFromShare(kept), expiresAt: kept.expires_at } }
  }
  const grant = grantFromShare(lastToEnd(held))
  if (held.some(({ is_exclusive }) => is_exclusive)) return { grant }
  return { grant, shares: { usage: { ...usageOf(shares), holders: held.length }, grants: held.slice(0, MAX_HOLDERS_SHOWN).map(grantFromShare) } }
}

export function lastToEnd(shares: readonly ShareRow[]): ShareRow {
  return shares.reduce((latest, share) => ((share.expires_at ?? NEVER) > (latest.expires_at ?? NEVER) ? share : latest))
}

/** What valid shares amount to. */
export function usageOf(shares: readonly Pick<ShareRow, 'allows' | 'permits'>[]): Usage {
  const limit = Math.min(...shares.map(({ allows }) => allows ?? Infinity))
  return { holders: shares.length, used: shares.reduce((sum, { permits }) => sum + permits, 0), limit: limit === Infinity ? null : limit }
}

/** Whether a grant beside valid shares keeps every statement true. Null asks for all of the resource. */
export function fits(sharing: Sharing | null, { holders, used, limit }: Usage): boolean {
  if (sharing === null) return holders === 0
  return used + sharing.permits <= Math.min(sharing.limit ?? Infinity, limit ?? Infinity)
}

/**
 * Of valid shares the one whose end makes a grant possible, if all leases just end: the last one for an exclusive grant.
 *
 * @param shares the first to end first; all of them, unless enough of them end before their limits matter.
 * @param others the smallest limit and the permits of those that are left out.
 */
export function blockerOf(asked: Sharing | null, process: string, shares: readonly ShareRow[], others?: Pick<Usage, 'used' | 'limit'>): ShareRow | undefined {
  const own = shares.find(({ process_id }) => process_id === process)
  if (own !== undefined || asked === null) return own ?? shares.at(-1)
  const limits: number[] = [others?.limit ?? Infinity]
  for (const { allows } of shares.toReversed()) limits.unshift(Math.min(allows ?? Infinity, limits[0] ?? Infinity))
  let used = shares.reduce((sum, { permits }) => sum + permits, others?.used ?? 0)
  return shares.find(({ permits }, index) => {
    used -= permits
    return used + asked.permits <= Math.min(asked.limit ?? Infinity, limits[index + 1] ?? Infinity)
  })
}

type Renewals = RenewAllOutcome['renewals']

/**
 * One page of renewals, in the order of the names, of at most `limit` of each sort. Where one sort has more, those of the other that
 * follow belong to the next page, which renews them once more.
 *
 * @param names of which the process may have had shares.
 */
export function renewedAll(exclusive: Renewals, shares: Renewals, names: readonly string[], limit: number): RenewAllOutcome {
  const all = [...exclusive, ...shares].toSorted((a, b) => bytewise(a.grant.resourceName, b.grant.resourceName))
  const ends = [exclusive.length < limit ? undefined : last(exclusive.map(({ grant }) => grant.resourceName)), names.length < limit ? undefined : last(names)]
  const [next = null] = ends.filter((name) => name !== undefined).toSorted(bytewise)
  return { kind: 'renewed-all', renewals: next === null ? all : all.filter(({ grant }) => bytewise(grant.resourceName, next) <= 0), next }
}

/** The smaller of two values of which null is the largest. */
export function earlier(a: number | null, b: number | null): number | null {
  return a === null || (b !== null && b < a) ? b : a
}

/** The larger of two values of which null is the largest. */
export function later(a: number | null, b: number | null): number | null {
  return a === null || b === null ? null : Math.max(a, b)
}

function last(names: readonly string[]): string | undefined {
  return names.toSorted(bytewise).at(-1)
}

function bytewise(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b))
}

/** The numbers as `1-3,7`. */
export function slotsToText(slots: readonly number[]): string | null {
  const ranges: [number, number][] = []
  for (const slot of slots) {
    const last = ranges.at(-1)
    if (last !== undefined && last[1] === slot - 1) last[1] = slot
    else ranges.push([slot, slot])
  }
  return ranges.length === 0 ? null : ranges.map(([first, last]) => (first === last ? String(first) : `${first}-${last}`)).join(',')
}

export function slotsFromText(text: string | null): number[] {
  if (text === null) return []
  return text.split(',').flatMap((range) => {
    const [first = 0, last = first] = range.split('-').map(Number)
    return Array.from({ length: last - first + 1 }, (_, index) => first + index)
  })
}

/** Which slots of a resource are taken, a bit for each. */
export class SlotMap {
  #bytes: Buffer

  constructor(text: string | null) {
    this.#bytes = Buffer.from(text ?? '', 'base64')
  }

  /** Takes the smallest free ones, ascending. */
  take(count: number): number[] {
    const taken: number[] = []
    for (let index = 0; taken.length < count; index += 1) {
      if (index >= this.#bytes.length) this.#bytes = Buffer.concat([this.#bytes, Buffer.alloc(Math.ceil((count - taken.length) / 8))])
      for (let bit = 0, byte = this.#bytes[index] ?? 0; byte !== 0xff && bit < 8 && taken.length < count; bit += 1) {
        if ((byte & (1 << bit)) !== 0) continue
        byte |= 1 << bit
        this.#bytes[index] = byte
        taken.push(index * 8 + bit + 1)
      }
    }
    return taken
  }

  free(slots: readonly number[]): void {
    for (const slot of slots) {
      const index = (slot - 1) >> 3
      this.#bytes[index] = (this.#bytes[index] ?? 0) & ~(1 << ((slot - 1) & 7))
    }
  }

  toText(): string | null {
    let length = this.#bytes.length
    while (length > 0 && this.#bytes[length - 1] === 0) length -= 1
    return length === 0 ? null : this.#bytes.toString('base64', 0, length)
  }
}
