import type { Command, OutcomeOf } from '../../src/locks/commands.js'
import type { FeedStart, HistoryPage, ListPage, LockStore, QueuePage } from '../../src/locks/store.js'

/** A store of the benchmark: what it is never asked for is answered as if there were nothing. */
export abstract class BareStore implements LockStore {
  readonly keepsHistory = false

  abstract submit<C extends Command>(command: C): Promise<OutcomeOf<C>>

  onWakeup(): void {}

  list(): Promise<ListPage> {
    return Promise.resolve({ at: Date.now(), grants: [], more: false })
  }

  count(): Promise<number> {
    return Promise.resolve(0)
  }

  countWaiters(): Promise<number> {
    return Promise.resolve(0)
  }

  queue(): Promise<QueuePage> {
    return Promise.resolve({ at: Date.now(), waiters: [], total: 0 })
  }

  history(): Promise<HistoryPage> {
    return Promise.resolve({ events: [], more: false })
  }

  releasedAt(): Promise<null> {
    return Promise.resolve(null)
  }

  newestEvent(): Promise<number> {
    return Promise.resolve(0)
  }

  feedStart(): Promise<FeedStart> {
    return Promise.resolve({ after: 0, earlier: [] })
  }

  isForgotten(): Promise<boolean> {
    return Promise.resolve(true)
  }

  eventsAfter(): Promise<HistoryPage> {
    return this.history()
  }

  ping(): Promise<void> {
    return Promise.resolve()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return Promise.resolve()
  }
}
