import type { AcquireCommand, Command, InspectOutcome, OutcomeOf, ReleaseCommand, ReleaseOutcome, RenewAllOutcome, RenewOutcome } from './commands.js'
import { EventFeed, type FeedItem } from './event-feed.js'
import { markOf } from './fingerprint.js'
import type { Grant, Metadata, ProcessId, ResourceName, TtlMs } from './lock.js'
import type { HistoryPage, HistoryQuery, ListPage, ListQuery, LockStore } from './lock-store.js'
import { Statistics } from './statistics.js'
import { WaitingRoom, type WaitOutcome } from './waiting-room.js'

/** How many grants of a process or a prefix are touched in one transaction: some milliseconds of work. */
const BITE = 500

export interface LockServiceOptions {
  /** The lease of a request that names none; null never expires. */
  readonly defaultTtlMs: TtlMs
}

export interface LockRequest {
  /** 1 to 100 different names, all or none of which are granted. */
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
export interface HeldLock {
  readonly resourceName: ResourceName
  readonly processId: ProcessId
  readonly lockId?: number | undefined
  /** Only a grant that belongs to the key of this name, or to nobody; whoever's if left out. */
  readonly key?: string | null | undefined
}

/** What of a process's grants a call for all of them may touch. */
export interface Reach {
  /** Only names that begin with this text; empty takes all. */
  readonly prefix: string
  /** As in {@link HeldLock}. */
  readonly key: string | null
}

const EVERYTHING: Reach = { prefix: '', key: null }

export interface WaitOptions {
  /** How long to wait in line, in milliseconds. */
  readonly waitMs: number
  /** Fires when the caller is gone. */
  readonly signal?: AbortSignal | undefined
}

export type RequestOutcome = WaitOutcome

export type ForceReleaseOutcome = ReleaseOutcome | { readonly kind: 'changed' }
export type Released = Extract<ReleaseOutcome, { kind: 'released' }>
export type Renewals = RenewAllOutcome['renewals']

/** The commands of the engine as callers give them. What each promises stands at {@link LockStore}. */
export class LockService {
  readonly statistics = new Statistics()
  /** The names that may be seen begin with this text: all of them do. */
  readonly prefix: string = ''
  readonly #store: LockStore
  readonly #options: LockServiceOptions
  readonly #waitingRoom: WaitingRoom
  readonly #feed: EventFeed

  constructor(store: LockStore, options: LockServiceOptions) {
    this.#store = store
    this.#options = options
    this.#waitingRoom = new WaitingRoom(store)
    this.#feed = new EventFeed(store)
  }

  async request(request: LockRequest, wait?: WaitOptions): Promise<RequestOutcome> {
    const { resourceNames, processId, ttlMs, metadata = null, requestId, key = null } = request
    const command: AcquireCommand = {
      kind: 'acquire',
      resourceNames,
      processId,
      ttlMs: ttlMs === undefined ? this.#options.defaultTtlMs : ttlMs,
      metadata,
      mark: requestId === undefined ? null : markOf(requestId, { resourceNames, processId, ttlMs, metadata, key }),
      ticket: null,
      key
    }
    let outcome: RequestOutcome = await this.#submit(command)
    // Granted at the first try, just as the caller went away: nobody would ever release it. Who waits is looked after there.
    if (outcome.kind === 'granted' && !outcome.replayed && wait?.signal?.aborted === true) await this.giveBack(outcome.grants)
    if (outcome.kind === 'held' && wait !== undefined && wait.waitMs > 0) outcome = await this.#waitingRoom.wait(command, wait)
    if (outcome.kind === 'granted' && !outcome.replayed) this.statistics.count('grants', outcome.grants.length)
    if (outcome.kind === 'held') for (const { resourceName } of outcome.conflicts) this.statistics.conflictOver(resourceName)
    return outcome
  }

  async release({ resourceName, processId, lockId, key = null }: HeldLock): Promise<ReleaseOutcome> {
    const outcome = await this.#submit(releaseOf(resourceName, processId, lockId, null, key))
    if (outcome.kind === 'released') this.statistics.count('releases')
    return outcome
  }

  /** In the order of the names, in one transaction; what is not held does not keep the others from being released. */
  async releaseMany(resourceNames: readonly ResourceName[], processId: ProcessId, key: string | null = null): Promise<readonly ReleaseOutcome[]> {
    const releases = resourceNames.map((name) => releaseOf(name, processId, undefined, null, key))
    const { outcomes } = await this.#submit({ kind: 'release-many', releases })
    this.statistics.count('releases', releasedAmong(outcomes).length)
    return outcomes
  }

  /** Releases what the process holds, in name order. A grant that it is given meanwhile may or may not be among them. */
  async releaseAll(processId: ProcessId, { prefix, key } = EVERYTHING): Promise<readonly Released[]> {
    const released = await this.#endAll({ prefix, processId }, ({ resourceName, lockId }) => releaseOf(resourceName, processId, lockId, null, key))
    this.statistics.count('releases', released.length)
    return released
  }

  /** @param ttlMs from now; undefined takes the lease with which the grant was made. */
  async renew(lock: HeldLock, ttlMs: TtlMs | undefined): Promise<RenewOutcome> {
    const outcome = await this.#submit({ kind: 'renew', ...lock, lockId: lock.lockId ?? null, key: lock.key ?? null, ttlMs })
    if (outcome.kind === 'renewed') this.statistics.count('renewals')
    return outcome
  }

  /** One heartbeat for all that the process holds, in name order. */
  async renewAll(processId: ProcessId, ttlMs: TtlMs | undefined, reach = EVERYTHING): Promise<Renewals> {
    const all: Renewals[number][] = []
    for (let after = ''; ; ) {
      const { renewals } = await this.#submit({ kind: 'renew-all', processId, ttlMs, after, bite: BITE, ...reach })
      all.push(...renewals)
      this.statistics.count('renewals', renewals.length)
      const last = renewals.at(-1)
      if (renewals.length < BITE || last === undefined) return all
      after = last.grant.resourceName
    }
  }

  /** Takes a grant away from whoever holds it. `changed`: the lock id that was given is no longer that of the valid grant. */
  async forceRelease(resourceName: ResourceName, reason: string, lockId: number | undefined): Promise<ForceReleaseOutcome> {
    const outcome = await this.#submit(releaseOf(resourceName, null, lockId, reason))
    if (outcome.kind === 'released') this.statistics.count('forcedReleases')
    return outcome.kind === 'not-held' && outcome.reason === 'held_by_other' ? { kind: 'changed' } : outcome
  }

  /** Takes away every grant that is valid now and whose name begins with the prefix; resolves to their number. */
  async forceReleaseAll(prefix: string, reason: string): Promise<number> {
    const released = await this.#endAll({ prefix, processId: null }, ({ resourceName, lockId }) => releaseOf(resourceName, null, lockId, reason))
    this.statistics.count('forcedReleases', released.length)
    return released.length
  }

  inspect(resourceName: ResourceName): Promise<InspectOutcome> {
    return this.#submit({ kind: 'inspect', resourceName })
  }

  list(query: ListQuery): Promise<ListPage> {
    return this.#store.list(query)
  }

  count(query: Pick<ListQuery, 'prefix' | 'processId'>): Promise<number> {
    return this.#store.count(query)
  }

  /** How many places in line there are on the whole database, for names with that prefix. */
  countWaiters(prefix = ''): Promise<number> {
    return this.#store.countWaiters(prefix)
  }

  history(query: HistoryQuery): Promise<HistoryPage> {
    return this.#store.history(query)
  }

  /** Releases grants whose answer never reached the caller. */
  async giveBack(grants: readonly Grant[]): Promise<void> {
    await this.#waitingRoom.giveBack(grants)
  }

  /** How many requests of this instance wait in line. */
  get waiting(): number {
    return this.#waitingRoom.size
  }

  /** The history as it is written, see {@link EventFeed.watch}. */
  watch(prefix: string, after: number | null, quietMs: number, signal?: AbortSignal): AsyncGenerator<FeedItem> {
    return this.#feed.watch(prefix, after, quietMs, signal)
  }

  /** Answers everybody who waits with `DRAINING`, gives their places up and ends all watching; nobody can wait from now on. */
  drain(): Promise<void> {
    this.#feed.close()
    return this.#waitingRoom.drain()
  }

  /** Whether the service is being stopped. */
  get draining(): boolean {
    return this.#waitingRoom.draining
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

  /** Ends listed grants bite by bite, each by its number, so that a later grant of the same name is left alone. */
  async #endAll(
    which: Pick<ListQuery, 'prefix' | 'processId'>,
    releaseIt: (grant: ListPage['grants'][number]) => ReleaseCommand
  ): Promise<Released[]> {
    const released: Released[] = []
    for (let after: string | null = null; ; ) {
      const { grants, more } = await this.#store.list({ ...which, after, limit: BITE })
      if (grants.length > 0) {
        const { outcomes } = await this.#submit({ kind: 'release-many', releases: grants.map(releaseIt) })
        released.push(...releasedAmong(outcomes))
      }
      if (!more) return released
      after = grants.at(-1)?.resourceName ?? null
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

function releasedAmong(outcomes: readonly ReleaseOutcome[]): Released[] {
  return outcomes.filter((outcome): outcome is Released => outcome.kind === 'released')
}
