import type { EventKind, WireEvent, WireLock } from '../../src/dashboard/page/model/wire.js'

const AT = '2024-01-15T10:30:00.000+00:00'

/** A lock of a minute, as a list shows it. */
export function wireLock(name: string, lockId: number, more: Partial<WireLock> = {}): WireLock {
  return {
    lock_id: lockId,
    resource_name: name,
    process_id: 'p',
    locked_at: AT,
    expires_at: '2024-01-15T10:31:00.000+00:00',
    metadata: null,
    ttl_seconds: 60,
    renewals: 0,
    waiters: 0,
    ...more
  }
}

export function eventOf(event: EventKind, name: string, lockId: number): WireEvent {
  return { event_id: 1, event, at: AT, resource_name: name, process_id: 'p', lock_id: lockId, reason: null }
}
