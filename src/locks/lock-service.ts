import type { AcquireOutcome, InspectOutcome, ReleaseOutcome } from './commands.js'
import type { Metadata, ProcessId, ResourceName, TtlMs } from './lock.js'
import type { ListPage, ListQuery, LockStore } from './lock-store.js'

export interface LockServiceOptions {
  /** The lease of a request that names none; null never expires. */
  readonly defaultTtlMs: TtlMs
}

export interface LockRequest {
  readonly resourceName: ResourceName
  readonly processId: ProcessId
  /** Undefined takes the default. */
  readonly ttlMs?: TtlMs | undefined
  readonly metadata?: Metadata | null | undefined
}

export interface ReleaseRequest {
  readonly resourceName: ResourceName
  readonly processId: ProcessId
  /** Ends exactly that grant; undefined ends whichever the process holds. */
  readonly lockId?: number | undefined
}

/** The commands of the engine as callers give them. What each promises stands at {@link LockStore}. */
export class LockService {
  readonly #store: LockStore
  readonly #options: LockServiceOptions

  constructor(store: LockStore, options: LockServiceOptions) {
    this.#store = store
    this.#options = options
  }

  request({ resourceName, processId, ttlMs = this.#options.defaultTtlMs, metadata = null }: LockRequest): Promise<AcquireOutcome> {
    return this.#store.submit({ kind: 'acquire', resourceName, processId, ttlMs, metadata })
  }

  release({ resourceName, processId, lockId }: ReleaseRequest): Promise<ReleaseOutcome> {
    return this.#store.submit({ kind: 'release', resourceName, processId, lockId: lockId ?? null })
  }

  inspect(resourceName: ResourceName): Promise<InspectOutcome> {
    return this.#store.submit({ kind: 'inspect', resourceName })
  }

  list(query: ListQuery): Promise<ListPage> {
    return this.#store.list(query)
  }

  /** Rejects with a LockError when locks can be neither taken nor read. */
  checkDatabase(): Promise<void> {
    return this.#store.ping()
  }
}
