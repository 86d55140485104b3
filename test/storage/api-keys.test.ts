import t from 'tap'
import { openStore } from '../../src/storage/index.js'
import { acquire, allEvents, enqueue, inspect, release, renew, renewAll, sweep } from '../support/commands.js'
import { START } from '../../scripts/database-templates.js'
import { besideService, DATABASES, freshDatabase } from '../support/databases.js'
import { newKey } from '../support/app.js'
import { instances, onEachStore, openOn } from '../support/store.js'

const by = <C extends object>(command: C, key: string | null) => ({ ...command, key })

for (const kind of DATABASES) {
  void t.test(kind, async (t) => {
    const test = onEachStore(t, kind)

    void test('a key is listed without what is secret of it, and can be revoked once', async (t, { keys }, database) => {
      t.strictSame(await keys.list(), [])
      t.strictSame(await keys.inUse(), { any: false, live: [] })
      const { secret, ...worker } = newKey('worker', { prefix: 'reports/', validForMs: 90 * 86_400_000 })
      const entry = {
        id: 1,
        name: 'worker',
        scopes: ['read', 'write'],
        prefix: 'reports/',
        createdAt: START,
        expiresAt: START + 90 * 86_400_000,
        revokedAt: null,
        state: 'live'
      }
      t.strictSame(await keys.create(worker), entry)
      t.strictSame(await keys.list(), [entry])
      const { id, name, scopes, prefix } = entry
      t.strictSame(await keys.inUse(), { any: true, live: [{ id, name, scopes, prefix, digest: worker.digest }] })
      await database.advance(1000)
      t.strictSame([await keys.revoke(2), await keys.revoke(1), await keys.revoke(1)], [false, true, false])
      t.strictSame(await keys.list(), [{ ...entry, revokedAt: START + 1000, state: 'revoked' }])
      t.strictSame(await keys.inUse(), { any: true, live: [] }, 'that there was one is not forgotten')
      t.notMatch(JSON.stringify([await keys.list(), entry]), secret)
    })

    void test('a key ends at the very millisecond, by the database’s clock', async (t, { keys }, database) => {
      await keys.create(newKey('short', { validForMs: 1000 }))
      await database.advance(999)
      t.match(await keys.inUse(), { live: [{ name: 'short' }] })
      await database.advance(1)
      t.strictSame(await keys.inUse(), { any: true, live: [] })
      t.match(await keys.list(), [{ state: 'expired' }])
    })

    void test('a key is in the database by its digest alone', async (t, { keys }, database) => {
      const { secret, ...key } = newKey('worker')
      await keys.create(key)
      await t.rejects(keys.create(key), 'no two keys have one digest')
      await besideService(database, `update api_keys set name = 'renamed' where digest = '${key.digest}'`)
      t.match(await keys.list(), [{ name: 'renamed' }])
      t.match(key.digest, /^[0-9a-f]{64}$/)
      t.notMatch(key.digest, secret.slice(4, 12))
    })

    void test('only the key that a grant belongs to ends or renews it, or a call for which no key is needed', async (t, store) => {
      await store.submit(by(acquire('a', 'p', 60_000), 'one'))
      await store.submit(by(acquire('b', 'p', 60_000), null))
      t.match(await store.submit(by(renew('a', 'p', 90_000), 'two')), { kind: 'not-held', reason: 'held_by_other' })
      t.match(await store.submit(by(release('a', 'p'), 'two')), { kind: 'not-held', reason: 'held_by_other' })
      t.match(await store.submit(inspect('a')), { grant: { expiresAt: START + 60_000 } }, 'nothing was changed')
      const renewed = async (key: string | null, prefix = ''): Promise<string[]> => {
        const { renewals } = await store.submit({ ...renewAll('p', 30_000), key, prefix })
        return renewals.map(({ grant }) => grant.resourceName)
      }
      t.strictSame([await renewed('two'), await renewed('one'), await renewed(null)], [['b'], ['a', 'b'], ['a', 'b']])
      t.strictSame([await renewed('one', 'a'), await renewed('two', 'a'), await renewed(null, 'b')], [['a'], [], ['b']])
      t.match(await store.submit(by(release('b', 'p'), 'two')), { kind: 'released' }, 'what was taken without a key is open to every key')
      const both = [by(release('a', 'p'), 'two'), by(release('a', 'p'), 'one')]
      t.match(await store.submit({ kind: 'release-many', releases: both }), { outcomes: [{ kind: 'not-held' }, { kind: 'released' }] })
      t.match(await store.submit(by(renew('a', 'p', 1), 'two')), { reason: 'not_locked' })
      t.match(await store.submit(by(renew('a', 'p', 1), 'one')), { reason: 'released' })
      await store.submit(by(acquire('a', 'p'), 'one'))
      t.match(await store.submit(release('a', 'p')), { kind: 'released' }, 'asked for no key')
    })

    void test('each new grant belongs to the key that it was taken with, not to that of the one before', async (t, store, database) => {
      await store.submit({ ...acquire('a', 'p', 1000), key: 'one' })
      await database.advance(1000)
      await store.submit({ ...acquire('a', 'p', 1000), key: 'two' })
      t.match(await store.submit({ ...release('a', 'p'), key: 'one' }), { kind: 'not-held' })
      await database.advance(1000)
      await store.submit(sweep)
      t.match(await store.submit({ ...renew('a', 'p', 1), key: 'one' }), { reason: 'not_locked' }, 'also after the sweeper has run')
      t.match(await store.submit({ ...renew('a', 'p', 1), key: 'two' }), { reason: 'expired' })
      await store.submit(acquire(['a', 'b'], 'p'))
      t.match(await store.submit({ ...release('a', 'p'), key: 'one' }), { kind: 'released' }, 'nobody’s now')
    })

    void test('of two keys that release and renew at once only the owner succeeds', async (t, store, database) => {
      await using stores = await instances(kind, store, database)
      for (let round = 0; round < 20; round += 1) {
        const name = `r${round}`
        await store.submit({ ...acquire(name, 'p', 60_000), key: 'one' })
        const outcomes = await Promise.all(
          Array.from({ length: 12 }, (_, index) => {
            const key = index % 3 === 0 ? 'one' : 'two'
            const command = index % 2 === 0 ? { ...renew(name, 'p', 60_000), key } : { ...release(name, 'p'), key }
            return stores.at(index).submit(command).then(({ kind }) => ({ key, kind }))
          })
        )
        t.strictSame(outcomes.filter(({ key, kind }) => key === 'two' && kind !== 'not-held'), [])
        t.equal(outcomes.filter(({ kind }) => kind === 'released').length, 1)
      }
    })

    void test('history and lines can be narrowed to a prefix', async (t, store) => {
      for (let index = 0; index < 1200; index += 1) await store.submit(acquire(`x${index}`, 'p'))
      await store.submit(acquire(['in/a', 'in/b', 'in0'], 'p'))
      const inside = await store.reads.history({ ...allEvents, prefix: 'in/' })
      t.strictSame(inside.events.map(({ resourceName }) => resourceName).toSorted(), ['in/a', 'in/b'])
      t.match(await store.reads.history({ ...allEvents, prefix: 'in/', limit: 1 }), { events: { length: 1 }, more: true })
      t.match(await store.reads.history({ ...allEvents, prefix: 'x', processId: 'p', limit: 1000 }), { events: { length: 1000 }, more: true })
      t.strictSame(await store.reads.history({ ...allEvents, prefix: 'in/', resourceName: 'x1' }), { events: [], more: false })
      for (const name of ['in/a', 'in0']) {
        await store.submit(enqueue(name, 'q'))
      }
      await store.submit({ kind: 'heartbeat' })
      t.strictSame([await store.reads.countWaiters({ prefix: '' }), await store.reads.countWaiters({ prefix: 'in/' }), await store.reads.countWaiters({ prefix: '\u{10ffff}' })], [2, 1, 0])
    })
  })
}

void t.test('the keys survive a restart', async (t) => {
  for (const kind of DATABASES) {
    await using database = await freshDatabase(kind)
    {
      await using store = await openOn(database)
      await store.keys.create(newKey('worker'))
    }
    await using store = await openStore({ databaseUrl: database.url })
    t.match(await store.keys.list(), [{ id: 1, name: 'worker' }], kind)
  }
})
