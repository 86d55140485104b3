import type { Command, OutcomeOf } from '../locks/commands.js'
import type { KeyStore } from '../locks/key-store.js'
import type { EpochMs } from '../locks/lock.js'
import type { CountQuery, FeedStart, GrantNumber, HistoryPage, HistoryQuery, ListPage, ListQuery, LockStore, QueuePage, QueueQuery, StoreFigures } from '../locks/store.js'
import type { SqlBackend } from './backend.js'
import { Batcher, type BatcherLimits } from './batcher.js'

/** Locks in the `resource_locks` table of whichever database the backend speaks to. */
export class SqlLockStore implements LockStore {
  readonly #backend: SqlBackend
  readonly #batcher: Batcher
  /** The keys in the same database. */
  readonly keys: KeyStore

  constructor(backend: SqlBackend, limits: BatcherLimits) {
    this.#backend = backend
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

  list(query: ListQuery): Promise<ListPage> {
    return this.#read(this.#backend.reads.list(query))
  }

  count(query: CountQuery): Promise<number> {
    return this.#read(this.#backend.reads.count(query))
  }

  countWaiters(prefix: string): Promise<number> {
    return this.#read(this.#backend.reads.countWaiters(prefix))
  }

  queue(query: QueueQuery): Promise<QueuePage> {
    return this.#read(this.#backend.reads.queue(query))
  }

  history(query: HistoryQuery): Promise<HistoryPage> {
    return this.#read(this.#backend.reads.history(query))
  }

  releasedAt(grant: GrantNumber): Promise<EpochMs | null> {
    return this.#read(this.#backend.reads.releasedAt(grant))
  }

  get keepsHistory(): boolean {
    return this.#backend.keepsHistory
  }

  newestEvent(): Promise<number> {
    return this.#read(this.#backend.reads.newestEvent())
  }

  feedStart(): Promise<FeedStart> {
    return this.#read(this.#backend.reads.feedStart())
  }

  isForgotten(eventId: number): Promise<boolean> {
    return this.#read(this.#backend.reads.isForgotten(eventId))
  }

  eventsAfter(eventId: number, limit: number, until?: 'settled'): Promise<HistoryPage> {
    return this.#read(this.#backend.reads.eventsAfter(eventId, limit, until))
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
