import type { AcquireCommand, AcquireOutcome, Command, FindRequestCommand, ReleaseCommand, ReleaseManyCommand, RenewAllCommand, RenewCommand, RenewManyCommand } from '../../src/locks/commands.js'
import { LockService } from '../../src/locks/lock-service.js'
import type { ProcessId } from '../../src/locks/lock.js'
import type { ReleasedAll } from '../../src/locks/requests.js'
import type { ListQuery } from '../../src/locks/store.js'
import { KEEP_ENDED_MS, RENEWAL_EVENT_INTERVAL_MS } from '../../src/storage/tables.js'
import { type CountQuery, unlessOneOf } from './list.js'
import { command, drawAcquire, drawContent, drawRelease, drawRenew, drawRenewal, KEYS, NAMES, PREFIXES, PROCESSES, row, type Row } from './table.js'

interface ReleaseAll {
  readonly processId: ProcessId
  readonly prefix: string
  readonly key: string | null
  /** Requests that wait when it comes. */
  readonly waiters: readonly AcquireCommand[]
}

interface Answers {
  readonly all: ReleasedAll
  /** The outcomes of the waiters, which then ask from their places, one after the other. */
  readonly waiters: readonly AcquireOutcome[]
}

function isRemoved({ processId, prefix, key }: ReleaseAll, waiter: AcquireCommand): boolean {
  const isOpen = key === null || waiter.key === null || waiter.key === key
  return waiter.processId === processId && isOpen && waiter.resourceNames.every((name) => name.startsWith(prefix))
}

/** A process leaves all queues and releases all that it holds; the other waiters are granted or refused as ever. */
const RELEASE_ALL = row<ReleaseAll, Answers>('release-all', {
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
      const shown = outcome.kind === 'held' ? { ...outcome, waiters: 0 } : outcome
      const wrong = isRemoved(command, waiter) ? unlessOneOf([{ kind: 'dequeued' }], shown) : model.faultOfAcquire(waiter, shown)
      if (wrong !== undefined) return wrong
    }
    return undefined
  }
})

/** Waiters come and go by rules of their own, and by a real clock: test/locks/wait-queue.test.ts covers these commands. */
type Uncovered = 'convert' | 'revoke' | 'enqueue' | 'dequeue' | 'dequeue-all' | 'heartbeat' | 'purge-tickets'

/** A new command does not compile before it has a row. */
const COMMANDS: { readonly [Kind in Exclude<Command['kind'], Uncovered>]: Row } = {
  acquire: command<AcquireCommand>('acquire', {
    weight: 40,
    judged: 'in order',
    draw: drawAcquire,
    judge: (model, command, outcome) => model.faultOfAcquire(command, outcome)
  }),

  'find-request': command<FindRequestCommand>('find-request', {
    weight: 3,
    judged: 'in order',
    alone: 'where steps overlap',
    draw: ({ random, marked }) => ({
      kind: 'find-request',
      idempotencyKey: (marked.length === 0 ? undefined : random.pick(marked).idempotencyKey) ?? { id: 'unknown', fingerprint: 'unknown' }
    }),
    judge: (model, command, outcome) => model.faultOfFound(command, outcome)
  }),

  release: command<ReleaseCommand>('release', {
    weight: 26,
    judged: 'in order',
    draw: drawRelease,
    judge: (model, command, outcome) => unlessOneOf(model.release(command), outcome)
  }),

  'release-many': command<ReleaseManyCommand>('release-many', {
    weight: 4,
    judged: 'in order',
    draw: (scene) => ({ kind: 'release-many', releases: Array.from({ length: scene.random.whole(0, 6) }, () => drawRelease(scene)) }),
    judge(model, { releases }, { outcomes }) {
      if (outcomes.length !== releases.length) return `expected ${releases.length} outcomes`
      return releases.map((release, index) => unlessOneOf(model.release(release), outcomes[index] ?? {})).find((fault) => fault !== undefined)
    }
  }),

  renew: command<RenewCommand>('renew', {
    weight: 15,
    judged: 'in order',
    draw: drawRenew,
    judge: (model, command, outcome) => unlessOneOf(model.renew(command), outcome)
  }),

  'renew-many': command<RenewManyCommand>('renew-many', {
    weight: 4,
    judged: 'in order',
    draw(scene) {
      const drawn = Array.from({ length: scene.random.whole(0, 6) }, () => drawRenew(scene))
      return { kind: 'renew-many', renewals: [...new Map(drawn.map((renewal) => [renewal.resourceName, renewal])).values()] }
    },
    judge(model, { renewals }, { outcomes }) {
      if (outcomes.length !== renewals.length) return `expected ${renewals.length} outcomes`
      return renewals.map((renewal, index) => unlessOneOf(model.renew(renewal), outcomes[index] ?? {})).find((fault) => fault !== undefined)
    }
  }),

  'renew-all': command<RenewAllCommand>('renew-all', {
    weight: 3,
    judged: 'in order',
    alone: 'where steps overlap',
    draw: ({ random }) => ({
      kind: 'renew-all',
      processId: random.pick(PROCESSES),
      ttlMs: drawRenewal(random),
      after: random.chance(0.5) ? '' : random.pick(NAMES),
      limit: random.pick([1, 2, 5, 200]),
      prefix: random.pick(PREFIXES),
      key: random.pick(KEYS)
    }),
    judge: (model, command, outcome) => unlessOneOf([model.renewAll(command)], outcome)
  }),

  inspect: command('inspect', {
    weight: 15,
    judged: 'last',
    draw: ({ random, names }) => ({ kind: 'inspect', resourceName: random.pick(names) }),
    judge: (model, { resourceName }, outcome) => unlessOneOf(model.inspect(resourceName), outcome)
  }),

  sweep: command('sweep', {
    weight: 6,
    judged: 'first',
    draw: ({ random }) => ({ kind: 'sweep', limit: random.pick([1, 2, 5, 200, 200]) }),
    judge: (model, command, outcome, concurrent) => model.faultOfSweep(command, outcome, concurrent)
  })
}

/** Every step there is. */
export const ROWS: readonly Row[] = [
  ...Object.values(COMMANDS),

  RELEASE_ALL,

  row('list', {
    weight: 6,
    judged: 'last',
    draw: ({ random }): ListQuery => ({
      prefix: random.pick(PREFIXES),
      processId: random.chance(0.3) ? random.pick(PROCESSES) : null,
      after: random.chance(0.4) ? { name: random.pick(NAMES), lockId: Number.MAX_SAFE_INTEGER } : null,
      limit: random.pick([1, 2, 5, 20, 1000])
    }),
    run: (bench, query, instance) => bench.store(instance).reads.list(query),
    judge: (model, query, page) => model.faultOfPage(query, page)
  }),

  row('count', {
    weight: 2,
    judged: 'last',
    draw: ({ random }): CountQuery => ({ prefix: random.pick(PREFIXES), processId: random.chance(0.3) ? random.pick(PROCESSES) : null }),
    run: (bench, query, instance) => bench.store(instance).reads.count(query),
    judge: (model, query, count) => model.faultOfCount(query, count)
  }),

  row('clock', {
    weight: 11,
    judged: 'in order',
    alone: 'always',
    draw(scene) {
      const { random, model } = scene
      // Past whatever the store keeps of ended grants, or until renewals are told again.
      if (random.chance(0.1)) return { to: model.now + KEEP_ENDED_MS + random.whole(0, 5000) }
      if (random.chance(0.05)) return { to: model.now + RENEWAL_EVENT_INTERVAL_MS - random.whole(0, 1) }
      const points = model.turningPoints()
      const point = random.chance(0.8) ? points[0] : points[random.whole(0, points.length - 1)]
      if (point === undefined || random.chance(0.3)) return { to: model.now + random.whole(1, 50) }
      // To the very millisecond, or to the last one before it. The next rounds are about what changes there.
      scene.focus = [point.name]
      return { to: point.at - random.whole(0, 1) }
    },
    run: (bench, { to }) => bench.setClock(to),
    judge(model, { to }) {
      model.now = to
      return undefined
    }
  }),

  row('reopen', {
    weight: 1,
    judged: 'in order',
    alone: 'always',
    draw: () => ({}),
    run: (bench) => bench.reopen(),
    judge: (model, _, events) => model.faultOfHistory(events)
  })
]
