import { allows, type KnownKey } from './api-keys.js'
import { ForbiddenError, KEY_NEEDED, UnauthorizedError } from './errors.js'
import type { FeedItem, WatchQuery } from './event-feed.js'
import type { ProcessId, ResourceName, Sharing, TtlMs } from './lock.js'
import { forwardAll, LOCK_READS, type LockReads, type ReadQuery } from './store.js'
import type { LockService } from './lock-service.js'
import type { GrantRef, InspectWait, LockRequest, OwnedBy, ReleaseRequest, RenewalRequest, RequestOutcome, WaitOptions } from './requests.js'

/** What one caller may do with locks: everything, which is the service itself, or what its key allows. */
export type Locks = Pick<
  LockService,
  | 'request'
  | 'release'
  | 'releaseMany'
  | 'releaseAll'
  | 'renew'
  | 'renewMany'
  | 'renewAll'
  | 'convert'
  | 'forceRelease'
  | 'revoke'
  | 'forceReleaseAll'
  | 'inspect'
  | 'inspectUnlike'
  | 'reads'
  | 'keepsHistory'
  | 'watch'
  | 'statistics'
  | 'prefix'
  | 'defaultTtlMs'
>

/** Stands for a key while none exists: every caller may do everything, until the first key is made. */
export interface Anybody extends Pick<KnownKey, 'scopes' | 'prefix' | 'ended'> {
  readonly name: null
}

/** The locks as the holder of that key may see and touch them; all of them where no key is needed. */
export type LocksOf = (key: KnownKey | null) => Locks

/**
 * The locks as one key may see and touch them: only names with its prefix, and of those only grants that were taken with a
 * key of its name or without any, unless it is an admin's. The HTTP layer checks which scope a call needs.
 *
 * Every method throws a ForbiddenError for a name or a prefix outside of the key's, before it does anything. The methods of
 * the hot path are not async functions: they pass on the promise of the service.
 */
export class ScopedLocks implements Locks {
  readonly #locks: LockService
  readonly #key: KnownKey | Anybody
  /** The name of the key whose grants it may release and renew; null for all grants. */
  readonly #owner: string | null
  /** Whether it may release and renew every grant: what it is given is passed on as it is. */
  readonly #coversAll: boolean
  readonly reads: LockReads

  constructor(locks: LockService, key: KnownKey | Anybody) {
    this.#locks = locks
    this.#key = key
    this.#owner = allows(key, 'admin') ? null : key.name
    this.#coversAll = this.#owner === null && key.prefix === ''
    this.reads = forwardAll<LockReads>(LOCK_READS, async (name, [query]) => {
      const read = locks.reads[name] as (query: ReadQuery) => Promise<unknown>
      return read(this.#narrowed(query as ReadQuery))
    })
  }

  get prefix(): string {
    return this.#key.prefix
  }

  get defaultTtlMs(): TtlMs {
    return this.#locks.defaultTtlMs
  }

  get keepsHistory(): boolean {
    return this.#locks.keepsHistory
  }

  get statistics() {
    return this.#locks.statistics
  }

  /** @throws UnauthorizedError when the key is revoked or expires while the request waits, as if its caller were gone. */
  request(request: LockRequest, wait?: WaitOptions): Promise<RequestOutcome> {
    if (this.#coversAll && this.#key.name === null && wait === undefined) return this.#locks.request(request)
    for (const name of request.resourceNames) this.#mustCover(name)
    if (request.steal === true && !allows(this.#key, 'admin')) throw new ForbiddenError("Stealing a lock takes an API key with the scope 'admin'")
    const mine = { ...request, key: this.#key.name }
    if (wait === undefined) return this.#locks.request(mine)
    return this.#untilKeyEnds(wait.signal, (signal) => this.#locks.request(mine, { ...wait, signal }))
  }

  async #untilKeyEnds<Outcome>(first: AbortSignal | undefined, work: (signal: AbortSignal) => Promise<Outcome>): Promise<Outcome> {
    using until = either(first, this.#key.ended)
    const outcome = await work(until.signal)
    if (this.#key.ended.aborted) throw this.#key.name === null ? new UnauthorizedError(KEY_NEEDED) : new UnauthorizedError()
    return outcome
  }

  release(lock: ReleaseRequest) {
    if (this.#coversAll) return this.#locks.release(lock)
    this.#mustCover(lock.resourceName)
    return this.#locks.release({ ...lock, key: this.#owner })
  }

  async releaseMany(resourceNames: readonly ResourceName[], processId: ProcessId) {
    for (const name of resourceNames) this.#mustCover(name)
    return this.#locks.releaseMany(resourceNames, processId, this.#owner)
  }

  releaseAll(processId: ProcessId) {
    return this.#locks.releaseAll(processId, this.#owned)
  }

  renew(lock: RenewalRequest) {
    this.#mustCover(lock.resourceName)
    return this.#locks.renew({ ...lock, key: this.#owner })
  }

  async renewMany(locks: readonly RenewalRequest[]) {
    for (const { resourceName } of locks) this.#mustCover(resourceName)
    return this.#locks.renewMany(locks.map((lock) => ({ ...lock, key: this.#owner })))
  }

  renewAll(processId: ProcessId, ttlMs: TtlMs | undefined) {
    return this.#locks.renewAll(processId, ttlMs, this.#owned)
  }

  async convert(lock: GrantRef, sharing: Sharing | null) {
    this.#mustCover(lock.resourceName)
    return this.#locks.convert({ ...lock, key: this.#owner }, sharing)
  }

  async forceRelease(resourceName: ResourceName, reason: string, lockId: number | undefined, freesAtOnce?: boolean) {
    this.#mustCover(resourceName)
    return this.#locks.forceRelease(resourceName, reason, lockId, freesAtOnce)
  }

  async revoke(resourceName: ResourceName, reason: string, graceMs: number, lockId: number | undefined) {
    this.#mustCover(resourceName)
    return this.#locks.revoke(resourceName, reason, graceMs, lockId)
  }

  async forceReleaseAll(prefix: string, reason: string): Promise<number> {
    return this.#locks.forceReleaseAll(this.#narrow(prefix), reason)
  }

  async inspect(resourceName: ResourceName) {
    this.#mustCover(resourceName)
    return this.#locks.inspect(resourceName)
  }

  /** @throws UnauthorizedError when the key ends meanwhile. */
  async inspectUnlike(resourceName: ResourceName, wait: InspectWait) {
    this.#mustCover(resourceName)
    return this.#untilKeyEnds(wait.signal, (signal) => this.#locks.inspectUnlike(resourceName, { ...wait, signal }))
  }

  /** Ends when the key does. */
  watch(query: WatchQuery, quietMs: number, signal?: AbortSignal): AsyncGenerator<FeedItem> {
    return this.#watch({ ...query, prefix: this.#narrow(query.prefix) }, quietMs, signal)
  }

  async *#watch(query: WatchQuery, quietMs: number, signal: AbortSignal | undefined): AsyncGenerator<FeedItem> {
    using until = either(signal, this.#key.ended)
    yield* this.#locks.watch(query, quietMs, until.signal)
  }

  get #owned(): OwnedBy {
    return { prefix: this.#key.prefix, key: this.#owner }
  }

  #mustCover(name: string): void {
    if (!name.startsWith(this.#key.prefix)) throw new ForbiddenError(`The API key may only name resources that begin with '${this.#key.prefix}'`)
  }

  /** The query without what the key may not see. A query that names neither a resource nor a prefix is about all of them. */
  #narrowed(query: ReadQuery): ReadQuery {
    const { prefix, resourceName } = query
    if (prefix === undefined || (resourceName ?? null) !== null) this.#mustCover(resourceName ?? '')
    return prefix === undefined ? query : { ...query, prefix: this.#narrow(prefix) }
  }

  /** What two prefixes have in common, which is the longer one, if anything. */
  #narrow(prefix: string): string {
    if (this.#key.prefix.startsWith(prefix)) return this.#key.prefix
    this.#mustCover(prefix)
    return prefix
  }
}

/** A signal that fires with the first of two. Being disposed of, it lets go of the second, which may outlive thousands of requests. */
function either(first: AbortSignal | undefined, second: AbortSignal): Disposable & { readonly signal: AbortSignal } {
  const both = new AbortController()
  const abort = (): void => both.abort()
  const signals = first === undefined ? [second] : [first, second]
  for (const signal of signals) signal.addEventListener('abort', abort)
  if (signals.some(({ aborted }) => aborted)) abort()
  return {
    signal: both.signal,
    [Symbol.dispose]: () => second.removeEventListener('abort', abort)
  }
}
