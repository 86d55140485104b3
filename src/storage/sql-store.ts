import type { Command, OutcomeOf } from '../locks/commands.js'
import type { KeyStore } from '../locks/key-store.js'
import { forwardAll, STORE_READS, type LockStore, type StoreFigures, type StoreReads } from '../locks/store.js'
import type { SqlBackend } from './backend.js'
import { Batcher, type BatcherLimits } from './batcher.js'

/** Locks in the `resource_locks` table of whichever database the backend speaks to. */
export class SqlLockStore implements LockStore {
  readonly #backend: SqlBackend
  readonly #batcher: Batcher
  readonly reads: StoreReads
  readonly keepsHistory: boolean
  /** The keys in the same database. */
  readonly keys: KeyStore

  constructor(backend: SqlBackend, limits: BatcherLimits) {
    this.#backend = backend
    this.reads = withLockErrors(backend)
    this.keepsHistory = backend.keepsHistory
    this.keys = backend.keys
    this.#batcher = new Batcher(backend.executor, limits)
  }

  /** What an operator should know about this database, in sentences. */
  get warnings(): readonly string[] {
    return this.#backend.warnings
  }

  get figures(): StoreFigures {
    return { ...this.#batcher.figures, pools: this.#backend.pools }
  }

  onWakeup(listener: (ticket: number) => void): void {
    this.#backend.wakeups.listener = listener
  }

  submit<C extends Command>(command: C): Promise<OutcomeOf<C>> {
    return this.#batcher.submit(command)
  }

  ping(): Promise<void> {
    return this.#backend.ping()
  }

  /** Lets what was submitted finish first. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#batcher.idle()
    await this.#backend[Symbol.asyncDispose]()
  }
}

function withLockErrors({ reads, toLockError }: SqlBackend): StoreReads {
  return forwardAll<StoreReads>(STORE_READS, async (name, args) => {
    try {
      return await (reads[name] as (...args: readonly unknown[]) => Promise<unknown>)(...args)
    } catch (error) {
      throw toLockError(error)
    }
  })
}
