import { randomUUID } from 'node:crypto'
import type { Sharing } from '../client/answers.js'
import type { Lock, LockApi } from '../client/api.js'
import { LockLostError, LockServiceUnavailableError } from '../client/errors.js'
import { DocumentLocks } from '../compat/document-locks.js'
import { LockError } from '../locks/errors.js'
import { LONGEST_TTL_SECONDS, MAX_PERMITS, processId, resourceName, ttlFromSeconds, type Grant, type Metadata, type ProcessId } from '../locks/lock.js'
import { LockService } from '../locks/lock-service.js'
import type { LockRequest } from '../locks/requests.js'
import type { LockStore } from '../locks/store.js'
import { Sweeper } from '../locks/cleanup.js'
import { openStore } from '../storage/index.js'

export type { Sharing } from '../client/answers.js'
export type { Lock, LockApi } from '../client/api.js'
export { acquireWithRetry, InMemoryLock, NoOpLock, withLock, type RetryOptions, type TimeProvider } from './local-locks.js'

const DEFAULTS = { keepHistoryDays: 7, sweepIntervalSeconds: 5 }

export interface EmbeddedLocksOptions {
  /** As the service's `DATABASE_URL`: `sqlite:FILE`, `sqlite::memory:` or `postgres://…`. */
  readonly databaseUrl: string
  /** Who holds what is acquired; a random one if left out. */
  readonly processId?: string
  /** 7 if left out; 0 keeps no history. */
  readonly keepHistoryDays?: number
  /** Told of broken connections and failed rounds of the sweeper, neither of which needs an answer. */
  readonly onFault?: (error: unknown) => void
  /** Milliseconds since 1970, for SQLite only; the machine's clock if left out. */
  readonly clock?: () => number
}

/** A lock in the database. */
export interface EmbeddedLock extends Lock, AsyncDisposable {
  /** Each grant of a key has a larger one than every earlier grant of it, forever. */
  readonly fencingToken: number
  /** By the database's clock. */
  readonly expiresAt: Date | null
  readonly metadata: Metadata | null
  /** The numbers of its permits, where it was taken with a limit: no other holder has one of them. */
  readonly slots: readonly number[]
  /** @throws LockLostError when the lock has ended. */
  renew(timeoutSeconds: number): Promise<void>
}

/**
 * Opens a database of locks for this process, without a server. Several processes may share one on PostgreSQL, together
 * with instances of the service; a SQLite file belongs to one.
 *
 * ```ts
 * await using locks = await createLocks({ databaseUrl: 'sqlite:locks.db' })
 * const lock = await locks.tryAcquire('order:42', 30)
 * ```
 *
 * @throws StartupError with one sentence when the database cannot be used.
 */
export async function createLocks(options: EmbeddedLocksOptions): Promise<EmbeddedLocks> {
  const { databaseUrl, clock, keepHistoryDays = DEFAULTS.keepHistoryDays, onFault = () => undefined } = options
  const holder = processId(options.processId ?? randomUUID())
  const store = await openStore({
    databaseUrl,
    keepHistoryMs: keepHistoryDays * 86_400_000,
    onConnectionError: onFault,
    onFatal: onFault,
    ...(clock === undefined ? {} : { clock })
  })
  return new EmbeddedLocks(store, holder, onFault)
}

/** The engine in this process. Every method rejects with a LockServiceUnavailableError when the database cannot answer. */
export class EmbeddedLocks implements LockApi, AsyncDisposable {
  readonly processId: string
  /** Locks on documents, each held by a user. Its methods reject with a LockError when the database cannot answer. */
  readonly documents: DocumentLocks
  /** The whole engine, for instance to be served by `buildApp`. */
  readonly service: LockService
  readonly #store: LockStore
  readonly #sweeper: Sweeper
  #shares = 0
  readonly #holder: ProcessId

  /** Use {@link createLocks}. */
  constructor(store: LockStore, holder: ProcessId, onFault: (error: unknown) => void) {
    this.#store = store
    this.#holder = holder
    this.processId = holder
    this.service = new LockService(store, { defaultTtlMs: null })
    this.documents = new DocumentLocks(this.service)
    this.#sweeper = new Sweeper(store, {
      intervalMs: DEFAULTS.sweepIntervalSeconds * 1000,
      onExpired: (grants) => this.service.statistics.expired(grants),
      onError: onFault
    })
    this.#sweeper.start()
  }

  /** @throws RangeError for a key or a time that no lock can have. */
  async tryAcquire(key: string, timeoutSeconds: number, metadata: Metadata | null = null): Promise<EmbeddedLock | undefined> {
    requireTimeout(timeoutSeconds)
    return this.#request({ resourceNames: [resourceName(key)], processId: this.#holder, ttlMs: ttlFromSeconds(timeoutSeconds), metadata })
  }

  /** @throws RangeError for a key, a time or permits that no lock can have. */
  async tryAcquireShare(key: string, timeoutSeconds: number, { mode, limit, permits = 1 }: Sharing): Promise<EmbeddedLock | undefined> {
    requireTimeout(timeoutSeconds)
    if (!isIn(limit ?? 1, MAX_PERMITS) || !isIn(permits, limit ?? 1)) throw new RangeError(`limit must be a whole number from 1 to ${MAX_PERMITS}, and permits one from 1 to the limit.`)
    if (mode === 'exclusive') throw new RangeError('A share is not exclusive.')
    // A process has one lock of a resource: each share is another process's.
    const holder = processId(`${this.#holder}/${(this.#shares += 1)}`)
    return this.#request({ resourceNames: [resourceName(key)], processId: holder, ttlMs: ttlFromSeconds(timeoutSeconds), sharing: [{ limit: limit ?? null, permits }] })
  }

  async #request(request: LockRequest): Promise<EmbeddedLock | undefined> {
    const outcome = await available(() => this.service.request(request))
    const [grant] = outcome.kind === 'granted' ? outcome.grants : []
    return grant === undefined ? undefined : this.#lockOf(grant)
  }

  /** Ends what is under way and closes the database. Locks that are held stay held until they end. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.service.drain()
    await this.#sweeper[Symbol.asyncDispose]()
    await this.#store[Symbol.asyncDispose]()
  }

  #lockOf(grant: Grant): EmbeddedLock {
    const { lockId, expiresAt, metadata, share } = grant
    const release = async (): Promise<void> => {
      // By its number, so that a later grant is left alone; what has ended already is let go.
      await available(() => this.service.release(grant))
    }
    const renew = async (timeoutSeconds: number): Promise<void> => {
      const outcome = await available(() => this.service.renew({ ...grant, ttlMs: ttlFromSeconds(timeoutSeconds) }))
      if (outcome.kind !== 'renewed') throw new LockLostError(grant.resourceName, lockId, outcome.reason)
    }
    return {
      type: 'lock',
      fencingToken: lockId,
      expiresAt: expiresAt === null ? null : new Date(expiresAt),
      metadata,
      slots: share?.slots ?? [],
      release,
      renew,
      [Symbol.asyncDispose]: release
    }
  }
}

function isIn(value: number, most: number): boolean {
  return Number.isInteger(value) && value >= 1 && value <= most
}

function requireTimeout(seconds: number): void {
  if (!(seconds > 0 && seconds <= LONGEST_TTL_SECONDS)) throw new RangeError(`timeoutSeconds must be greater than 0 and at most ${LONGEST_TTL_SECONDS}.`)
}

/** Says "away" in the words of every other back end. */
async function available<Result>(work: () => Promise<Result>): Promise<Result> {
  try {
    return await work()
  } catch (error) {
    if (!(error instanceof LockError)) throw error
    throw new LockServiceUnavailableError(error.message, { code: error.code, outcomeUnknown: error.code === 'OUTCOME_UNKNOWN', cause: error })
  }
}
