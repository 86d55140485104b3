import type { Conflict, EventKind, Grant, HistoryPage, LockEvent, LockPage, Metadata, NotHeld, NotHeldReason, Stats, Status } from './types.js'

/** A JSON object as the service writes it, in snake_case. */
export type Json = Readonly<Record<string, unknown>>

// The service's answers are taken at their word: its contract says what each field is, and extensions only add.

export function grantOf(json: Json): Grant {
  return {
    lockId: json['lock_id'] as number,
    fencingToken: json['lock_id'] as number,
    resourceName: json['resource_name'] as string,
    processId: json['process_id'] as string,
    lockedAt: dateOf(json['locked_at']),
    expiresAt: dateOrNull(json['expires_at']),
    metadata: (json['metadata'] ?? null) as Metadata | null
  }
}

export function conflictOf(json: Json): Conflict {
  return {
    resourceName: json['resource_name'] as string,
    lockedBy: json['locked_by'] as string,
    lockId: json['lock_id'] as number | null,
    lockedAt: dateOrNull(json['locked_at']),
    expiresAt: dateOrNull(json['expires_at']),
    retryAfterSeconds: json['retry_after_seconds'] as number | null,
    waiters: json['waiters'] as number,
    queuePosition: (json['queue_position'] ?? null) as number | null
  }
}

export function notHeldOf(json: Json): NotHeld {
  return { kind: 'not-held', reason: json['reason'] as NotHeldReason }
}

export function statusOf(json: Json): Status {
  return {
    resourceName: json['resource_name'] as string,
    isLocked: json['is_locked'] as boolean,
    lockedBy: json['locked_by'] as string | null,
    lockedAt: dateOrNull(json['locked_at']),
    expiresAt: dateOrNull(json['expires_at']),
    lockId: json['lock_id'] as number | null,
    fencingToken: json['lock_id'] as number | null,
    remainingSeconds: json['remaining_seconds'] as number | null,
    metadata: json['metadata'] as Metadata | null,
    waiters: json['waiters'] as number
  }
}

export function lockPageOf(json: Json): LockPage {
  return {
    locks: (json['locks'] as Json[]).map(grantOf),
    totalLocks: json['total_locks'] as number,
    nextCursor: json['next_cursor'] as string | null
  }
}

export function eventOf(json: Json): LockEvent {
  return {
    eventId: json['event_id'] as number,
    event: json['event'] as EventKind,
    at: dateOf(json['at']),
    resourceName: json['resource_name'] as string,
    processId: json['process_id'] as string,
    lockId: json['lock_id'] as number,
    reason: json['reason'] as string | null
  }
}

export function historyPageOf(json: Json): HistoryPage {
  return { events: (json['events'] as Json[]).map(eventOf), nextCursor: json['next_cursor'] as string | null }
}

export function statsOf(json: Json): Stats {
  return {
    held: json['held'] as number,
    waiters: json['waiters'] as number,
    grants: json['grants'] as number,
    conflicts: json['conflicts'] as number,
    releases: json['releases'] as number,
    renewals: json['renewals'] as number,
    forcedReleases: json['forced_releases'] as number,
    expiries: json['expiries'] as number,
    topContended: (json['top_contended'] as Json[]).map((one) => ({
      resourceName: one['resource_name'] as string,
      conflicts: one['conflicts'] as number
    }))
  }
}

export function dateOf(text: unknown): Date {
  return new Date(text as string)
}

function dateOrNull(text: unknown): Date | null {
  return text === null ? null : dateOf(text)
}
