import { setImmediate as turn } from 'node:timers/promises'
import t from 'tap'
import type { Command } from '../../src/locks/commands.js'
import { Batcher, type BatcherLimits, type BatchExecutor, type Settlement } from '../../src/storage/batcher.js'
import { acquire, inspect, kindOrCode, release, sweep } from '../support/commands.js'

const LIMITS: BatcherLimits = { maxBatch: 100, maxWaiting: 1000 }

/** A database that a test works by hand: each batch stays open until the test settles it. */
class ByHand implements BatchExecutor {
  readonly lanes: number
  readonly sequential: boolean
  /** All batches so far, settled or not, as `KIND NAME, KIND NAME`. */
  readonly batches: string[] = []
  readonly #open: { commands: readonly Command[]; settle: (settlements: Settlement[]) => void }[] = []

  constructor(lanes = 1, sequential = false) {
    this.lanes = lanes
    this.sequential = sequential
  }

  execute(commands: readonly Command[]): Promise<Settlement[]> {
    this.batches.push(commands.map((command) => (command.kind === 'sweep' ? 'sweep' : `${command.kind} ${command.resourceName}`)).join(', '))
    return new Promise((settle) => this.#open.push({ commands, settle }))
  }

  /** Settles the oldest open batch, all alike or each in its own way, and lets the next begin. */
  async settle(how: Settlement['kind'] | readonly Settlement[] = 'done'): Promise<void> {
    const batch = this.#open.shift()
    if (batch === undefined) throw new Error('no batch is open')
    batch.settle(typeof how === 'string' ? batch.commands.map(() => SETTLEMENTS[how]) : [...how])
    await turn()
    await turn()
  }
}

const SETTLEMENTS: Record<Settlement['kind'], Settlement> = {
  done: { kind: 'done', outcome: { kind: 'not-held', reason: 'not_locked' } },
  failed: { kind: 'failed', error: new Error('one fault') },
  again: { kind: 'again' }
}

function byHand({ lanes = 1, sequential = false, ...limits }: Partial<BatcherLimits> & { lanes?: number; sequential?: boolean } = {}) {
  const executor = new ByHand(lanes, sequential)
  const batcher = new Batcher(executor, { ...LIMITS, ...limits })
  /** What became of each, in order. */
  const submit = (...commands: readonly Command[]) =>
    Promise.all(commands.map((command) => kindOrCode(batcher.submit(command)).catch((error: Error) => error.message)))
  const send = (...commands: readonly Command[]) => void submit(...commands)
  return { executor, batcher, submit, send }
}

void t.test('a batch never waits for company: the first command of a quiet moment goes in the same turn', async (t) => {
  const { executor, send } = byHand()
  send(acquire('a', 'p'))
  t.same(executor.batches, [], 'but not before the turn is over')
  await turn()
  t.same(executor.batches, ['acquire a'])
})

void t.test('commands of one turn go together, and nobody is answered before the batch is settled', async (t) => {
  const { executor, submit } = byHand()
  let answered = false
  const first = submit(acquire('a', 'p'), release('b', 'p'), inspect('c'), sweep()).then((kinds) => {
    answered = true
    return kinds
  })
  await turn()
  await turn()
  t.same(executor.batches, ['acquire a, release b, inspect c, sweep'])
  t.notOk(answered)
  await executor.settle()
  t.same(await first, Array(4).fill('not-held'))
})

void t.test('commands are collected while the previous batch commits', async (t) => {
  const { executor, send } = byHand()
  send(acquire('a', 'p'))
  await turn()
  for (const name of ['b', 'c', 'd']) {
    send(acquire(name, 'p'))
    await turn()
  }
  t.same(executor.batches, ['acquire a'])
  await executor.settle()
  t.same(executor.batches, ['acquire a', 'acquire b, acquire c, acquire d'])
})

void t.test('as many batches are under way at once as there are lanes', async (t) => {
  const { executor, send } = byHand({ lanes: 2 })
  for (const name of ['a', 'b', 'c', 'd']) {
    send(acquire(name, 'p'))
    await turn()
  }
  t.same(executor.batches, ['acquire a', 'acquire b'])
  await executor.settle()
  t.same(executor.batches, ['acquire a', 'acquire b', 'acquire c, acquire d'])
})

void t.test('commands for one name keep their order, whatever lanes are free', async (t) => {
  const { executor, send } = byHand({ lanes: 3 })
  send(acquire('a', 'p'), release('a', 'p'), acquire('a', 'q'), acquire('b', 'p'), release('a', 'q'))
  await turn()
  t.same(executor.batches, ['acquire a, acquire b'])
  await turn()
  send(release('b', 'p'), inspect('a'))
  await turn()
  t.same(executor.batches.slice(1), ['inspect a'], 'a read waits for nobody')
  await executor.settle()
  t.same(executor.batches.slice(2), ['release a, release b'], 'the second acquire does not overtake the release before it')
  await executor.settle()
  await executor.settle()
  t.same(executor.batches.slice(3), ['acquire a'])
  await executor.settle()
  t.same(executor.batches.slice(4), ['release a'])
})

void t.test('commands of one kind for one name share a batch in the order in which they came', async (t) => {
  const { executor, send } = byHand()
  send(acquire('a', 'p'), acquire('b', 'p'), acquire('a', 'q'), acquire('a', 'r'))
  await turn()
  t.same(executor.batches, ['acquire a, acquire b, acquire a, acquire a'])
})

void t.test('a database that takes one command after another gets them as they came', async (t) => {
  const { executor, send } = byHand({ sequential: true, maxBatch: 3 })
  send(acquire('a', 'p'), release('a', 'p'), acquire('a', 'q'), release('a', 'q'))
  await turn()
  t.same(executor.batches, ['acquire a, release a, acquire a'])
  await executor.settle()
  t.same(executor.batches.slice(1), ['release a'])
})

void t.test('a batch has a largest size; the rest goes into the next', async (t) => {
  const { executor, send } = byHand({ maxBatch: 2 })
  send(...['a', 'b', 'c', 'd', 'e'].map((name) => acquire(name, 'p')))
  await turn()
  await executor.settle()
  await executor.settle()
  t.same(executor.batches, ['acquire a, acquire b', 'acquire c, acquire d', 'acquire e'])
})

void t.test('what lost a race goes again, before whatever came later', async (t) => {
  const { executor, submit } = byHand()
  const [raced, later, other] = [submit(acquire('a', 'p')), submit(release('a', 'p')), submit(acquire('b', 'p'))]
  await turn()
  await executor.settle([SETTLEMENTS.again, SETTLEMENTS.done])
  t.same(await other, ['not-held'])
  t.same(executor.batches.slice(1), ['acquire a'])
  await executor.settle()
  t.same(await raced, ['not-held'])
  t.same(executor.batches.slice(2), ['release a'])
  await executor.settle()
  t.same(await later, ['not-held'])
})

void t.test('what loses every race is refused in the end', async (t) => {
  const { executor, submit } = byHand()
  const unlucky = submit(acquire('a', 'p'))
  await turn()
  for (let round = 0; round < 100; round += 1) await executor.settle('again')
  t.same(await unlucky, ['OVERLOADED'])
  t.equal(executor.batches.length, 100)
})

void t.test('one fault fails one command', async (t) => {
  const { executor, submit } = byHand()
  const kinds = submit(acquire('a', 'p'), acquire('b', 'p'), acquire('c', 'p'))
  await turn()
  await executor.settle([SETTLEMENTS.done, SETTLEMENTS.failed, SETTLEMENTS.done])
  t.same(await kinds, ['not-held', 'one fault', 'not-held'])
})

void t.test('a command that the database forgot fails rather than hangs', async (t) => {
  const { executor, submit } = byHand()
  const kinds = submit(acquire('a', 'p'), release('b', 'p'))
  await turn()
  await executor.settle([SETTLEMENTS.done])
  t.same(await kinds, ['not-held', 'a batch lost its release command'])
})

void t.test('when too much waits, requests and reads are refused first and releases last', async (t) => {
  const { executor, submit, send } = byHand({ maxWaiting: 3 })
  send(acquire('under way', 'p'))
  await turn()
  const waiting = submit(acquire('a', 'p'), acquire('b', 'p'), release('c', 'p'))
  t.same(await submit(acquire('d', 'p'), inspect('e'), sweep()), ['OVERLOADED', 'OVERLOADED', 'OVERLOADED'])
  const releases = submit(release('f', 'p'), release('g', 'p'), release('h', 'p'))
  t.same(await submit(release('i', 'p')), ['OVERLOADED'])
  await executor.settle()
  await executor.settle()
  t.same([...(await waiting), ...(await releases)], Array(6).fill('not-held'), 'what was accepted is carried out')
  send(acquire('j', 'p'))
  await turn()
  t.equal(executor.batches.at(-1), 'acquire j', 'and there is room again')
})

void t.test('idle() waits for what waits, what is under way and what goes again, and tells everybody who asked', async (t) => {
  const { executor, batcher, send } = byHand()
  await batcher.idle()
  send(acquire('a', 'p'))
  let told = 0
  const idle = [batcher.idle(), batcher.idle()].map((promise) => promise.then(() => (told += 1)))
  await turn()
  send(acquire('b', 'p'))
  await executor.settle('again')
  t.same(executor.batches, ['acquire a', 'acquire a, acquire b'])
  t.equal(told, 0)
  await executor.settle()
  t.equal(told, 2)
  await Promise.all(idle)
})
