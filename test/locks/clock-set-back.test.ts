import t, { type Test } from 'tap'
import { enqueue } from '../support/commands.js'
import { START } from '../../scripts/database-templates.js'
import { DATABASES, freshDatabase, type TestDatabase } from '../support/databases.js'
import { Instance, openOn } from '../support/store.js'

const HOUR_MS = 3_600_000

for (const kind of DATABASES) {
  void t.test(`after the clock of ${kind} was set back by an hour`, async (t) => {
    const onDatabase = (name: string, body: (t: Test, one: Instance, database: TestDatabase) => Promise<void>) =>
      t.test(name, async (t) => {
        await using database = await freshDatabase(kind)
        await using one = await Instance.start(database)
        await body(t, one, database)
      })

    await onDatabase('a kept place keeps nothing free', async (t, one, database) => {
      await one.now('a', 'p')
      t.match(await one.ask('a', 'q', { waitMs: 20, requestId: 'r1' }), { kind: 'held', queuePosition: 1 })
      await database.setClock(START - HOUR_MS)
      t.match(await one.inspect('a'), { waiters: 0 })
      await one.release('a', 'p')
      t.match(await one.now('a', 'r'), { kind: 'granted' })
      await one.store.submit({ kind: 'sweep', limit: 10 })
      await database.setClock(START)
      t.match(await one.inspect('a'), { waiters: 0 }, 'it was swept away')
    })

    await onDatabase('a waiter keeps its place', async (t, one, database) => {
      await one.now('a', 'p')
      const waiting = one.ask('a', 'q')
      await one.untilWaiting(1)
      await database.setClock(START - HOUR_MS)
      await one.store.submit({ kind: 'heartbeat' })
      await one.store.submit({ kind: 'sweep', limit: 10 })
      t.match(await one.inspect('a'), { waiters: 1 })
      await one.release('a', 'p')
      t.match(await waiting, { kind: 'granted' })
    })

    await onDatabase('the history tells of renewals', async (t, one, database) => {
      await one.now('a', 'p')
      await database.setClock(START - HOUR_MS)
      const grants = (await one.inspect('a')).grant
      if (grants !== null) await one.service.renew({ ...grants, ttlMs: null })
      t.match(await one.store.reads.eventsAfter(1, 10), { events: [{ kind: 'renewed', at: START - HOUR_MS }] })
    })
  })
}

void t.test('the waiters of an instance that died before the clock was set back keep nothing free', async (t) => {
  await using database = await freshDatabase('postgres')
  await using one = await Instance.start(database)
  const dead = await openOn(database)
  await dead.submit(enqueue('a', 'dead'))
  await dead[Symbol.asyncDispose]()
  t.match(await one.now('a', 'p'), { kind: 'held', conflicts: [{ lockId: 0, processId: 'dead' }] })
  await database.setClock(START - HOUR_MS)
  t.match(await one.now('a', 'p'), { kind: 'granted' })
})
