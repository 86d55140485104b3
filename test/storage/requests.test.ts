import t from 'tap'
import { KEEP_REQUEST_MS } from '../../src/storage/tables.js'
import { acquire, everything, inspect, release, renew, share, sweep } from '../support/commands.js'
import { besideService, DATABASES, freshDatabase } from '../support/databases.js'
import { instances, onEachStore, openOn } from '../support/store.js'

const mark = (id: string, fingerprint = 'same') => ({ id, fingerprint })

for (const kind of DATABASES) {
  void t.test(`several at once, and repetitions, on ${kind}`, async (t) => {
    const onStore = onEachStore(t, kind)

    await onStore('several resources are granted together, in the order of their names in the request', async (t, store) => {
      const outcome = await store.submit(acquire(['c', 'a', 'b'], 'p', 1000))
      t.match(outcome, { kind: 'granted', replayed: false, grants: [{ resourceName: 'c' }, { resourceName: 'a' }, { resourceName: 'b' }] })
      t.equal((await store.reads.list(everything)).grants.length, 3)
    })

    await onStore('if one is held, none is granted, and every conflict is told', async (t, store) => {
      await store.submit(acquire('b', 'q'))
      await store.submit(acquire('d', 'r', 500))
      const outcome = await store.submit(acquire(['a', 'b', 'c', 'd'], 'p'))
      t.match(outcome, { kind: 'held', conflicts: [{ resourceName: 'b', processId: 'q' }, { resourceName: 'd', processId: 'r' }] })
      if (outcome.kind === 'held') t.equal(outcome.conflicts.length, 2)
      t.match(await store.submit(inspect('a')), { grant: null })
      t.equal((await store.reads.list(everything)).grants.length, 2)
    })

    await onStore('requests for shares of one resource that are repeated together are each answered with their own', async (t, store) => {
      const requests = ['p', 'q', 'r'].map((process) => share('a', process, { limit: 5, idempotencyKey: mark(`${process} once`) }))
      const granted = []
      for (const request of requests) granted.push(await store.submit(request))
      const repeat = () => Promise.all(requests.map((request) => store.submit(request)))
      t.match(await repeat(), granted.map((outcome) => Object.assign({}, outcome, { replayed: true })))
      await store.submit(release('a', 'q'))
      t.match(await repeat(), [{ kind: 'granted', replayed: true }, { kind: 'request-id-reused' }, { kind: 'granted', replayed: true }], 'one has ended')
    })

    await onStore('a restored database may have one lock id in several resources', async (t, store, database) => {
      const requests = ['a', 'b'].map((name) => share(name, `${name}'s`, { idempotencyKey: mark(name) }))
      for (const request of requests) await store.submit(request)
      for (const change of ['lock_shares set id = 1', 'resource_locks set id = 1, shared_from = 1', `lock_requests set grants = replace(grants, '2', '1')`]) await besideService(database, `update ${change}`)
      const repeated = await Promise.all(requests.map((request) => store.submit(request)))
      t.match(repeated, [{ replayed: true, grants: [{ resourceName: 'a', processId: "a's", lockId: 1 }] }, { replayed: true, grants: [{ resourceName: 'b', processId: "b's", lockId: 1 }] }])
    })

    await onStore('sets that overlap never stop each other for good, whatever their order', async (t, store, database) => {
      await using stores = await instances(kind, store, database)
      const names = ['a', 'b', 'c', 'd', 'e']
      let granted = 0
      await Promise.all(
        Array.from({ length: 12 }, async (_, worker) => {
          const mine = stores.at(worker)
          for (let round = 0; round < 15; round += 1) {
            const wanted = names.filter((_, index) => (worker * 7 + round * 3 + index) % 2 === 0)
            const set = worker % 2 === 0 ? wanted : wanted.toReversed()
            const outcome = await mine.submit(acquire(set, `p${worker}`))
            if (outcome.kind !== 'granted') continue
            granted += 1
            await mine.submit({ kind: 'release-many', releases: set.map((name) => release(name, `p${worker}`)) })
          }
        })
      )
      t.ok(granted > 0)
      t.equal((await store.reads.list(everything)).grants.length, 0)
    })

    await onStore('a repetition answers with the same grant and changes nothing', async (t, store, database) => {
      const first = await store.submit(acquire('a', 'p', 1000, mark('r1')))
      await database.advance(999)
      const again = await store.submit(acquire('a', 'p', 1000, mark('r1')))
      t.match(first, { kind: 'granted', replayed: false })
      t.match(again, { kind: 'granted', replayed: true, grants: first.kind === 'granted' ? first.grants : [] })
    })

    await onStore('a refused request is not remembered', async (t, store) => {
      await store.submit(acquire('a', 'q'))
      t.match(await store.submit(acquire('a', 'p', null, mark('r1'))), { kind: 'held' })
      await store.submit(release('a', 'q'))
      t.match(await store.submit(acquire('a', 'p', null, mark('r1'))), { kind: 'granted', replayed: false })
    })

    await onStore('one id never yields two grants: not for other content, not after release, not after expiry', async (t, store, database) => {
      await store.submit(acquire('a', 'p', 1000, mark('r1')))
      t.match(await store.submit(acquire('a', 'p', 1000, mark('r1', 'other'))), { kind: 'request-id-reused' })
      t.match(await store.submit(acquire('b', 'p', 1000, mark('r1', 'other'))), { kind: 'request-id-reused' })
      await store.submit(release('a', 'p'))
      t.match(await store.submit(acquire('a', 'p', 1000, mark('r1'))), { kind: 'request-id-reused' })
      await store.submit(acquire('c', 'p', 1000, mark('r2')))
      await database.advance(1000)
      t.match(await store.submit(acquire('c', 'p', 1000, mark('r2'))), { kind: 'request-id-reused' })
      await store.submit(acquire('c', 'q'))
      t.match(await store.submit(acquire('c', 'p', 1000, mark('r2'))), { kind: 'request-id-reused' })
    })

    await onStore('an id is forgotten ten minutes after the grant at the earliest, sweeper or not', async (t, store, database) => {
      for (const [id, swept] of [['r1', false], ['r2', true]] as const) {
        await store.submit(acquire(id, 'p', 1000, mark(id)))
        await store.submit(release(id, 'p'))
        await database.advance(KEEP_REQUEST_MS - 1)
        if (swept) await store.submit(sweep)
        t.match(await store.submit(acquire(id, 'p', 1000, mark(id))), { kind: 'request-id-reused' })
        await database.advance(1)
        if (swept) await store.submit(sweep)
        t.match(await store.submit(acquire(id, 'p', 1000, mark(id))), { kind: 'granted', replayed: false })
      }
    })

    await onStore('an id is remembered as long as its lease, and as long as its grant is held', async (t, store, database) => {
      await store.submit(acquire('long', 'p', 5 * KEEP_REQUEST_MS, mark('long')))
      await store.submit(release('long', 'p'))
      await store.submit(acquire('held', 'p', null, mark('held')))
      await store.submit(acquire('renewed', 'p', 1000, mark('renewed')))
      await store.submit(renew('renewed', 'p', null))
      for (let round = 1; round < 5; round += 1) {
        await database.advance(KEEP_REQUEST_MS)
        await store.submit(sweep)
        t.match(await store.submit(acquire('long', 'p', 5 * KEEP_REQUEST_MS, mark('long'))), { kind: 'request-id-reused' })
        t.match(await store.submit(acquire('held', 'p', null, mark('held'))), { kind: 'granted', replayed: true })
        t.match(await store.submit(acquire('renewed', 'p', 1000, mark('renewed'))), { kind: 'granted', replayed: true })
      }
    })

    await onStore('one id serves a whole set, and only while all of it is held', async (t, store) => {
      const first = await store.submit(acquire(['b', 'a'], 'p', null, mark('set')))
      const again = await store.submit(acquire(['b', 'a'], 'p', null, mark('set')))
      t.match(again, { kind: 'granted', replayed: true, grants: first.kind === 'granted' ? first.grants : [] })
      await store.submit(release('a', 'p'))
      t.match(await store.submit(acquire(['b', 'a'], 'p', null, mark('set'))), { kind: 'request-id-reused' })
      t.match(await store.submit(acquire('a', 'p', null, mark('set', 'other'))), { kind: 'request-id-reused' })
    })

    await onStore('repetitions that arrive together yield one grant', async (t, store, database) => {
      await using stores = await instances(kind, store, database)
      for (let round = 0; round < 20; round += 1) {
        const one = await Promise.all(
          Array.from({ length: 10 }, (_, index) => stores.at(index).submit(acquire(`n${round}`, 'p', null, mark(`i${round}`))))
        )
        t.equal(new Set(one.map((outcome) => (outcome.kind === 'granted' ? outcome.grants[0]?.lockId : outcome.kind))).size, 1)
        t.equal(one.filter((outcome) => outcome.kind === 'granted' && !outcome.replayed).length, 1)
        const many = await Promise.all(
          Array.from({ length: 10 }, (_, index) => stores.at(index).submit(acquire(`m${round}-${index}`, 'p', null, mark(`j${round}`, `${index}`))))
        )
        t.equal(many.filter((outcome) => outcome.kind === 'granted').length, 1, 'the same id for different names')
        t.equal(many.filter((outcome) => outcome.kind === 'request-id-reused').length, 9)
      }
    })

    await t.test('ids are remembered across a restart', async (t) => {
      await using database = await freshDatabase(kind)
      {
        await using store = await openOn(database)
        await store.submit(acquire('a', 'p', null, mark('r1')))
      }
      await using store = await openOn(database)
      t.match(await store.submit(acquire('a', 'p', null, mark('r1'))), { kind: 'granted', replayed: true })
    })
  })
}
