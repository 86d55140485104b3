import { setTimeout as sleep } from 'node:timers/promises'
import { LockService } from '../../src/locks/lock-service.js'
import type { RequestOutcome } from '../../src/locks/requests.js'
import { processId, resourceName } from '../../src/locks/lock.js'
import { openStore } from '../../src/storage/open-store.js'
import type { SqlLockStore } from '../../src/storage/sql-lock-store.js'
import type { TestDatabase } from './databases.js'
import { PATIENCE_MS } from './eventually.js'

export interface Asking {
  readonly ttlMs?: number | null
  readonly waitMs?: number
  readonly signal?: AbortSignal
  readonly requestId?: string
}

/** One instance of the service, without HTTP in front of it. */
export class Instance implements AsyncDisposable {
  readonly store: SqlLockStore
  readonly service: LockService

  constructor(store: SqlLockStore) {
    this.store = store
    this.service = new LockService(store, { defaultTtlMs: null })
  }

  static async start({ url, now }: Pick<TestDatabase, 'url' | 'now'>): Promise<Instance> {
    return new Instance(await openStore({ databaseUrl: url, clock: now }))
  }

  /** Waits as long as it takes unless told otherwise. */
  ask(names: string | readonly string[], process: string, options: Asking = {}): Promise<RequestOutcome> {
    const { ttlMs, waitMs = PATIENCE_MS, signal, requestId } = options
    return this.service.request(
      { resourceNames: [names].flat().map(resourceName), processId: processId(process), ttlMs, requestId },
      { waitMs, signal }
    )
  }

  /** Asks without waiting. */
  now(names: string | readonly string[], process: string, requestId?: string): Promise<RequestOutcome> {
    return this.ask(names, process, requestId === undefined ? { waitMs: 0 } : { waitMs: 0, requestId })
  }

  release(name: string, process: string) {
    return this.service.release({ resourceName: resourceName(name), processId: processId(process) })
  }

  inspect(name: string) {
    return this.service.inspect(resourceName(name))
  }

  /** Resolves when so many wait here and have found the way blocked. */
  async untilWaiting(waiters: number): Promise<void> {
    while (this.service.waiting !== waiters) await sleep(2)
    await sleep(20)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.service.drain()
    await this.store[Symbol.asyncDispose]()
  }
}
