/** What the page reads of the answers of the public API. */

export interface WireLock {
  readonly lock_id: number
  readonly resource_name: string
  readonly process_id: string
  readonly locked_at: string
  readonly expires_at: string | null
  readonly metadata: Readonly<Record<string, unknown>> | null
  readonly ttl_seconds: number | null
  readonly renewals: number
  readonly waiters: number
}

export interface WireList {
  readonly as_of: string
  readonly locks: readonly WireLock[]
  readonly next_cursor: string | null
}

export interface WireStats {
  readonly held?: number | null
  readonly waiters?: number | null
  readonly grants?: number
  readonly conflicts?: number
  readonly expiries?: number
  /** Whose the counters are. */
  readonly instance?: string
  /** Null: nobody waited lately. */
  readonly wait_seconds_p95?: number | null
}

export type EventKind = 'granted' | 'renewed' | 'released' | 'expired' | 'force_released'

export interface WireEvent {
  readonly event_id: number
  readonly event: EventKind
  readonly at: string
  readonly resource_name: string
  readonly process_id: string
  readonly lock_id: number
  readonly reason: string | null
}

export interface WireHistory {
  readonly events: readonly WireEvent[]
  readonly next_cursor: string | null
}

export interface WireWaiter {
  readonly position: number
  readonly process_id: string
  readonly waiting_since: string | null
  readonly kept_until: string | null
}

export interface WireQueue {
  readonly as_of: string
  readonly total_waiters: number
  readonly waiters: readonly WireWaiter[]
}
