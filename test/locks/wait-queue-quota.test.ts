import t from 'tap'
import { DATABASES, freshDatabase } from '../support/databases.js'
import { Instance } from '../support/store.js'

for (const kind of DATABASES) {
  void t.test(`a thousand who wait for one resource on ${kind}`, async (t) => {
    const crowd = Array.from({ length: 1000 }, (_, index) => `p${index}`)

    await t.test('are told DRAINING, and none is left in line', async (t) => {
      await using database = await freshDatabase(kind, 'real')
      await using one = await Instance.start(database)
      await one.ask('a', 'holder')
      const settling = Promise.allSettled(crowd.map((process) => one.ask('a', process, { requestId: process })))
      await one.untilWaiting(crowd.length)
      await one.service.drain()
      t.ok((await settling).every((result) => result.status === 'rejected' && result.reason.code === 'DRAINING'))
      t.match(await one.inspect('a'), { waiters: 0, grant: { processId: 'holder' } })
    })

    await t.test('are told that their wait was unsuccessful, each with its position', async (t) => {
      await using database = await freshDatabase(kind, 'real')
      await using one = await Instance.start(database)
      await one.ask('a', 'holder')
      const waiting = crowd.map((process) => one.ask('a', process, { waitMs: 1000 }))
      const outcomes = await Promise.all(waiting)
      t.ok(outcomes.every((outcome) => outcome.kind === 'held' && 'queuePosition' in outcome && outcome.queuePosition > 0))
      t.match(await one.inspect('a'), { waiters: 0 })
    })
  })
}
