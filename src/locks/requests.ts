import { createHash } from 'node:crypto'
import type { AcquireOutcome, ReleaseOutcome, RenewAllOutcome, RevokeOutcome } from './commands.js'
import { type IdempotencyKey, type Metadata, type ProcessId, type ResourceName, type Sharing, type Terms, type TtlMs, type EpochMs, type LockSnapshot, type Grant, isValid } from './lock.js'

export interface LockRequest {
  /** At least one, all different; all or none are granted. A thousand are fine, in one short transaction. */
  readonly resourceNames: readonly ResourceName[]
  readonly processId: ProcessId
  /** Undefined takes the default. */
  readonly ttlMs?: TtlMs | undefined
  readonly metadata?: Metadata | null | undefined
  /** Chosen by the caller; a repetition with the same id and the same key is answered with the same grants. */
  readonly requestId?: string | undefined
  /** The name of the key to which the grants will belong; none if left out. */
  readonly key?: string | null | undefined
  /** For each name in their order what share of it is asked for, null for all of it; all are exclusive if left out. */
  readonly sharing?: readonly (Sharing | null)[] | undefined
  /** Whether to take the resources away from their holders, past everybody who waits; only for exclusive requests. */
  readonly steal?: boolean | undefined
  /** What each of the grants says about its end. */
  readonly terms?: Terms | undefined
}

/** One grant of a process; with a lock id, exactly that one and no later one. */
export interface GrantRef {
  readonly resourceName: ResourceName
  readonly processId: ProcessId
  readonly lockId?: number | undefined
  /** Only a grant that belongs to the key of this name, or to none; any grant if left out. */
  readonly key?: string | null | undefined
}

export interface ReleaseRequest extends GrantRef {
  /** Keeps the resource for that long, in milliseconds. */
  readonly keepMs?: number | undefined
}

export interface RenewalRequest extends GrantRef {
  /** From now; undefined takes the lease with which the grant was made. */
  readonly ttlMs: TtlMs | undefined
  /** Replaces the grant's metadata; null, or left out, keeps it. */
  readonly metadata?: Metadata | null | undefined
  /** Counts the grant from now on: its `lockedAt` and its lease become those of the renewal; false if left out. */
  readonly restartLease?: boolean | undefined
}

/** What of a process's grants a call for all of them may touch. */
export interface OwnedBy {
  /** Only names that begin with this text; empty takes all. */
  readonly prefix: string
  /** As in {@link GrantRef}. */
  readonly key: string | null
}

export interface WaitOptions {
  /** How long to wait, in milliseconds. */
  readonly waitMs: number
  /** Fires when the client disconnects, while it waits or before the response was sent. What it is granted then is released. */
  readonly signal?: AbortSignal | undefined
  /** False for a caller that will not come back for its place; true if left out. */
  readonly keepPlace?: boolean | undefined
  /** Whose quota it uses; see {@link WaiterQuota.enter}. */
  readonly caller?: string | undefined
}

/** How long a look at a resource may wait for another grant than that one. */
export interface InspectWait {
  /** 0 stands for none. */
  readonly unlikeLockId: number
  /** In milliseconds. */
  readonly waitMs: number
  /** Fires when the caller is gone. */
  readonly signal: AbortSignal
}

export type Held = Extract<AcquireOutcome, { kind: 'held' }>

export type RequestOutcome =
  | Exclude<AcquireOutcome, { kind: 'dequeued' }>
  | (Held & { /** 1 is the next to be served. */ readonly queuePosition: number })

/** `changed`: the given lock id is no longer that of the valid grant. */
export type RevocationOutcome = RevokeOutcome | { readonly kind: 'changed' }
export type ForceReleaseOutcome = ReleaseOutcome | { readonly kind: 'changed' }
export type Released = Extract<ReleaseOutcome, { kind: 'released' }>
export interface ReleasedAll {
  readonly released: readonly Released[]
  /** How many of the process's requests were removed from the queues. */
  readonly leftQueue: number
}
export type Renewals = RenewAllOutcome['renewals']

export interface Fingerprinted {
  readonly resourceNames: readonly ResourceName[]
  readonly processId: ProcessId
  readonly ttlMs: TtlMs | undefined
  readonly metadata: Metadata | null
  /** The name of the caller's key; null or left out if there is none. */
  readonly key?: string | null
  readonly sharing?: readonly (Sharing | null)[] | undefined
  readonly steal?: boolean | undefined
  readonly terms?: Terms | undefined
}

/** A digest of all that a request asks for: the same for a repetition, another for other content or another key. The order of metadata's keys counts. */
export function fingerprintOf({ resourceNames, processId, ttlMs, metadata, key = null, sharing, steal = false, terms }: Fingerprinted): string {
  const shares = sharing === undefined ? [] : [sharing.map((share) => (share === null ? null : [share.limit, share.permits]))]
  const content = JSON.stringify([resourceNames, processId, ttlMs === undefined ? 'default' : ttlMs, metadata, ...(key === null ? [] : [key]), ...shares, ...(steal ? [{ steal }] : []), ...(terms === undefined ? [] : [terms])])
  return createHash('sha256').update(content).digest('base64url')
}

/** Each key has request ids of its own: a caller that uses the id of another key learns nothing and blocks nothing. */
export function idempotencyKeyOf(requestId: string, content: Fingerprinted): IdempotencyKey {
  const { key = null } = content
  return { id: key === null ? requestId : JSON.stringify([key, requestId]), fingerprint: fingerprintOf(content) }
}

/** A granted request, as it is saved. */
export interface SavedRequest {
  readonly fingerprint: string
  readonly grants: readonly (readonly [name: string, lockId: number])[]
  readonly until: EpochMs
}

/**
 * What a saved request means for one with the same id.
 *
 * @param snapshotOf each grant that it was given.
 * @returns the grants for the same answer again, `reused` if the id must be refused, or undefined if the saved request is obsolete.
 */
export function replayOf(
  savedRequest: SavedRequest,
  fingerprint: string,
  snapshotOf: (name: string, lockId: number) => LockSnapshot | undefined
): readonly Grant[] | 'reused' | undefined {
  const held: Grant[] = []
  let at = 0
  for (const [name, lockId] of savedRequest.grants) {
    const snapshot = snapshotOf(name, lockId)
    at = Math.max(at, snapshot?.at ?? 0)
    if (snapshot !== undefined && isValid(snapshot.latest, snapshot.at) && snapshot.latest.lockId === lockId) held.push(snapshot.latest)
  }
  const allHeld = held.length === savedRequest.grants.length
  if (allHeld) return savedRequest.fingerprint === fingerprint ? held : 'reused'
  return held.length === 0 && savedRequest.until <= at ? undefined : 'reused'
}
