import { setTimeout as sleep } from 'node:timers/promises'
import type { Test } from 'tap'
import type { KnownKey } from '../../src/locks/api-keys.js'
import { LockService } from '../../src/locks/lock-service.js'
import { processId, resourceName } from '../../src/locks/lock.js'
import type { RequestOutcome } from '../../src/locks/requests.js'
import { ScopedLocks } from '../../src/locks/scoped-locks.js'
import { openStore, type StoreOptions } from '../../src/storage/index.js'
import type { SqlLockStore } from '../../src/storage/sql-store.js'
import { type DatabaseName, freshDatabase, type TestDatabase } from './databases.js'
import { eventually, PATIENCE_MS } from './eventually.js'

/** A store on that database, by its clock. */
export function openOn(database: TestDatabase, options: Partial<StoreOptions> = {}): Promise<SqlLockStore> {
  return openStore({ databaseUrl: database.url, clock: database.now, ...options })
}

type Body = (t: Test, store: SqlLockStore, database: TestDatabase) => Promise<void>

/** Makes subtests that each have a store on a fresh database of that kind. */
export function onEachStore(t: Test, kind: DatabaseName, options: Partial<StoreOptions> = {}) {
  return (name: string, body: Body) =>
    t.test(name, async (t) => {
      await using database = await freshDatabase(kind)
      await using store = await openOn(database, options)
      await body(t, store, database)
    })
}

/** The instances that may share one database: two on PostgreSQL, the one there is on SQLite. `at` takes turns among them. */
export async function instances(kind: DatabaseName, store: SqlLockStore, database: TestDatabase) {
  const other = kind === 'postgres' ? await openOn(database) : undefined
  return {
    at: (turn: number): SqlLockStore => (turn % 2 === 1 && other !== undefined ? other : store),
    [Symbol.asyncDispose]: async () => other?.[Symbol.asyncDispose]()
  }
}

/** For what is not to happen while a test lasts. */
export const NEVER_MS = 2 ** 31 - 1

export interface Asking {
  readonly ttlMs?: number | null
  readonly waitMs?: number
  readonly signal?: AbortSignal
  readonly requestId?: string
  /** The name of the caller's key; it asks without one if left out. */
  readonly key?: string | undefined
}

/** A key that may take and release everything with that prefix, for as long as `ended` has not fired. */
export function knownKey(name: string, prefix = '', ended: AbortSignal = new AbortController().signal): KnownKey {
  return { id: 1, name, scopes: ['read', 'write'], prefix, ended }
}

/** One instance of the service, without HTTP in front of it. */
export class Instance implements AsyncDisposable {
  readonly store: SqlLockStore
  readonly service: LockService
  /** Of its database. */
  readonly url: string

  /** @param tickMs how often those that wait ask by themselves; as usual if left out. */
  constructor(store: SqlLockStore, url = '', tickMs?: number) {
    this.store = store
    this.url = url
    this.service = new LockService(store, { defaultTtlMs: null, ...(tickMs === undefined ? {} : { tickMs }) })
  }

  static async start({ url, now }: Pick<TestDatabase, 'url' | 'now'>): Promise<Instance> {
    return new Instance(await openStore({ databaseUrl: url, clock: now }), url)
  }

  /** Waits as long as it takes unless told otherwise. */
  ask(names: string | readonly string[], process: string, options: Asking = {}): Promise<RequestOutcome> {
    const { ttlMs, waitMs = PATIENCE_MS, signal, requestId, key } = options
    const locks = key === undefined ? this.service : new ScopedLocks(this.service, knownKey(key))
    return locks.request(
      { resourceNames: [names].flat().map(resourceName), processId: processId(process), ttlMs, requestId },
      { waitMs, signal }
    )
  }

  /** Asks without waiting. */
  now(names: string | readonly string[], process: string, requestId?: string, key?: string): Promise<RequestOutcome> {
    return this.ask(names, process, { waitMs: 0, key, ...(requestId === undefined ? {} : { requestId }) })
  }

  release(name: string, process: string) {
    return this.service.release({ resourceName: resourceName(name), processId: processId(process) })
  }

  inspect(name: string) {
    return this.service.inspect(resourceName(name))
  }

  /** Resolves when so many wait here and have found the way blocked. */
  async untilWaiting(waiters: number): Promise<void> {
    await eventually(`${waiters} wait`, () => Promise.resolve(this.service.waiting === waiters || undefined))
    await sleep(20)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.service.drain()
    await this.store[Symbol.asyncDispose]()
  }
}
