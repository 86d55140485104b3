import t from 'tap'
import type { AcquireCommand } from '../../src/locks/commands.js'
import { acquire, convert, enqueue, inspect, release, renew, share, sweep } from '../support/commands.js'
import { race, RETRIED } from '../support/race.js'

void t.test('of two first requests ever for one permit, the later one is decided anew', async (t) => {
  await using at = await race()
  const mine = share('a', 'p', { limit: 1 })
  t.match(await at.overtaken([mine], () => at.store.submit(share('a', 'q', { limit: 1 }))), RETRIED)
  t.match(await at.overtaken([mine], () => Promise.resolve()), [{ outcome: { kind: 'held', conflicts: [{ processId: 'q' }] } }])
  t.match(await at.store.submit(inspect('a')), { shares: { usage: { holders: 1 } } })
})

void t.test('a permit that another instance gave away meanwhile is not given twice, and a limit that it lowered is kept', async (t) => {
  await using at = await race()
  await at.store.submit(share('a', 'p', { limit: 3 }))
  t.match(await at.overtaken([share('a', 'q', { limit: 3 })], () => at.store.submit(share('a', 'r', { limit: 2 }))), RETRIED)
  t.match(await at.overtaken([share('a', 'q', { limit: 3 })], () => Promise.resolve()), [{ outcome: { kind: 'held', conflicts: [{ usage: { used: 2, limit: 2 } }] } }])
})

void t.test('several resources that were all changed meanwhile are not granted, as little as some of them', async (t) => {
  await using at = await race()
  const both: AcquireCommand = { ...acquire(['a', 'b'], 'p'), sharing: [null, { limit: 2, permits: 1 }] }
  const once = await at.manyOvertaken(both, async () => {
    for (const name of ['a', 'b']) await at.store.submit(share(name, 'q', { limit: 1, ttlMs: 100 }))
  })
  t.match([once], RETRIED, 'both')
  t.match(await at.store.submit(inspect('a')), { grant: { processId: 'q' } })
  await at.database.advance(100)
  t.match([await at.manyOvertaken(both, () => at.store.submit(acquire('a', 'q', 100)))], RETRIED, 'one of them')
  await at.database.advance(100)
  t.match(await at.manyOvertaken(both, () => Promise.resolve()), { outcome: { kind: 'granted', grants: [{ processId: 'p' }, { processId: 'p' }] } }, 'none of them')
})

void t.test('a repetition whose request is granted while it is looked at is answered with that grant, not with it in the way', async (t) => {
  await using at = await race()
  const idempotencyKey = { id: 'r', fingerprint: 'f' }
  const replayed = { outcome: { kind: 'granted', replayed: true } }
  const one = share('a', 'p', { limit: 3, idempotencyKey })
  t.match(await at.repeated(one, () => at.store.submit(one)), replayed, 'of a share')
  const some: AcquireCommand = { ...acquire(['b', 'c'], 'p', null, { id: 's', fingerprint: 'f' }), sharing: [null, { limit: 2, permits: 1 }] }
  t.match(await at.repeated(some, () => at.store.submit(some)), replayed, 'of several resources in their modes')
  await at.store.submit(acquire('d', 'q'))
  const exclusive = acquire(['d', 'e'], 'p', null, { id: 't', fingerprint: 'f' })
  t.match(await at.repeated(exclusive, async () => {
    await at.store.submit(release('d', 'q'))
    t.match(await at.store.submit(exclusive), { kind: 'granted', replayed: false })
  }), replayed, 'of several resources')
})

void t.test('an exclusive grant at the very expiry of the last share keeps its renewal out', async (t) => {
  await using at = await race()
  await at.store.submit(share('a', 'p', { ttlMs: 100 }))
  await at.database.advance(99)
  const outcome = await at.overtaken([renew('a', 'p', 5000)], async () => {
    await at.database.advance(1)
    t.match(await at.store.submit(acquire('a', 'w')), { kind: 'granted' })
  })
  t.match(outcome, RETRIED)
  t.match(await at.store.submit(renew('a', 'p', 5000)), { kind: 'not-held', reason: 'held_by_other' })
  t.match(await at.store.submit(inspect('a')), { grant: { processId: 'w' } })
})

void t.test('a share that is granted while the last other one is released keeps the resource', async (t) => {
  await using at = await race()
  await at.store.submit(share('a', 'p'))
  t.match(await at.overtaken([release('a', 'p')], () => at.store.submit(share('a', 'q', { limit: 5, permits: 2 }))), RETRIED)
  t.match(await at.overtaken([release('a', 'p')], () => Promise.resolve()), [{ outcome: { kind: 'released' } }])
  t.match(await at.store.submit(acquire('a', 'w')), { kind: 'held', conflicts: [{ processId: 'q' }] })
})

void t.test('a share that is granted while the only holder makes its own exclusive keeps it a share', async (t) => {
  await using at = await race()
  await at.store.submit(share('a', 'p'))
  t.match(await at.overtaken([convert('a', 'p', null)], () => at.store.submit(share('a', 'q'))), RETRIED)
  t.match(await at.overtaken([convert('a', 'p', null)], () => Promise.resolve()), [{ outcome: { kind: 'held', conflicts: [{ processId: 'q' }] } }])
})

void t.test('a share that was answered to a repetition meanwhile is not released for the caller that is gone', async (t) => {
  await using at = await race()
  const idempotencyKey = { id: 'i', fingerprint: 'f' }
  await at.store.submit(share('a', 'p', { idempotencyKey }))
  const abandoned = { ...release('a', 'p'), unlessClaimed: idempotencyKey }
  t.match(await at.overtaken([abandoned], () => at.store.submit(share('a', 'p', { idempotencyKey }))), RETRIED)
  t.match(await at.store.submit(abandoned), { kind: 'not-held' })
  t.match(await at.store.submit(inspect('a')), { grant: { processId: 'p' } })
})

void t.test('a waiter whose process leaves all queues meanwhile is granted nothing', async (t) => {
  await using at = await race()
  const { ticket } = await at.store.submit({ ...enqueue('a', 'p'), sharing: [{ limit: null, permits: 1 }] })
  const leave = { kind: 'dequeue-all', processId: renew('a', 'p').processId, prefix: '', key: null } as const
  t.match(await at.overtaken([share('a', 'p', { ticket })], () => at.store.submit(leave)), RETRIED)
  t.match(await at.overtaken([share('a', 'p', { ticket })], () => Promise.resolve()), [{ outcome: { kind: 'dequeued' } }])
  t.match(await at.store.submit(inspect('a')), { grant: null })
})

void t.test('an instance that stops between reading and writing keeps nobody waiting, and its late write is refused', async (t) => {
  await using at = await race()
  await at.store.submit(share('a', 'p', { limit: 2 }))
  const outcome = await at.overtaken([share('a', 'late', { limit: 2 }), share('b', 'late')], async () => {
    t.match(await at.store.submit(share('a', 'q', { limit: 2 })), { kind: 'granted' })
    t.match(await at.store.submit(acquire('b', 'w')), { kind: 'granted' })
    await at.database.advance(1000)
  })
  t.match(outcome, [{ kind: 'retry' }, { kind: 'retry' }])
  const late = at.overtaken([share('c', 'late', { ttlMs: 60_000 })], () => at.database.advance(1000))
  await t.rejects(late, { code: '22012' }, 'a lease would begin before it is granted')
  t.match(await at.store.submit(inspect('c')), { grant: null })
})

void t.test('a resource that came and went since it was read is not granted by a number of before', async (t) => {
  const hour = 3_600_000
  await using at = await race()
  const { database, store } = at
  const comesAndGoes = async (): Promise<void> => {
    t.match(await store.submit(share('a', 'q')), { kind: 'granted' })
    await store.submit(release('a', 'q'))
    // Only a clock that jumps makes this so fast.
    await database.advance(hour)
    while ((await store.submit(sweep)).removed > 0);
    t.match(await store.submit(inspect('a')), { latest: null })
    await database.advance(-hour)
  }
  await t.rejects(at.overtaken([share('a', 'p')], comesAndGoes), { code: '22012' }, 'a new resource')
  await store.submit(share('a', 'p'))
  await store.submit(release('a', 'p'))
  await t.rejects(at.overtaken([share('a', 'p')], comesAndGoes), { code: '22012' }, 'one that had a row')
  t.match(await at.overtaken([share('a', 'p')], async () => void (await store.submit(sweep))), [{ outcome: { kind: 'granted' } }], 'a sweep that removes nothing is not in the way')
})
