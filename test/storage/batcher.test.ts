import t from 'tap'
import type { Command } from '../../src/locks/commands.js'
import { RETRY, Batcher, type BatchExecutor, type BatcherLimits, type CommandResult } from '../../src/storage/batcher.js'
import { acquire, inspect, release, renew } from '../support/commands.js'
import { eventually } from '../support/eventually.js'

const turn = () => new Promise<void>((resolve) => setImmediate(resolve))

/** A database whose commits the test finishes by hand; it answers each command with its own name. */
class Database implements BatchExecutor {
  readonly concurrency: number
  readonly sequential: boolean
  readonly minEarlyBatch: number
  readonly batches: string[] = []
  readonly #commits: ((settlements?: (commands: readonly Command[]) => CommandResult[]) => void)[] = []

  constructor({ lanes = 1, sequential = false, enough = Infinity } = {}) {
    this.concurrency = lanes
    this.sequential = sequential
    this.minEarlyBatch = enough
  }

  execute(commands: readonly Command[]): Promise<CommandResult[]> {
    this.batches.push(commands.map(nameOf).join(' '))
    return new Promise((resolve) => {
      this.#commits.push((settle = (all) => all.map((command) => ({ kind: 'done', outcome: nameOf(command) as never }))) => resolve(settle(commands)))
    })
  }

  /** Finishes the oldest batch under way; by default each command is done. */
  async commit(settle?: (commands: readonly Command[]) => CommandResult[]): Promise<void> {
    this.#commits.shift()?.(settle)
    await turn()
    await turn()
  }
}

function nameOf(command: Command): string {
  if (command.kind === 'acquire') return `+${command.resourceNames.join('+')}`
  return `${{ release: '-', inspect: '?', renew: '~' }[command.kind as string] ?? '!'}${'resourceName' in command ? command.resourceName : ''}`
}

const start = (database: BatchExecutor, limits: Partial<BatcherLimits> = {}) => new Batcher(database, { maxBatch: 100, maxWaiting: 1000, maxBatchDelayMs: 60_000, ...limits })

void t.test('what comes in one turn is committed together, and what comes meanwhile together after it', async (t) => {
  const database = new Database()
  const batcher = start(database)
  const first = Promise.all(['a', 'b'].map((name) => batcher.submit(acquire(name, 'p'))))
  await turn()
  t.strictSame(database.batches, ['+a +b'], 'no timer: at the end of the turn')
  const second = [batcher.submit(acquire('c', 'p'))]
  await turn()
  second.push(batcher.submit(acquire('d', 'p')))
  await turn()
  t.strictSame(database.batches, ['+a +b'], 'while it commits, others gather')
  await database.commit()
  t.strictSame(await first, ['+a', '+b'])
  t.strictSame(database.batches, ['+a +b', '+c +d'])
  await database.commit()
  await Promise.all(second)
})

void t.test('nothing is answered before its commit', async (t) => {
  const database = new Database()
  let answered = false
  const answer = start(database)
    .submit(acquire('a', 'p'))
    .then(() => (answered = true))
  await turn()
  await turn()
  t.equal(answered, false)
  await database.commit()
  await answer
})

void t.test('a name with a command under way waits for the next batch; other names pass it, its own commands do not', async (t) => {
  const database = new Database({ lanes: 2 })
  const batcher = start(database)
  void batcher.submit(acquire('a', 'p'))
  await turn()
  for (const command of [release('a', 'p'), acquire('b', 'p'), acquire('a', 'q')]) void batcher.submit(command)
  await turn()
  t.strictSame(database.batches, ['+a', '+b'])
  await database.commit()
  t.strictSame(database.batches, ['+a', '+b', '-a'], 'the release before the request that came after it')
  await database.commit()
  await database.commit()
  t.strictSame(database.batches, ['+a', '+b', '-a', '+a'])
})

void t.test('requests for one name share a batch, and so do releases; other pairs do not', async (t) => {
  const database = new Database()
  const batcher = start(database)
  const commands = [acquire('a', 'p'), acquire('a', 'q'), release('a', 'p'), release('a', 'q'), renew('a', 'q'), renew('a', 'q'), acquire(['a', 'b'], 'r')]
  for (const command of commands) void batcher.submit(command)
  void batcher.submit(inspect('a'))
  await turn()
  for (let index = 0; index < 5; index += 1) await database.commit()
  t.strictSame(database.batches, ['+a +a ?a', '-a -a', '~a', '~a', '+a+b'])
})

void t.test('where commands take effect one after another, a batch takes them as they come', async (t) => {
  const database = new Database({ sequential: true })
  const batcher = start(database, { maxBatch: 3 })
  for (const command of [acquire('a', 'p'), release('a', 'p'), acquire('a', 'q'), release('a', 'q')]) void batcher.submit(command)
  await turn()
  await database.commit()
  t.strictSame(database.batches, ['+a -a +a', '-a'])
})

void t.test('of a long turn a part goes ahead, so that the database need not wait for the rest', async (t) => {
  const database = new Database({ lanes: 3, sequential: true, enough: 2 })
  const batcher = start(database)
  for (const name of ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h']) void batcher.submit(acquire(name, 'p'))
  t.strictSame(database.batches, ['+a +b', '+c +d'], 'two are enough; the last lane is kept')
  await turn()
  t.strictSame(database.batches, ['+a +b', '+c +d', '+e +f +g +h'], 'for the end of the turn')
})

void t.test('fewer than are under way wait for those', async (t) => {
  const database = new Database({ lanes: 2 })
  const batcher = start(database)
  for (const name of ['a', 'b']) void batcher.submit(acquire(name, 'p'))
  await turn()
  void batcher.submit(acquire('c', 'p'))
  await turn()
  t.strictSame(database.batches, ['+a +b'])
  void batcher.submit(acquire('d', 'p'))
  await turn()
  t.strictSame(database.batches, ['+a +b', '+c +d'], 'as many are worth a batch beside the other')
  await database.commit()
  void batcher.submit(acquire('e', 'p'))
  await turn()
  t.equal(database.batches.length, 2)
  await database.commit()
  t.strictSame(database.batches, ['+a +b', '+c +d', '+e'])
})

void t.test('a batch that is stuck does not hold up the others', async (t) => {
  const database = new Database({ lanes: 2 })
  const batcher = start(database, { maxBatchDelayMs: 1 })
  for (const name of ['a', 'b']) void batcher.submit(acquire(name, 'p'))
  await turn()
  void batcher.submit(acquire('c', 'p'))
  await eventually('the second lane', () => Promise.resolve(database.batches[1]))
  t.strictSame(database.batches, ['+a +b', '+c'])
})

void t.test('the more is in hand, the larger the part', async (t) => {
  const database = new Database({ lanes: 100, sequential: true, enough: 2 })
  const batcher = start(database, { maxBatchDelayMs: 1 })
  for (let index = 0; index < 40; index += 1) void batcher.submit(acquire(String(index), 'p'))
  const sizes = database.batches.map((batch) => batch.split(' ').length)
  t.strictSame(sizes, [2, 2, 2, 2, 3, 4, 5, 7, 9], 'a quarter; the last four are too few')
})

void t.test('what has to wait for its name does not count as a new part', async (t) => {
  const database = new Database({ lanes: 2, enough: 2 })
  const batcher = start(database)
  void batcher.submit(acquire('a', 'p'))
  await turn()
  for (let index = 0; index < 8; index += 1) void batcher.submit(renew('a', 'p'))
  t.strictSame(database.batches, ['+a'])
  void batcher.submit(acquire('b', 'p'))
  await turn()
  t.strictSame(database.batches, ['+a', '+b'])
})

void t.test('a fault fails whom it concerns; what lost a race goes again, before what came later', async (t) => {
  const database = new Database()
  const batcher = start(database)
  const broken = batcher.submit(acquire('a', 'p'))
  const raced = batcher.submit(acquire('b', 'p'))
  const fine = batcher.submit(acquire('c', 'p'))
  await turn()
  const late = batcher.submit(acquire('d', 'p'))
  const failing = t.rejects(broken, { message: 'broken' })
  await database.commit(([, , last]) => [{ kind: 'failed', error: new Error('broken') }, RETRY, { kind: 'done', outcome: nameOf(last as Command) as never }])
  await failing
  t.equal(await fine, '+c')
  t.strictSame(database.batches, ['+a +b +c', '+b +d'])
  await database.commit()
  t.strictSame(await Promise.all([raced, late]), ['+b', '+d'])
})

void t.test('beyond the limit requests and reads are refused at once, releases and renewals last', async (t) => {
  const database = new Database()
  const batcher = start(database, { maxWaiting: 3 })
  const accepted = [batcher.submit(acquire('first', 'p'))]
  await turn()
  for (const name of ['a', 'b', 'c']) accepted.push(batcher.submit(acquire(name, 'p')))
  await t.rejects(batcher.submit(acquire('d', 'p')), { code: 'OVERLOADED' })
  await t.rejects(batcher.submit(inspect('d')), { code: 'OVERLOADED' })
  const kept = [release('a', 'p'), renew('b', 'p'), release('c', 'p')].map((command) => batcher.submit(command))
  await t.rejects(batcher.submit(release('e', 'p')), { code: 'OVERLOADED' })
  for (let index = 0; index < 4; index += 1) await database.commit()
  await Promise.all([...accepted, ...kept])
  t.strictSame(database.batches, ['+first', '+a +b +c', '-a ~b -c'])
})

void t.test('idle means that nothing waits and nothing is under way', async (t) => {
  const database = new Database()
  const batcher = start(database)
  await batcher.idle()
  void batcher.submit(acquire('a', 'p'))
  let idle = false
  const waiting = batcher.idle().then(() => (idle = true))
  await turn()
  t.equal(idle, false)
  await database.commit()
  await waiting
})
