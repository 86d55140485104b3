import type { Command, OutcomeOf } from '../../src/locks/commands.js'
import type { HistoryPage, LockStore, StoreReads } from '../../src/locks/store.js'

export const NO_READS: StoreReads = {
  list: () => Promise.resolve({ at: Date.now(), grants: [], more: false }),
  count: () => Promise.resolve(0),
  countWaiters: () => Promise.resolve(0),
  longestWait: () => Promise.resolve(null),
  queue: () => Promise.resolve({ at: Date.now(), waiters: [], total: 0 }),
  history: noEvents,
  releasedAt: () => Promise.resolve(null),
  feedStart: () => Promise.resolve({ after: 0, earlier: [] }),
  isForgotten: () => Promise.resolve(true),
  eventsAfter: noEvents
}

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

function noEvents(): Promise<HistoryPage> {
  return Promise.resolve({ events: [], more: false })
}
