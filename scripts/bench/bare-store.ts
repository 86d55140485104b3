import type { Command, OutcomeOf } from '../../src/locks/commands.js'
import { forwardAll, STORE_READS, type LockStore, type StoreReads } from '../../src/locks/store.js'

/** The benchmark reads nothing of these. */
export const NO_READS: StoreReads = forwardAll<StoreReads>(STORE_READS, (name) => Promise.reject(new Error(`a store of the benchmark has no ${name}`)))

/** A store of the benchmark: what it is never asked for is answered as if there were nothing. */
export abstract class BareStore implements LockStore {
  readonly keepsHistory = false
  readonly reads: StoreReads = NO_READS

  abstract submit<C extends Command>(command: C): Promise<OutcomeOf<C>>

  onWakeup(): void {}

  ping(): Promise<void> {
    return Promise.resolve()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return Promise.resolve()
  }
}
