import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { processId, resourceName } from '../../src/locks/lock.js'
import { allEvents, enqueue, everything } from '../support/commands.js'
import { DATABASES, freshDatabase, type DatabaseName, type TestDatabase } from '../support/databases.js'
import { eventually, PATIENCE_MS } from '../support/eventually.js'
import { Instance, openOn } from '../support/store.js'

for (const kind of DATABASES) {
  void t.test(`waiting on ${kind}`, async (t) => {
    const onDatabase = (name: string, clock: 'moved' | 'real', body: (t: Test, one: Instance, database: TestDatabase) => Promise<void>) =>
      t.test(name, async (t) => {
        await using database = await freshDatabase(kind, clock)
        await using one = await Instance.start(database)
        await body(t, one, database)
      })

    await onDatabase('a waiter is granted the lock when it is released, and its lease starts then', 'moved', async (t, one, database) => {
      await one.ask('a', 'p')
      const waiting = one.ask('a', 'q', { ttlMs: 1000 })
      await one.untilWaiting(1)
      await database.advance(5000)
      await one.release('a', 'p')
      t.match(await waiting, { kind: 'granted', grants: [{ lockId: 2, processId: 'q', lockedAt: database.now(), expiresAt: database.now() + 1000 }] })
    })

    await onDatabase('first come, first served, and nobody overtakes', 'moved', async (t, one) => {
      await one.ask('a', 'holder')
      const waits: Promise<unknown>[] = []
      for (let index = 0; index < 20; index += 1) {
        waits.push(one.ask('a', `w${index}`).then(() => one.release('a', `w${index}`)))
        await one.untilWaiting(index + 1)
      }
      const overtaking = Promise.all(
        Array.from({ length: 30 }, async (_, index) => {
          await sleep(index)
          return one.ask('a', 'hasty', { waitMs: 0 })
        })
      )
      await one.release('a', 'holder')
      await Promise.all(waits)
      const { events } = await one.store.reads.history(allEvents)
      const order = events.flatMap((event) => (event.kind === 'granted' && event.processId.startsWith('w') ? [event.processId] : []))
      t.strictSame(order.toReversed(), Array.from({ length: 20 }, (_, index) => `w${index}`))
      for (const outcome of await overtaking) if (outcome.kind === 'held') t.equal(outcome.conflicts.length, 1)
      const firstHasty = events.findLast((event) => event.kind === 'granted' && event.processId === 'hasty')
      const lastWaiter = events.find((event) => event.kind === 'granted' && event.processId === 'w19')
      t.ok(firstHasty === undefined || firstHasty.lockId > (lastWaiter?.lockId ?? 0), 'a request that does not wait came after all who did')
    })

    await onDatabase('an unsuccessful wait tells the position in the queue, and keeps it for a request with an id', 'moved', async (t, one) => {
      await one.ask('a', 'p')
      const first = one.ask('a', 'q')
      await one.untilWaiting(1)
      t.match(await one.ask('a', 'r', { waitMs: 30, requestId: 'r1' }), { kind: 'held', queuePosition: 2, conflicts: [{ processId: 'p' }] })
      t.match(await one.ask('a', 'x', { waitMs: 30 }), { kind: 'held', queuePosition: 3 })
      const late = one.ask('a', 'late')
      await one.untilWaiting(2)
      const back = one.ask('a', 'r', { requestId: 'r1' })
      await one.untilWaiting(3)
      t.match(await one.service.inspect(resourceName('a')), { waiters: 3 })
      await one.release('a', 'p')
      t.match(await first, { kind: 'granted' })
      await one.release('a', 'q')
      t.match(await back, { kind: 'granted' }, 'before the one that came while it was away')
      await one.release('a', 'r')
      t.match(await late, { kind: 'granted' })
    })

    await onDatabase('a kept place that nobody comes back to is passed when its time is over', 'moved', async (t, one, database) => {
      await one.ask('a', 'p')
      await one.ask('a', 'q', { waitMs: 20, requestId: 'r1' })
      await one.release('a', 'p')
      t.match(await one.ask('a', 'r', { waitMs: 0 }), { kind: 'held', conflicts: [{ processId: 'q', lockId: 0 }] })
      await database.advance(10_000)
      t.match(await one.ask('a', 'r', { waitMs: 0 }), { kind: 'granted' })
    })

    await onDatabase('an expiring lock is passed on in time, without the sweeper', 'real', async (t, one) => {
      await one.ask('a', 'p', { ttlMs: 300 })
      t.match(await one.ask('a', 'q', { ttlMs: 300, waitMs: PATIENCE_MS }), { kind: 'granted', grants: [{ lockId: 2 }] })
    })

    await onDatabase('a client that disconnects loses its place at once, and the next is served', 'moved', async (t, one) => {
      await one.ask('a', 'p')
      const gone = new AbortController()
      const left = one.ask('a', 'q', { signal: gone.signal, requestId: 'r1' })
      await one.untilWaiting(1)
      const next = one.ask('a', 'r')
      await one.untilWaiting(2)
      gone.abort()
      t.match(await left, { kind: 'held' })
      await one.release('a', 'p')
      t.match(await next, { kind: 'granted', grants: [{ lockId: 2 }] })
    })

    await onDatabase('going away around the moment of the grant never leaves a lock behind', 'moved', async (t, one) => {
      const rounds = 150
      for (let round = 0; round < rounds; round += 1) {
        const name = `n${round % 3}`
        await one.ask(name, 'p')
        const gone = new AbortController()
        const who = [{}, { requestId: `r${round}` }, { requestId: `r${round}`, key: 'k' }][round % 3]
        const waiting = one.ask(name, 'q', { signal: gone.signal, ...who })
        const releasing = sleep(Math.random() * 6).then(() => one.release(name, 'p'))
        await sleep(Math.random() * 6)
        gone.abort()
        await Promise.all([waiting, releasing])
        t.equal(one.service.waiting, 0)
        await one.release(name, 'nobody')
      }
      t.equal((await one.store.reads.list(everything)).grants.length, 0)
    })

    await onDatabase('several resources: nothing is held while waiting, all are granted together, and nobody starves', 'moved', async (t, one) => {
      await one.ask('a', 'p')
      await one.ask('c', 'p')
      const set = one.ask(['a', 'b', 'c'], 'set')
      await one.untilWaiting(1)
      t.match(await one.service.inspect(resourceName('b')), { grant: null, waiters: 1 })
      t.match(await one.ask('b', 'hasty', { waitMs: 0 }), { kind: 'held', conflicts: [{ processId: 'set', lockId: 0 }] }, 'kept for the set')
      const single = one.ask('a', 'single')
      await one.untilWaiting(2)
      await one.release('a', 'p')
      await sleep(50)
      t.match(await one.service.inspect(resourceName('a')), { grant: null }, 'kept for the set')
      await one.release('c', 'p')
      t.match(await set, { kind: 'granted', grants: [{ resourceName: 'a' }, { resourceName: 'b' }, { resourceName: 'c' }] })
      await one.service.releaseAll(processId('set'))
      t.match(await single, { kind: 'granted' })
    })

    await onDatabase('draining answers everybody who waits and leaves nobody in line', 'moved', async (t, one) => {
      await one.ask('a', 'p')
      const waits = Array.from({ length: 300 }, (_, index) => one.ask('a', `w${index}`, { requestId: `r${index}` }))
      const settling = Promise.allSettled(waits)
      await one.untilWaiting(300)
      await one.service.drain()
      const settled = await settling
      t.ok(settled.every((result) => result.status === 'rejected' && result.reason.code === 'DRAINING'))
      t.match(await one.service.inspect(resourceName('a')), { waiters: 0, grant: { processId: 'p' } })
    })
  })
}

void t.test('waiting across instances', async (t) => {
  const kind: DatabaseName = 'postgres'

  await t.test('a release on one instance serves the waiter on another, in order', async (t) => {
    await using database = await freshDatabase(kind)
    await using one = await Instance.start(database)
    await using two = await Instance.start(database)
    await one.ask('a', 'holder')
    const served: number[] = []
    const waits: Promise<unknown>[] = []
    for (let index = 0; index < 10; index += 1) {
      const instance = index % 2 === 0 ? one : two
      const before = instance.service.waiting
      waits.push(
        instance.ask('a', `w${index}`).then(() => {
          served.push(index)
          return instance.release('a', `w${index}`)
        })
      )
      await instance.untilWaiting(before + 1)
    }
    await one.release('a', 'holder')
    await Promise.all(waits)
    t.strictSame(served, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
  })

  await t.test('when calls are lost, a waiter asks by itself', async (t) => {
    await using database = await freshDatabase(kind)
    await using one = await Instance.start(database)
    await using two = await Instance.start(database)
    await one.ask('a', 'p')
    // At the end of its time it would ask once more in any case.
    const waiting = two.ask('a', 'q', { waitMs: 2 * PATIENCE_MS })
    await two.untilWaiting(1)
    two.store.onWakeup(() => undefined)
    await one.release('a', 'p')
    await eventually('it asks', async () => ((await one.inspect('a')).grant?.processId === 'q' ? true : undefined))
    t.match(await waiting, { kind: 'granted' })
  })

  await t.test('the waiters of an instance that died cost one short lease together', async (t) => {
    await using database = await freshDatabase(kind)
    await using one = await Instance.start(database)
    await one.ask('a', 'p')
    const dead = await openOn(database)
    for (let index = 0; index < 5; index += 1) {
      await dead.submit(enqueue('a', `dead${index}`))
    }
    await dead[Symbol.asyncDispose]()
    const waiting = one.ask('a', 'q')
    await one.untilWaiting(1)
    await one.release('a', 'p')
    await sleep(50)
    t.match(await one.service.inspect(resourceName('a')), { grant: null, waiters: 6 }, 'kept for those who may still live')
    await database.advance(3000)
    await one.store.submit({ kind: 'heartbeat' })
    t.match(await waiting, { kind: 'granted', grants: [{ processId: 'q', lockId: 2 }] })
  })
})
