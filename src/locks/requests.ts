import type { ReleaseOutcome, RenewAllOutcome } from './commands.js'
import type { Metadata, ProcessId, ResourceName, TtlMs } from './lock.js'
import type { WaitOutcome } from './wait-queue.js'

export interface LockRequest {
  /** At least one, all different; all or none are granted. A thousand are fine, in one short transaction. */
  readonly resourceNames: readonly ResourceName[]
  readonly processId: ProcessId
  /** Undefined takes the default. */
  readonly ttlMs?: TtlMs | undefined
  readonly metadata?: Metadata | null | undefined
  /** Chosen by the caller; a repetition with the same id and the same key is answered with the same grants. */
  readonly requestId?: string | undefined
  /** The name of the key to which the grants will belong; nobody's if left out. */
  readonly key?: string | null | undefined
}

/** One grant of a process; with a lock id, exactly that one and no later one. */
export interface GrantRef {
  readonly resourceName: ResourceName
  readonly processId: ProcessId
  readonly lockId?: number | undefined
  /** Only a grant that belongs to the key of this name, or to nobody; whoever's if left out. */
  readonly key?: string | null | undefined
}

export interface RenewalRequest extends GrantRef {
  /** From now; undefined takes the lease with which the grant was made. */
  readonly ttlMs: TtlMs | undefined
}

/** What of a process's grants a call for all of them may touch. */
export interface OwnedBy {
  /** Only names that begin with this text; empty takes all. */
  readonly prefix: string
  /** As in {@link GrantRef}. */
  readonly key: string | null
}

export type RequestOutcome = WaitOutcome

export type ForceReleaseOutcome = ReleaseOutcome | { readonly kind: 'changed' }
export type Released = Extract<ReleaseOutcome, { kind: 'released' }>
export interface ReleasedAll {
  readonly released: readonly Released[]
  /** How many of the process's requests were removed from the queues. */
  readonly leftQueue: number
}
export type Renewals = RenewAllOutcome['renewals']
