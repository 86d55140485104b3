import type { AcquireCommand, AcquireOutcome, Command, OutcomeOf, ReleaseCommand, ReleaseOutcome } from '../../src/locks/commands.js'
import { BareStore } from './bare-store.js'

/** What a store that knows no more than taking and giving back has to bring along. */
export interface TakeAndGive extends AsyncDisposable {
  acquire(command: AcquireCommand): Promise<AcquireOutcome>
  release(command: ReleaseCommand): Promise<ReleaseOutcome>
}

/** Puts what users would write by themselves behind the same HTTP service. */
export class PlainStore extends BareStore {
  readonly #inner: TakeAndGive

  constructor(inner: TakeAndGive) {
    super()
    this.#inner = inner
  }

  override submit<C extends Command>(command: C): Promise<OutcomeOf<C>> {
    return this.#carryOut(command)
  }

  #carryOut(command: Command): Promise<OutcomeOf<Command>> {
    if (command.kind === 'acquire') return this.#inner.acquire(command)
    if (command.kind === 'release') return this.#inner.release(command)
    return Promise.reject(new Error(`this store does not ${command.kind}`))
  }

  override [Symbol.asyncDispose](): Promise<void> {
    return this.#inner[Symbol.asyncDispose]() as Promise<void>
  }
}
