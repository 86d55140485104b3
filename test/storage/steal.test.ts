import t from 'tap'
import type { AcquireCommand, AcquireOutcome } from '../../src/locks/commands.js'
import { acquire, allEvents, enqueue, inspect, release, renew, share, type ShareOptions } from '../support/commands.js'
import { DATABASES } from '../support/databases.js'
import { onEachStore } from '../support/store.js'

function steal(names: string | readonly string[], process: string, options: ShareOptions = {}): AcquireCommand {
  const command = share(names, process, options)
  return { ...command, sharing: command.resourceNames.map(() => null), steal: true }
}

function numberOf(outcome: AcquireOutcome): number {
  if (outcome.kind !== 'granted' || outcome.grants[0] === undefined) throw new Error(`expected a grant, not ${JSON.stringify(outcome)}`)
  return outcome.grants[0].lockId
}

for (const kind of DATABASES) {
  void t.test(`stealing on ${kind}`, async (t) => {
    const onStore = onEachStore(t, kind)

    await onStore('an exclusive grant ends, and the thief has a larger number', async (t, store, database) => {
      const held = numberOf(await store.submit(acquire('a', 'p', 60_000)))
      await database.advance(1000)
      const outcome = await store.submit(steal('a', 'q', { ttlMs: 5000 }))
      t.match(outcome, { kind: 'granted', replayed: false, grants: [{ processId: 'q' }], stolen: [{ processId: 'p', lockId: held }] })
      t.ok(numberOf(outcome) > held)
      t.match(await store.submit(inspect('a')), { grant: { processId: 'q', lockId: numberOf(outcome) } })
      t.match(await store.submit(renew('a', 'p')), { kind: 'not-held', reason: 'held_by_other' })
      t.match(await store.submit(release('a', 'p', held)), { kind: 'not-held', reason: 'held_by_other' })
      t.match(await store.reads.history(allEvents), {
        events: [{ kind: 'granted', processId: 'q' }, { kind: 'force_released', processId: 'p', lockId: held, reason: 'stolen' }, { kind: 'granted', processId: 'p' }]
      })
      await database.advance(5000)
      t.match(await store.submit(acquire('a', 'r')), { kind: 'granted' }, 'the lease is the thief’s')
    })

    await onStore('all shares end at once, and those that had expired are not stolen', async (t, store, database) => {
      await store.submit(share('a', 'gone', { ttlMs: 10 }))
      for (const process of ['p', 'q']) await store.submit(share('a', process, { limit: 9 }))
      await database.advance(10)
      const outcome = await store.submit(steal('a', 'thief'))
      t.match(outcome, { kind: 'granted', stolen: [{ processId: 'p' }, { processId: 'q' }] })
      for (const process of ['gone', 'p', 'q']) t.match(await store.submit(renew('a', process)), { kind: 'not-held', reason: 'held_by_other' }, process)
      t.match(await store.submit(share('a', 'r')), { kind: 'held', conflicts: [{ processId: 'thief', usage: undefined }] })
      await store.submit(release('a', 'thief'))
      t.match(await store.submit(share('a', 'p')), { kind: 'granted' })
      t.match(await store.submit(inspect('a')), { shares: { usage: { holders: 1, used: 1, limit: null } } })
      const { events } = await store.reads.history(allEvents)
      t.same(events.filter(({ reason }) => reason === 'stolen').map(({ processId }) => processId).toSorted(), ['p', 'q'])
    })

    await onStore('it passes those that wait, who keep their places', async (t, store) => {
      await store.submit(acquire('a', 'p'))
      const { ticket } = await store.submit(enqueue('a', 'waits'))
      t.match(await store.submit(steal('a', 'q')), { kind: 'granted' })
      t.match(await store.submit({ ...acquire('a', 'waits'), ticket }), { kind: 'held', conflicts: [{ processId: 'q' }] })
      await store.submit(release('a', 'q'))
      t.match(await store.submit(acquire('a', 'late')), { kind: 'held', conflicts: [{ processId: 'waits', lockId: 0 }] })
      t.match(await store.submit(steal('a', 'late')), { kind: 'granted', stolen: [] }, 'also where nobody holds it')
      await store.submit(release('a', 'late'))
      t.match(await store.submit({ ...acquire('a', 'waits'), ticket }), { kind: 'granted' })
    })

    await onStore('several are stolen together; a free one and the thief’s own are among them', async (t, store) => {
      await store.submit(acquire('a', 'p'))
      await store.submit(share('b', 'q'))
      await store.submit(acquire('c', 'thief'))
      t.match(await store.submit(steal(['d', 'c', 'b', 'a'], 'thief')), {
        kind: 'granted', grants: ['d', 'c', 'b', 'a'].map((resourceName) => ({ resourceName, processId: 'thief' })), stolen: [{ processId: 'thief' }, { processId: 'q' }, { processId: 'p' }]
      })
    })

    await onStore('a repetition by its id is answered with the same grant and steals nothing', async (t, store) => {
      await store.submit(acquire('a', 'p'))
      const again = steal('a', 'q', { idempotencyKey: { id: 'r', fingerprint: 'f' } })
      const first = numberOf(await store.submit(again))
      t.match(await store.submit(again), { kind: 'granted', replayed: true, grants: [{ lockId: first }], stolen: undefined })
      t.match(await store.submit(steal('a', 'other')), { kind: 'granted' })
      t.match(await store.submit(again), { kind: 'request-id-reused' })
      t.match(await store.submit(inspect('a')), { grant: { processId: 'other' } })
    })

    await onStore('of those who steal together each is granted in turn, and the last one has it', async (t, store) => {
      await store.submit(acquire('a', 'p'))
      const outcomes = await Promise.all(Array.from({ length: 10 }, (_, index) => store.submit(steal('a', `q${index}`))))
      const numbers = outcomes.map(numberOf)
      t.equal(new Set(numbers).size, 10)
      t.match(await store.submit(inspect('a')), { grant: { lockId: Math.max(...numbers) } })
      const { events } = await store.reads.history(allEvents)
      t.equal(events.filter(({ kind: what }) => what === 'force_released').length, 10)
    })
  })
}
