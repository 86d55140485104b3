import type { AcquireCommand, AcquireOutcome } from '../../src/locks/commands.js'
import { LockService } from '../../src/locks/lock-service.js'
import type { ProcessId } from '../../src/locks/lock.js'
import type { ReleasedAll } from '../../src/locks/requests.js'
import { drawContent, KEYS, PREFIXES, PROCESSES } from './draws.js'
import { unlessOneOf } from './list.js'
import { row } from './table.js'

interface ReleaseAll {
  readonly processId: ProcessId
  readonly prefix: string
  readonly key: string | null
  /** Requests that wait when it comes. */
  readonly waiters: readonly AcquireCommand[]
}

interface Answers {
  readonly all: ReleasedAll
  /** What the waiters are told when they ask from their places afterwards, one after the other. */
  readonly waiters: readonly AcquireOutcome[]
}

function isRemoved({ processId, prefix, key }: ReleaseAll, waiter: AcquireCommand): boolean {
  const isOpen = key === null || waiter.key === null || waiter.key === key
  return waiter.processId === processId && isOpen && waiter.resourceNames.every((name) => name.startsWith(prefix))
}

/** A process leaves all queues and lets go of all that it holds; who else waited is served or refused as ever. */
export const RELEASE_ALL = row<ReleaseAll, Answers>('release-all', {
  weight: 1,
  judged: 'in order',
  alone: 'always',
  draw: (scene) => ({
    processId: scene.random.pick(PROCESSES),
    prefix: scene.random.pick(PREFIXES),
    key: scene.random.pick(KEYS),
    waiters: Array.from({ length: scene.random.whole(0, 3) }, () => drawContent(scene))
  }),

  async run(bench, command, instance) {
    const store = bench.store(instance)
    const placed: AcquireCommand[] = []
    for (const waiter of command.waiters) {
      const { resourceNames, processId, idempotencyKey, key } = waiter
      const { ticket } = await store.submit({ kind: 'enqueue', resourceNames, processId, idempotencyKey, key, onlyKept: false })
      placed.push({ ...waiter, ticket })
    }
    const all = await new LockService(store, { defaultTtlMs: null }).releaseAll(command.processId, command)
    const waiters: AcquireOutcome[] = []
    for (const waiter of placed) {
      waiters.push(await store.submit(waiter))
      await store.submit({ kind: 'dequeue', tickets: waiter.ticket === null ? [] : [waiter.ticket], keepFor: null })
    }
    return { all, waiters }
  },

  judge(model, command, { all, waiters }) {
    const left = command.waiters.filter((waiter) => isRemoved(command, waiter)).length
    if (all.leftQueue !== left) return `expected ${left} requests to leave the queues`
    const fault = unlessOneOf([model.releaseAll(command)], all.released)
    if (fault !== undefined) return fault
    for (const [index, waiter] of command.waiters.entries()) {
      const outcome = waiters[index]
      if (outcome === undefined) return 'a waiter was not answered'
      const told = outcome.kind === 'held' ? { ...outcome, waiters: 0 } : outcome
      const wrong = isRemoved(command, waiter) ? unlessOneOf([{ kind: 'dequeued' }], told) : model.faultOfAcquire(waiter, told)
      if (wrong !== undefined) return wrong
    }
    return undefined
  }
})
