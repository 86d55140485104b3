import t from 'tap'
import { processId, resourceName, type Sharing } from '../../src/locks/lock.js'
import { DATABASES, freshDatabase, type DatabaseName } from '../support/databases.js'
import { PATIENCE_MS } from '../support/eventually.js'
import { Instance } from '../support/store.js'

const READ: Sharing = { limit: null, permits: 1 }
const WRITE = null

const permitsOf = (permits: number, limit: number): Sharing => ({ limit, permits })

/** Asks for a share, or for all of the resource, and notes who was granted in which order. */
function asking(granted: string[], ttlMs: number | null = null) {
  return async (instance: Instance, process: string, sharing: Sharing | null, waitMs = PATIENCE_MS) => {
    const outcome = await instance.service.request(
      { resourceNames: [resourceName('a')], processId: processId(process), ttlMs, ...(sharing === null ? {} : { sharing: [sharing] }) },
      { waitMs }
    )
    if (outcome.kind === 'granted') granted.push(process)
    return outcome
  }
}

async function instancesOn(kind: DatabaseName) {
  const database = await freshDatabase(kind)
  const one = await Instance.start(database)
  const other = kind === 'postgres' ? await Instance.start(database) : one
  return {
    one, other, database,
    async [Symbol.asyncDispose]() {
      if (other !== one) await other[Symbol.asyncDispose]()
      await one[Symbol.asyncDispose]()
      await database[Symbol.asyncDispose]()
    }
  }
}

for (const kind of DATABASES) {
  void t.test(`waiting for shares on ${kind}`, async (t) => {
    await t.test('a waiting writer is not passed by readers that come later, and readers that stand side by side come in together', async (t) => {
      await using at = await instancesOn(kind)
      const granted: string[] = []
      const ask = asking(granted)
      await ask(at.one, 'r1', READ)
      const writer = ask(at.one, 'w', WRITE)
      await at.one.untilWaiting(1)
      t.match(await ask(at.other, 'hasty', READ, 0), { kind: 'held', conflicts: [{ processId: 'w', lockId: 0, usage: { holders: 1 } }], waiters: 1 }, 'who does not wait does not pass either')
      const readers: Promise<unknown>[] = []
      for (const [index, instance] of [at.one, at.other, at.one].entries()) {
        readers.push(ask(instance, `late${index}`, READ))
        while ((await at.one.service.reads.countWaiters({ prefix: '' })) < index + 2) await at.one.inspect('a')
      }
      t.same(granted, ['r1'])
      await at.one.release('a', 'r1')
      await writer
      t.same(granted, ['r1', 'w'])
      await at.one.release('a', 'w')
      await Promise.all(readers)
      t.match(await at.one.inspect('a'), { shares: { usage: { holders: 3 } } })
    })

    await t.test('a hundred readers behind a writer are granted together', async (t) => {
      await using at = await instancesOn(kind)
      const granted: string[] = []
      const ask = asking(granted)
      await ask(at.one, 'w', WRITE)
      const readers = Array.from({ length: 100 }, (_, index) => ask(at.one, `r${index}`, READ))
      await at.one.untilWaiting(100)
      const before = at.one.service.statistics.counters.grants
      const batches = (): number => at.one.store.figures.batchCommands.counts.reduce((sum, count) => sum + count, 0)
      const batchesBefore = batches()
      await at.one.release('a', 'w')
      await Promise.all(readers)
      t.equal(at.one.service.statistics.counters.grants - before, 100)
      // The release, the readers, of which SQLite's thread gets 32 at a time, and perhaps a heartbeat.
      t.ok(batches() - batchesBefore <= 8, `it took ${batches() - batchesBefore} batches`)
    })

    await t.test('a heavy request at the head holds light ones back', async (t) => {
      await using at = await instancesOn(kind)
      const granted: string[] = []
      const ask = asking(granted)
      for (const process of ['p', 'q']) await ask(at.one, process, permitsOf(1, 3))
      const heavy = ask(at.other, 'heavy', permitsOf(3, 3))
      await at.other.untilWaiting(1)
      const light = ask(at.one, 'light', permitsOf(1, 3))
      await at.one.untilWaiting(at.one === at.other ? 2 : 1)
      t.match(await ask(at.one, 'hasty', permitsOf(1, 3), 0), { kind: 'held', conflicts: [{ lockId: 0, processId: 'heavy', usage: { used: 2, limit: 3 } }] })
      await at.one.release('a', 'p')
      await at.one.release('a', 'q')
      await heavy
      t.same(granted, ['p', 'q', 'heavy'])
      await at.other.release('a', 'heavy')
      await light
      t.match(granted.at(-1), 'light')
    })

    await t.test('a permit that is released goes to the next waiter, and as many waiters are served as fit', async (t) => {
      await using at = await instancesOn(kind)
      const granted: string[] = []
      const ask = asking(granted)
      await ask(at.one, 'p', permitsOf(4, 4))
      const waiters: Promise<unknown>[] = []
      for (let index = 0; index < 6; index += 1) {
        waiters.push(ask(index % 2 === 0 ? at.one : at.other, `w${index}`, permitsOf(1, 4)))
        while ((await at.one.service.reads.countWaiters({ prefix: '' })) < index + 1) await at.one.inspect('a')
      }
      await at.one.release('a', 'p')
      await Promise.all(waiters.slice(0, 4))
      t.same(granted.toSorted(), ['p', 'w0', 'w1', 'w2', 'w3'])
      await at.one.release('a', 'w1')
      await waiters[4]
      await at.other.release('a', 'w0')
      await waiters[5]
      t.match(await at.one.inspect('a'), { shares: { usage: { holders: 4, used: 4 } }, waiters: 0 })
    })

    await t.test('a downgrade lets waiting readers in and keeps a waiting writer out; an upgrade passes who waits', async (t) => {
      await using at = await instancesOn(kind)
      const granted: string[] = []
      const ask = asking(granted)
      await ask(at.one, 'p', WRITE)
      const reader = ask(at.other, 'reader', READ)
      await at.other.untilWaiting(1)
      const writer = ask(at.one, 'w', WRITE)
      await at.one.untilWaiting(at.one === at.other ? 2 : 1)
      const mine = { resourceName: resourceName('a'), processId: processId('p') }
      t.match(await at.one.service.convert(mine, READ), { kind: 'converted' })
      await reader
      t.match(await at.one.service.convert(mine, null), { kind: 'held', conflicts: [{ processId: 'reader' }] }, 'it does not wait')
      await at.other.release('a', 'reader')
      t.match(await at.one.service.convert(mine, null), { kind: 'converted' })
      t.same(granted, ['p', 'reader'])
      await at.one.release('a', 'p')
      await writer
      t.same(granted, ['p', 'reader', 'w'])
    })

    await t.test('the queue shows what each waits for', async (t) => {
      await using at = await instancesOn(kind)
      await asking([])(at.one, 'p', WRITE)
      const waiting = [READ, permitsOf(2, 5), WRITE].map((sharing, index) => asking([])(at.one, `w${index}`, sharing))
      const settled = Promise.allSettled(waiting)
      await at.one.untilWaiting(3)
      const { waiters } = await at.one.service.reads.queue({ resourceName: resourceName('a'), limit: 10 })
      t.same(waiters.map(({ sharing }) => sharing), [READ, permitsOf(2, 5), null])
      await at.one.service.drain()
      await settled
    })
  })
}
