import type { EpochMs, Grant, TtlMs } from '../../src/locks/lock.js'
import { KEEP_ENDED_MS } from '../../src/storage/tables.js'

/** How much longer than it has to a store may keep an ended row that the sweeper has already met once. */
const SLACK_MS = 1000

/** The latest grant of a resource, and what the sweeper may have done about it. */
export interface Latest {
  grant: Grant
  /** The lease with which it was made, or last renewed afresh. */
  ttlMs: TtlMs
  /** The key that it belongs to. */
  readonly key: string | null
  /** When the history last told of it while it was valid. */
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

export function mayForget(latest: Latest, now: EpochMs): boolean {
  return endOf(latest) + KEEP_ENDED_MS <= now
}

/** The sweeper keeps what it marks for another while, so that an expiry it saw late is remembered too. */
export function mustForget({ releasedAt, marked, markedAt }: Latest, now: EpochMs): boolean {
  if (releasedAt === null && marked !== 'yes') return false
  return (releasedAt ?? markedAt) + KEEP_ENDED_MS + SLACK_MS <= now
}
