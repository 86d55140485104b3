import type { CountQuery, FeedStart, GrantNumber, HistoryPage, HistoryQuery, ListPage, ListQuery, LockStore, QueuePage, QueueQuery } from '../locks/store.js'
import type { EpochMs } from '../locks/lock.js'
import { EventReader, isForgotten, newestEvent, readHistory, releasedAt, type EventIndex } from './history.js'
import { countLocks, listLocks, type ListContext } from './list.js'
import { readQueue } from './queue.js'

/** What is read without a batch. */
export type LockReads = Pick<LockStore, 'list' | 'count' | 'queue' | 'countWaiters' | 'history' | 'releasedAt' | 'newestEvent' | 'feedStart' | 'isForgotten' | 'eventsAfter'>

export interface ReadContext extends ListContext {
  readonly countWaiters: (prefix: string) => Promise<number>
  readonly events: EventIndex
  /** Whether an event may become visible after one with a larger id. */
  readonly mayHaveGaps: boolean
}

/** Reads through Kysely, by the connection of the context. */
export class SqlReads implements LockReads {
  readonly #context: ReadContext
  readonly #events: EventReader

  constructor(context: ReadContext) {
    this.#context = context
    this.#events = new EventReader(context.db, context.mayHaveGaps)
  }

  list(query: ListQuery): Promise<ListPage> {
    return listLocks(this.#context, query)
  }

  count(query: CountQuery): Promise<number> {
    return countLocks(this.#context, query)
  }

  queue(query: QueueQuery): Promise<QueuePage> {
    return readQueue(this.#context, query)
  }

  countWaiters(prefix: string): Promise<number> {
    return this.#context.countWaiters(prefix)
  }

  history(query: HistoryQuery): Promise<HistoryPage> {
    return readHistory(this.#context.db, this.#context.events, query)
  }

  releasedAt(grant: GrantNumber): Promise<EpochMs | null> {
    return releasedAt(this.#context.db, this.#context.events, grant)
  }

  newestEvent(): Promise<number> {
    return newestEvent(this.#context.db)
  }

  feedStart(): Promise<FeedStart> {
    return this.#events.start()
  }

  isForgotten(eventId: number): Promise<boolean> {
    return isForgotten(this.#context.db, eventId)
  }

  eventsAfter(eventId: number, limit: number, until?: 'settled'): Promise<HistoryPage> {
    return until === 'settled' ? this.#events.settledAfter(eventId, limit) : this.#events.after(eventId, limit)
  }
}
