import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { processId } from '../../src/locks/lock.js'
import { ScopedLocks } from '../../src/locks/scoped-locks.js'
import { acquire, everything } from '../support/commands.js'
import { DATABASES, freshDatabase, type TestDatabase } from '../support/databases.js'
import { Instance, knownKey } from '../support/store.js'
import { Session } from '../support/session.js'

const p = processId('p')

/** A process that was declared dead is not granted anything that it had asked for before. */
for (const kind of DATABASES) {
  void t.test(`a process that leaves all queues on ${kind}`, async (t) => {
    /** @param other another instance, where the database takes several. */
    const onDatabase = (name: string, body: (t: Test, one: Instance, other: Instance, database: TestDatabase) => Promise<void>) =>
      t.test(name, async (t) => {
        await using database = await freshDatabase(kind)
        await using one = await Instance.start(database)
        await using second = kind === 'postgres' ? await Instance.start(database) : null
        await body(t, one, second ?? one, database)
      })

    await onDatabase('its waiting requests are answered at once, keep no place and are not granted', async (t, one, other) => {
      await one.now(['a', 'b', 'mine'], 'holder')
      await one.now('own', 'p')
      const waits = [one.ask('a', 'p', { requestId: 'r1' }), one.ask('b', 'p')]
      await one.untilWaiting(2)
      const elsewhere = other.ask(['a', 'own'], 'p', { requestId: 'r2', key: 'k' })
      await other.untilWaiting(other === one ? 3 : 1)
      const behind = other.ask('a', 'q')
      await other.untilWaiting(other === one ? 4 : 2)
      t.match(await one.service.releaseAll(p), { leftQueue: 3, released: [{ grant: { resourceName: 'own' } }] })
      for (const outcome of await Promise.all([...waits, elsewhere])) t.match(outcome, { kind: 'held', queuePosition: undefined, conflicts: Array })
      t.match(await one.inspect('a'), { waiters: 1 })
      t.match(await one.inspect('b'), { waiters: 0 })
      t.match(await one.service.releaseAll(p), { leftQueue: 0, released: { length: 0 } })
      await one.release('a', 'holder')
      t.match(await behind, { kind: 'granted' }, 'the waiter behind it is served')
    })

    await onDatabase('a place that is kept for it is given up', async (t, one) => {
      await one.now('a', 'holder')
      t.match(await one.ask('a', 'p', { requestId: 'r1', waitMs: 20 }), { kind: 'held', queuePosition: 1 })
      t.match(await one.service.releaseAll(p), { leftQueue: 1 })
      await one.release('a', 'holder')
      t.match(await one.now('a', 'q'), { kind: 'granted' })
    })

    await onDatabase('a key removes what it could release, and nothing else', async (t, one) => {
      await one.now(['in/a', 'in/b', 'out/c'], 'holder')
      const asked = [
        one.ask('in/a', 'p', { key: 'k' }),
        one.ask('in/b', 'p'),
        one.ask('in/a', 'p', { key: 'another' }),
        one.ask('out/c', 'p', { key: 'k' }),
        one.ask(['in/a', 'out/c'], 'p', { key: 'k' }),
        one.ask('in/a', 'q', { key: 'k' })
      ]
      await one.untilWaiting(asked.length)
      t.match(await new ScopedLocks(one.service, knownKey('k', 'in/')).releaseAll(p), { leftQueue: 2, released: { length: 0 } })
      for (const outcome of await Promise.all(asked.slice(0, 2))) t.match(outcome, { kind: 'held' })
      t.match(await one.inspect('in/a'), { waiters: 3 })
      t.match(await one.inspect('in/b'), { waiters: 0 })
      t.match(await one.inspect('out/c'), { waiters: 2 })
      const settling = Promise.allSettled(asked)
      await one.service.drain()
      await settling
    })

    await onDatabase('in the moment of its grant it either had the lock or never gets it', async (t, one, other) => {
      for (let round = 0; round < 40; round += 1) {
        const names = round % 2 === 0 ? [`${round}`] : [`${round}`, `${round}/b`]
        await one.now(names, 'holder')
        const waiting = other.ask(names, 'p', round % 3 === 0 ? { requestId: `${round}` } : {})
        while (other.service.waiting === 0) await sleep(1)
        await sleep(Math.random() * 4)
        const releasing = one.service.releaseAll(processId('holder'))
        await sleep(Math.random() * 4)
        await one.service.releaseAll(p)
        t.strictSame((await one.store.reads.list({ ...everything, processId: p })).grants, [])
        await Promise.all([waiting, releasing])
        t.strictSame((await one.store.reads.list({ ...everything, processId: p })).grants, [])
        for (const name of names) t.match(await one.inspect(name), { grant: null, waiters: 0 })
      }
    })
  })
}

void t.test('a place that is being given up is not taken from meanwhile', async (t) => {
  await using database = await freshDatabase('postgres')
  await using one = await Instance.start(database)
  const { ticket } = await one.store.submit({ kind: 'enqueue', resourceNames: acquire('a', 'p').resourceNames, processId: p, idempotencyKey: null, key: null, onlyKept: false })
  await using session = await Session.open(database.url)
  await session.run('begin')
  await session.run('update lock_waiters set lease_until = 0')
  const asking = one.store.submit({ ...acquire('a', 'p'), ticket })
  await session.untilWaiting()
  await session.run('commit')
  t.match(await asking, { kind: 'dequeued' })
})

void t.test('a waiter that is told nothing sees by itself that its place is gone, although it is not the first', async (t) => {
  await using database = await freshDatabase('postgres')
  await using one = await Instance.start(database)
  await using two = await Instance.start(database)
  await one.now('a', 'holder')
  const first = two.ask('a', 'first')
  await two.untilWaiting(1)
  const removed = two.ask('a', 'p')
  await two.untilWaiting(2)
  // All notifications are lost.
  two.store.onWakeup(() => undefined)
  t.match(await one.service.releaseAll(p), { leftQueue: 1 })
  t.match(await Promise.race([removed, first]), { kind: 'held', conflicts: [{ processId: 'holder' }] })
  t.match(await one.inspect('a'), { waiters: 1 }, 'the first one waits')
  await one.release('a', 'holder')
  t.match(await first, { kind: 'granted' })
})
