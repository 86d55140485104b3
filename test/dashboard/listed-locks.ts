import type { EventKind, ListedLock, LockEvent } from '../../src/client/index.js'

const AT = new Date('2024-01-15T10:30:00Z')

/** A lock of a minute, as a list shows it. */
export function listedLock(name: string, lockId: number, more: Partial<ListedLock> = {}): ListedLock {
  return {
    lockId,
    fencingToken: lockId,
    resourceName: name,
    processId: 'p',
    lockedAt: AT,
    expiresAt: new Date(AT.getTime() + 60_000),
    metadata: null,
    ttlSeconds: 60,
    renewals: 0,
    waiters: 0,
    ...more
  }
}

/** What a list says of a share. */
export function sharing(limit: number | null, ...slots: readonly number[]): Partial<ListedLock> {
  return { mode: 'shared', limit, permits: Math.max(1, slots.length), slots }
}

export function eventOf(event: EventKind, name: string, lockId: number): LockEvent {
  return { eventId: 1, event, at: AT, resourceName: name, processId: 'p', lockId, reason: null }
}
