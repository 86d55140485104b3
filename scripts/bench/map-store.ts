import type { AcquireCommand, AcquireOutcome, Command, OutcomeOf, ReleaseCommand, ReleaseOutcome, RenewCommand, RenewOutcome } from '../../src/locks/commands.js'
import type { Grant } from '../../src/locks/lock.js'
import type { ListPage, StoreReads } from '../../src/locks/store.js'
import { BareStore, NO_READS } from './bare-store.js'

/**
 * The ceiling: locks in a `Map`, gone with the process. Everything the benchmark asks for is answered, as fast as it can be;
 * what it never asks for (waiting, shares) is refused.
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
      case 'renew':
        return this.#renew(command)
      case 'renew-many':
        return { kind: 'renewed-many', outcomes: command.renewals.map((renewal) => this.#renew(renewal)) }
      case 'find-request':
      case 'release-many':
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

  #acquire({ resourceNames, processId, ttlMs, metadata }: AcquireCommand): AcquireOutcome {
    const now = Date.now()
    const conflicts = resourceNames.flatMap((name) => this.#valid(name, now) ?? [])
    if (conflicts.length > 0) return { kind: 'held', conflicts, at: now, waiters: 0 }
    const expiresAt = ttlMs === null ? null : now + ttlMs
    const grants = resourceNames.map((resourceName): Grant => ({ lockId: (this.#last += 1), resourceName, processId, lockedAt: now, expiresAt, metadata }))
    for (const grant of grants) this.#grants.set(grant.resourceName, grant)
    return { kind: 'granted', grants, replayed: false }
  }

  #renew({ resourceName, processId, ttlMs }: RenewCommand): RenewOutcome {
    const now = Date.now()
    const held = this.#valid(resourceName, now)
    if (held?.processId !== processId) return { kind: 'not-held', reason: held === undefined ? 'not_locked' : 'held_by_other' }
    const grant: Grant = { ...held, expiresAt: ttlMs === undefined || ttlMs === null ? null : now + ttlMs }
    this.#grants.set(resourceName, grant)
    return { kind: 'renewed', grant, renewedAt: now, waiters: 0, revoked: null }
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
