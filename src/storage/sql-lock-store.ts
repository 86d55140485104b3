import type { Command, OutcomeOf } from '../locks/commands.js'
import type { HistoryPage, HistoryQuery, ListPage, ListQuery, LockStore, QueuePage, QueueQuery } from '../locks/lock-store.js'
import type { SqlBackend } from './backend.js'
import { Batcher, type BatcherLimits } from './batcher.js'
import { EventReader, isForgotten, newestEvent, readHistory } from './history.js'
import { countLocks, listLocks } from './list.js'
import { readQueue } from './queue.js'

/** Locks in the `resource_locks` table of whichever database the backend speaks to. */
export class SqlLockStore implements LockStore {
  readonly #backend: SqlBackend
  readonly #batcher: Batcher
  readonly #events: EventReader

  constructor(backend: SqlBackend, limits: BatcherLimits) {
    this.#backend = backend
    this.#batcher = new Batcher(backend.executor, limits)
    this.#events = new EventReader(backend.db, !backend.executor.sequential)
  }

  /** What an operator should know about this database, in sentences. */
  get warnings(): readonly string[] {
    return this.#backend.warnings
  }

  onTurn(listener: (ticket: number) => void): void {
    this.#backend.turns.listener = listener
  }

  submit<C extends Command>(command: C): Promise<OutcomeOf<C>> {
    return this.#batcher.submit(command)
  }

  list(query: ListQuery): Promise<ListPage> {
    return this.#read(listLocks(this.#backend, query))
  }

  count(query: Pick<ListQuery, 'prefix' | 'processId'>): Promise<number> {
    return this.#read(countLocks(this.#backend, query))
  }

  countWaiters(): Promise<number> {
    return this.#read(this.#backend.countWaiters())
  }

  queue(query: QueueQuery): Promise<QueuePage> {
    return this.#read(readQueue(this.#backend, query))
  }

  history(query: HistoryQuery): Promise<HistoryPage> {
    return this.#read(readHistory(this.#backend.db, query))
  }

  get keepsHistory(): boolean {
    return this.#backend.keepsHistory
  }

  newestEvent(): Promise<number> {
    return this.#read(newestEvent(this.#backend.db))
  }

  isForgotten(eventId: number): Promise<boolean> {
    return this.#read(isForgotten(this.#backend.db, eventId))
  }

  eventsAfter(eventId: number, limit: number, until?: 'settled'): Promise<HistoryPage> {
    return this.#read(until === 'settled' ? this.#events.settledAfter(eventId, limit) : this.#events.after(eventId, limit))
  }

  ping(): Promise<void> {
    return this.#backend.ping()
  }

  #read<T>(answer: Promise<T>): Promise<T> {
    return answer.catch((error: unknown) => {
      throw this.#backend.toLockError(error)
    })
  }

  /** Lets what was submitted finish first. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#batcher.idle()
    await this.#backend[Symbol.asyncDispose]()
  }
}
