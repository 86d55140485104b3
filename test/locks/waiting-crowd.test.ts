import t from 'tap'
import { DATABASES, freshDatabase } from '../support/databases.js'
import { Instance } from '../support/instance.js'

/** Three times what it takes on a slow machine. */
const SOON_MS = 6000

for (const kind of DATABASES) {
  void t.test(`a thousand who wait for one resource on ${kind}`, async (t) => {
    const crowd = Array.from({ length: 1000 }, (_, index) => `p${index}`)

    await t.test('are told DRAINING quickly, and none is left in line', async (t) => {
      await using database = await freshDatabase(kind, 'real')
      await using one = await Instance.start(database)
      await one.ask('a', 'holder')
      const settling = Promise.allSettled(crowd.map((process) => one.ask('a', process, { requestId: process })))
      await one.untilWaiting(crowd.length)
      const began = performance.now()
      await one.service.drain()
      t.ok((await settling).every((result) => result.status === 'rejected' && result.reason.code === 'DRAINING'))
      const took = performance.now() - began
      t.comment(`${took} ms`)
      t.ok(took < SOON_MS, `after ${took} ms`)
      t.match(await one.inspect('a'), { waiters: 0, grant: { processId: 'holder' } })
    })

    await t.test('are told in time that they waited in vain, each with its place', async (t) => {
      await using database = await freshDatabase(kind, 'real')
      await using one = await Instance.start(database)
      await one.ask('a', 'holder')
      const waiting = crowd.map((process) => one.ask('a', process, { waitMs: 5000 }))
      await one.untilWaiting(crowd.length)
      const outcomes = await Promise.all(waiting)
      t.comment(`${performance.now()} ms`)
      t.ok(outcomes.every((outcome) => outcome.kind === 'held' && 'queuePosition' in outcome && outcome.queuePosition > 0))
      t.match(await one.inspect('a'), { waiters: 0 })
    })
  })
}
