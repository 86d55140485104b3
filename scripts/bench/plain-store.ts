import type { AcquireCommand, AcquireOutcome, Command, OutcomeOf, ReleaseCommand, ReleaseOutcome } from '../../src/locks/commands.js'
import type { HistoryPage, ListPage, LockStore } from '../../src/locks/lock-store.js'

/** What a store that knows no more than taking and giving back has to bring along. */
export interface TakeAndGive extends AsyncDisposable {
  acquire(command: AcquireCommand): Promise<AcquireOutcome>
  release(command: ReleaseCommand): Promise<ReleaseOutcome>
}

/** Puts what users would write by themselves behind the same HTTP service. */
export class PlainStore implements LockStore {
  readonly #inner: TakeAndGive

  constructor(inner: TakeAndGive) {
    this.#inner = inner
  }

  submit<C extends Command>(command: C): Promise<OutcomeOf<C>> {
    return this.#carryOut(command) as Promise<OutcomeOf<C>>
  }

  #carryOut(command: Command): Promise<OutcomeOf<Command>> {
    if (command.kind === 'acquire') return this.#inner.acquire(command)
    if (command.kind === 'release') return this.#inner.release(command)
    return Promise.reject(new Error(`this store does not ${command.kind}`))
  }

  onTurn(): void {}

  list(): Promise<ListPage> {
    return Promise.resolve({ grants: [], more: false })
  }

  count(): Promise<number> {
    return Promise.resolve(0)
  }

  history(): Promise<HistoryPage> {
    return Promise.resolve({ events: [], more: false })
  }

  readonly keepsHistory = false

  countWaiters(): Promise<number> {
    return Promise.resolve(0)
  }

  newestEvent(): Promise<number> {
    return Promise.resolve(0)
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
    return this.#inner[Symbol.asyncDispose]() as Promise<void>
  }
}
