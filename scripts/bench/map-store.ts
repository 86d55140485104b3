import type { AcquireCommand, AcquireOutcome, Command, OutcomeOf, ReleaseCommand, ReleaseOutcome } from '../../src/locks/commands.js'
import type { Grant } from '../../src/locks/lock.js'
import type { ListPage, StoreReads } from '../../src/locks/store.js'
import { BareStore, NO_READS } from './bare-store.js'

/**
 * The ceiling: locks in a `Map`, gone with the process. Everything the benchmark asks for is answered, as fast as it can be;
 * what it never asks for (waiting, renewing, several locks at once) is refused.
 */
export class MapStore extends BareStore {
  readonly #grants = new Map<string, Grant>()
  #last = 0
  override readonly reads: StoreReads = {
    ...NO_READS,
    list: () => Promise.resolve(this.#list()),
    count: () => Promise.resolve(this.#grants.size)
  }

  override submit<C extends Command>(command: C): Promise<OutcomeOf<C>> {
    try {
      return Promise.resolve(this.#carryOut(command) as OutcomeOf<C>)
    } catch (error) {
      return Promise.reject(error instanceof Error ? error : new Error(String(error)))
    }
  }

  #carryOut(command: Command): OutcomeOf<Command> {
    switch (command.kind) {
      case 'acquire':
        return this.#acquire(command)
      case 'release':
        return this.#release(command)
      case 'inspect':
        return { kind: 'inspected', at: Date.now(), grant: this.#valid(command.resourceName, Date.now()) ?? null, waiters: 0 }
      case 'sweep':
        return { kind: 'swept', expired: 0, removed: 0, more: false }
      case 'heartbeat':
        return { kind: 'heartbeat-sent', dequeued: [] }
      case 'find-request':
      case 'release-many':
      case 'renew':
      case 'renew-many':
      case 'renew-all':
      case 'convert':
      case 'revoke':
      case 'enqueue':
      case 'dequeue':
      case 'dequeue-all':
      case 'purge-tickets':
        throw new Error(`the Map does not ${command.kind}`)
    }
  }

  #acquire({ resourceNames: [name], processId, ttlMs, metadata }: AcquireCommand): AcquireOutcome {
    if (name === undefined) throw new Error('no name')
    const now = Date.now()
    const held = this.#valid(name, now)
    if (held !== undefined) return { kind: 'held', conflicts: [held], at: now, waiters: 0 }
    this.#last += 1
    const grant: Grant = {
      lockId: this.#last,
      resourceName: name,
      processId,
      lockedAt: now,
      expiresAt: ttlMs === null ? null : now + ttlMs,
      metadata
    }
    this.#grants.set(name, grant)
    return { kind: 'granted', grants: [grant], replayed: false }
  }

  #release({ resourceName, processId }: ReleaseCommand): ReleaseOutcome {
    const now = Date.now()
    const grant = this.#valid(resourceName, now)
    if (grant === undefined) return { kind: 'not-held', reason: 'not_locked' }
    if (grant.processId !== processId) return { kind: 'not-held', reason: 'held_by_other' }
    this.#grants.delete(resourceName)
    return { kind: 'released', grant, releasedAt: now }
  }

  #valid(name: string, now: number): Grant | undefined {
    const grant = this.#grants.get(name)
    return grant === undefined || (grant.expiresAt !== null && grant.expiresAt <= now) ? undefined : grant
  }

  #list(): ListPage {
    const grants = [...this.#grants.values()].slice(0, 100)
    const unlisted = { ttlMs: null, renewals: 0, waiters: 0 }
    return { at: Date.now(), grants: grants.map((grant) => Object.assign({}, grant, unlisted)), more: false }
  }
}
