import type { AcquireCommand, AcquireOutcome, Command, ConvertOutcome, FindRequestOutcome, InspectOutcome, OutcomeOf, ReleaseCommand, ReleaseOutcome, RenewCommand, RenewOutcome } from './commands.js'
import { LockError } from './errors.js'
import { EventFeed, type FeedItem, type WatchQuery } from './event-feed.js'
import type { IdempotencyKey, ProcessId, ResourceName, Sharing, TtlMs } from './lock.js'
import { Statistics } from './metrics.js'
import { LockQuota, NO_LIMITS, type Limits } from './quotas.js'
import { idempotencyKeyOf, type ForceReleaseOutcome, type GrantRef, type InspectWait, type LockRequest, type OwnedBy, type Released, type ReleasedAll, type ReleaseRequest, type RenewalRequest, type Renewals, type RequestOutcome, type RevocationOutcome, type WaitOptions } from './requests.js'
import { placeAfter, type ListPage, type ListPlace, type ListQuery, type LockReads, type LockStore, type StoreFigures } from './store.js'
import { WaitQueue } from './wait-queue.js'

/** How many grants of a process or a prefix are touched in one transaction: some milliseconds of work. */
const CHUNK_SIZE = 500

export interface LockServiceOptions {
  /** The lease of a request that names none; null never expires. */
  readonly defaultTtlMs: TtlMs
  /** None if left out. */
  readonly limits?: Limits
  /** How often waiters retry by themselves, in milliseconds; every second if left out. */
  readonly tickMs?: number
}

const EVERYTHING: OwnedBy = { prefix: '', key: null }

/** The engine for callers: waiting, quotas and statistics around the commands of a {@link LockStore}, which has their promises. */
export class LockService {
  readonly statistics = new Statistics()
  /** Callers see the names that begin with this text: all names. */
  readonly prefix: string = ''
  readonly reads: LockReads
  /** Whether there is a history to read. */
  readonly keepsHistory: boolean
  readonly #store: LockStore
  readonly #options: LockServiceOptions
  readonly #waitQueue: WaitQueue
  readonly #feed: EventFeed
  readonly #lockQuota: LockQuota

  constructor(store: LockStore, options: LockServiceOptions) {
    this.#store = store
    this.#options = options
    this.reads = store.reads
    this.keepsHistory = store.keepsHistory
    const limits = options.limits ?? NO_LIMITS
    this.#waitQueue = new WaitQueue(store, limits, options.tickMs)
    this.#lockQuota = new LockQuota(limits.locksPerKey, (key) => store.reads.count({ prefix: '', processId: null, key: key ?? undefined }))
    this.#feed = new EventFeed(store)
  }

  /** The lease of a request that names none. */
  get defaultTtlMs(): TtlMs {
    return this.#options.defaultTtlMs
  }

  async request(request: LockRequest, wait?: WaitOptions): Promise<RequestOutcome> {
    const began = performance.now()
    const { resourceNames, processId, ttlMs, metadata = null, requestId, key = null, steal = false, terms } = request
    // A theft is decided as shares are, since those may hold the resources.
    const sharing = steal ? resourceNames.map(() => null) : request.sharing
    const command: AcquireCommand = {
      kind: 'acquire',
      resourceNames,
      processId,
      ttlMs: ttlMs === undefined ? this.#options.defaultTtlMs : ttlMs,
      metadata,
      idempotencyKey: requestId === undefined ? null : idempotencyKeyOf(requestId, { resourceNames, processId, ttlMs, metadata, key, sharing, steal, terms }),
      ticket: null,
      key,
      sharing,
      steal: steal || undefined,
      terms
    }
    const room = this.#lockQuota.makeRoom(key, resourceNames.length)
    const before = room === undefined ? null : await this.#whereThereIsRoom(room, command.idempotencyKey)
    let outcome: RequestOutcome = before ?? queuedOutcome(await this.#submit(command))
    let waitedMs: number | undefined
    if (outcome.kind === 'held' && wait !== undefined && wait.waitMs > 0) {
      const since = performance.now()
      outcome = await this.#waitQueue.wait(command, outcome, wait)
      waitedMs = performance.now() - since
    }
    if (outcome.kind === 'granted' && !outcome.replayed) {
      this.#lockQuota.granted(key, outcome.grants.length)
      for (const grant of outcome.stolen ?? []) this.statistics.released({ kind: 'released', grant, releasedAt: outcome.grants[0]?.lockedAt ?? grant.lockedAt }, true)
      if (wait?.signal !== undefined) await this.#waitQueue.cleanup.releaseAbandoned(outcome.grants, command.idempotencyKey, wait.signal)
    }
    this.statistics.requested(outcome, performance.now() - began, waitedMs)
    return outcome
  }

  /** Resolves to null when there is room; where there is none, to the answer to an earlier request with that idempotencyKey. */
  async #whereThereIsRoom(room: Promise<void>, idempotencyKey: IdempotencyKey | null): Promise<FindRequestOutcome['before']> {
    try {
      await room
      return null
    } catch (error) {
      if (idempotencyKey === null || !(error instanceof LockError && error.code === 'TOO_MANY_REQUESTS')) throw error
      const { before } = await this.#store.submit({ kind: 'find-request', idempotencyKey })
      if (before === null) throw error
      return before
    }
  }

  async release({ resourceName, processId, lockId, key = null, keepMs }: ReleaseRequest): Promise<ReleaseOutcome> {
    const command = releaseOf(resourceName, processId, lockId, null, key)
    const outcome = await this.#submit(keepMs === undefined ? command : { ...command, keepMs })
    this.statistics.released(outcome, false)
    return outcome
  }

  /** In the order of the names, in one transaction; what is not held does not keep the others from being released. */
  async releaseMany(resourceNames: readonly ResourceName[], processId: ProcessId, key: string | null = null): Promise<readonly ReleaseOutcome[]> {
    const releases = resourceNames.map((name) => releaseOf(name, processId, undefined, null, key))
    const { outcomes } = await this.#submit({ kind: 'release-many', releases })
    for (const outcome of outcomes) this.statistics.released(outcome, false)
    return outcomes
  }

  /**
   * Removes the process from the queues, then releases what it holds, in name order: nothing that it asked for before is
   * granted to it afterwards. What it asks for meanwhile may or may not be released.
   */
  async releaseAll(processId: ProcessId, { prefix, key } = EVERYTHING): Promise<ReleasedAll> {
    const { requests } = await this.#submit({ kind: 'dequeue-all', processId, prefix, key })
    const released = await this.#endAll({ prefix, processId }, ({ resourceName, lockId }) => releaseOf(resourceName, processId, lockId, null, key))
    for (const one of released) this.statistics.released(one, false)
    return { released, leftQueue: requests }
  }

  async renew(lock: RenewalRequest): Promise<RenewOutcome> {
    const outcome = await this.#submit(renewalOf(lock))
    this.statistics.renewed(outcome)
    return outcome
  }

  /** In the order of the locks, together; what is not held does not keep the others from being renewed. */
  async renewMany(locks: readonly RenewalRequest[]): Promise<readonly RenewOutcome[]> {
    const renewals = locks.map(renewalOf)
    const { outcomes } = await this.#submit({ kind: 'renew-many', renewals })
    for (const outcome of outcomes) this.statistics.renewed(outcome)
    return outcomes
  }

  /** Renews everything that the process holds, in name order. */
  async renewAll(processId: ProcessId, ttlMs: TtlMs | undefined, owned = EVERYTHING): Promise<Renewals> {
    const all: Renewals[number][] = []
    for (let after = ''; ; ) {
      const { renewals, next } = await this.#submit({ kind: 'renew-all', processId, ttlMs, after, limit: CHUNK_SIZE, ...owned })
      all.push(...renewals)
      for (const _ of renewals) this.statistics.renewed({ kind: 'renewed' })
      if (next === null) return all
      after = next
    }
  }

  /** Changes what a process holds of a resource, at once or not at all; see {@link ConvertCommand}. */
  async convert({ resourceName, processId, lockId, key = null }: GrantRef, sharing: Sharing | null): Promise<ConvertOutcome> {
    const outcome = await this.#submit({ kind: 'convert', resourceName, processId, lockId: lockId ?? null, key, sharing })
    this.statistics.converted(outcome)
    return outcome
  }

  /**
   * Takes a grant away from its holder, or all shares from theirs; frees a resource that is kept. `changed`: the given lock id is no
   * longer that of the valid grant.
   */
  async forceRelease(resourceName: ResourceName, reason: string, lockId: number | undefined, freesAtOnce = false): Promise<ForceReleaseOutcome> {
    const outcome = await this.#submit({ ...releaseOf(resourceName, null, lockId, reason), freesAtOnce })
    this.statistics.released(outcome, true)
    return outcome.kind === 'not-held' && outcome.reason === 'held_by_other' ? { kind: 'changed' } : outcome
  }

  /** Takes away every grant that is valid now and whose name begins with the prefix; resolves to their number. */
  async forceReleaseAll(prefix: string, reason: string): Promise<number> {
    const released = await this.#endAll({ prefix, processId: null }, ({ resourceName, processId, lockId }) => ({ ...releaseOf(resourceName, null, lockId, reason), holder: processId }))
    for (const one of released) this.statistics.released(one, true)
    return released.length
  }

  /** Asks the holder of a grant, or those of all shares, to end it: from now on no renewal moves the end past that of the grace. */
  async revoke(resourceName: ResourceName, reason: string, graceMs: number, lockId: number | undefined): Promise<RevocationOutcome> {
    const outcome = await this.#submit({ kind: 'revoke', resourceName, lockId: lockId ?? null, reason, graceMs })
    return outcome.kind === 'not-held' && outcome.reason === 'held_by_other' ? { kind: 'changed' } : outcome
  }

  inspect(resourceName: ResourceName): Promise<InspectOutcome> {
    return this.#submit({ kind: 'inspect', resourceName })
  }

  /**
   * Resolves as soon as the current grant is another than that one, or its metadata changes; when the time is over, and when the
   * caller is gone, to what is there then.
   */
  inspectUnlike(resourceName: ResourceName, { unlikeLockId, waitMs, signal }: InspectWait): Promise<InspectOutcome> {
    const until = performance.now() + waitMs
    let metadata: string | undefined
    const restMs = ({ at, grant }: InspectOutcome): number => {
      const text = JSON.stringify(grant?.metadata)
      metadata ??= text
      if ((grant?.lockId ?? 0) !== unlikeLockId || text !== metadata) return 0
      // A grant ends by the database's clock, whether or not the history says so by then.
      const endsInMs = grant === null || grant.expiresAt === null ? Infinity : Math.max(1, grant.expiresAt - at)
      return Math.min(until - performance.now(), endsInMs)
    }
    return this.#feed.readUntil(resourceName, () => this.inspect(resourceName), restMs, signal)
  }

  /** How the database is being used; undefined where the store does not say. */
  get storeFigures(): StoreFigures | undefined {
    return this.#store.figures
  }

  /** How many requests of this instance wait. */
  get waiting(): number {
    return this.#waitQueue.size
  }

  /** The history as it is written, see {@link EventFeed.watch}. */
  watch(query: WatchQuery, quietMs: number, signal?: AbortSignal): AsyncGenerator<FeedItem> {
    return this.#feed.watch(query, quietMs, signal)
  }

  /** Rejects all waiters with `DRAINING`, gives their places up and ends all watching; no request can wait from now on. */
  drain(): Promise<void> {
    this.#feed.close()
    return this.#waitQueue.drain()
  }

  /** Whether the service is being stopped. */
  get draining(): boolean {
    return this.#waitQueue.draining
  }

  /** Rejects with a LockError when locks can be neither taken nor read. */
  checkDatabase(): Promise<void> {
    return this.#store.ping()
  }

  async #submit<C extends Command>(command: C): Promise<OutcomeOf<C>> {
    const outcome = await this.#store.submit(command)
    this.#feed.poke()
    return outcome
  }

  /** Ends listed grants limit by limit, each by its number, so that a later grant of the same name is left alone. */
  async #endAll(
    which: Pick<ListQuery, 'prefix' | 'processId'>,
    releaseIt: (grant: ListPage['grants'][number]) => ReleaseCommand
  ): Promise<Released[]> {
    const released: Released[] = []
    for (let after: ListPlace | null = null; ; ) {
      const { grants, more }: ListPage = await this.reads.list({ ...which, after, limit: CHUNK_SIZE })
      if (grants.length > 0) {
        const { outcomes } = await this.#submit({ kind: 'release-many', releases: grants.map(releaseIt) })
        released.push(...releasedAmong(outcomes))
      }
      if (!more) return released
      after = placeAfter(grants)
    }
  }
}

function releaseOf(
  resourceName: ResourceName,
  processId: ProcessId | null,
  lockId: number | undefined,
  reason: string | null = null,
  key: string | null = null
): ReleaseCommand {
  return { kind: 'release', resourceName, processId, lockId: lockId ?? null, reason, key }
}

function renewalOf({ resourceName, processId, lockId, key = null, ttlMs, metadata, restartLease }: RenewalRequest): RenewCommand {
  return { kind: 'renew', resourceName, processId, lockId: lockId ?? null, key, ttlMs, metadata, restartLease }
}

/** @throws Error for an outcome that only a request with a ticket can have. */
function queuedOutcome(outcome: AcquireOutcome): RequestOutcome {
  if (outcome.kind === 'dequeued') throw new Error('a request without a ticket got the outcome dequeued')
  return outcome
}

function releasedAmong(outcomes: readonly ReleaseOutcome[]): Released[] {
  return outcomes.filter((outcome): outcome is Released => outcome.kind === 'released')
}
