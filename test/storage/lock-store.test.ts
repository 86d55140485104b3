import t from 'tap'
import { processId } from '../../src/locks/lock.js'
import type { ListQuery } from '../../src/locks/store.js'
import { KEEP_ENDED_MS } from '../../src/storage/tables.js'
import { acquire, allEvents, everything, force, inspect, release, sweep } from '../support/commands.js'
import { START } from '../../scripts/database-templates.js'
import { DATABASES, freshDatabase } from '../support/databases.js'
import { onEachStore, openOn } from '../support/store.js'

for (const kind of DATABASES) {
  void t.test(`lock store on ${kind}`, async (t) => {
    const onStore = onEachStore(t, kind)

    await onStore('a free resource is granted, from now until its lease ends', async (t, store) => {
      const outcome = await store.submit(acquire('a', 'p', 1500))
      t.same(outcome, {
        kind: 'granted',
        replayed: false,
        grants: [{ lockId: 1, resourceName: 'a', processId: 'p', lockedAt: START, expiresAt: START + 1500, metadata: null }]
      })
    })

    await onStore('a held resource is refused to everybody, its holder included, and stays as it was', async (t, store) => {
      await store.submit(acquire('a', 'p', 1000))
      for (const process of ['q', 'p']) {
        const outcome = await store.submit(acquire('a', process, 9000))
        t.match(outcome, { kind: 'held', at: START, conflicts: [{ lockId: 1, processId: 'p', expiresAt: START + 1000 }] })
      }
      t.match(await store.submit(inspect('a')), { grant: { lockId: 1, processId: 'p', expiresAt: START + 1000 } })
    })

    await onStore('an expired lock is granted again with a larger number, at the very millisecond of its expiry', async (t, store, database) => {
      await store.submit(acquire('a', 'p', 1000))
      await database.advance(999)
      t.match(await store.submit(acquire('a', 'q')), { kind: 'held' })
      await database.advance(1)
      t.match(await store.submit(inspect('a')), { grant: null, at: START + 1000 })
      t.match(await store.submit(acquire('a', 'q')), { kind: 'granted', grants: [{ lockId: 2, lockedAt: START + 1000, expiresAt: null }] })
    })

    await onStore('release ends the grant of that process only', async (t, store) => {
      await store.submit(acquire('a', 'p'))
      t.match(await store.submit(release('a', 'q')), { kind: 'not-held', reason: 'held_by_other' })
      t.match(await store.submit(release('a', 'p')), { kind: 'released', releasedAt: START, grant: { lockId: 1 } })
      t.match(await store.submit(inspect('a')), { grant: null })
    })

    await onStore('release with a lock id leaves a later grant of the same process alone', async (t, store) => {
      await store.submit(acquire('a', 'p'))
      await store.submit(release('a', 'p'))
      await store.submit(acquire('a', 'p'))
      t.match(await store.submit(release('a', 'p', 1)), { kind: 'not-held', reason: 'held_by_other' })
      t.match(await store.submit(release('a', 'p', 2)), { kind: 'released' })
    })

    await onStore('the reason of a refused release is the same before and after the sweeper', async (t, store, database) => {
      await store.submit(acquire('expires', 'p', 1000))
      await store.submit(acquire('released', 'p'))
      await store.submit(release('released', 'p'))
      await database.advance(1000)
      for (const pass of ['before', 'after']) {
        t.match(await store.submit(release('expires', 'p')), { reason: 'expired' }, pass)
        t.match(await store.submit(release('expires', 'q')), { reason: 'not_locked' }, pass)
        t.match(await store.submit(release('released', 'p')), { reason: 'released' }, pass)
        t.match(await store.submit(release('unknown', 'p')), { reason: 'not_locked' }, pass)
        await store.submit(sweep)
      }
    })

    await onStore('the sweeper ends what expired, keeps it a while, then removes it; numbers grow all the same', async (t, store, database) => {
      await store.submit(acquire('a', 'p', 1000))
      await store.submit(acquire('stays', 'p'))
      t.match(await store.submit(sweep), { expired: 0, removed: 0 })
      await database.advance(1000)
      t.match(await store.submit(sweep), { expired: 1, removed: 0, more: false })
      t.match(await store.submit(sweep), { expired: 0, removed: 0 })
      await database.advance(KEEP_ENDED_MS)
      t.match(await store.submit(sweep), { expired: 0, removed: 1 })
      t.match(await store.submit(release('a', 'p')), { reason: 'not_locked' })
      t.match(await store.submit(acquire('a', 'p')), { kind: 'granted', grants: [{ lockId: 3 }] })
      t.match(await store.submit(inspect('stays')), { grant: { lockId: 2 } })
    })

    await onStore('a released row is removed after a while, whatever its lease was', async (t, store, database) => {
      for (const [name, ttl] of [['never', null], ['long', 31_536_000_000], ['short', 5]] as const) {
        await store.submit(acquire(name, 'p', ttl))
        await store.submit(release(name, 'p'))
      }
      let removed = 0
      for (const ms of [10, KEEP_ENDED_MS, KEEP_ENDED_MS]) {
        await database.advance(ms)
        removed += (await store.submit(sweep)).removed
      }
      t.equal(removed, 3)
    })

    await onStore('the sweeper works in bites and says when more is due', async (t, store, database) => {
      await Promise.all(Array.from({ length: 5 }, (_, index) => store.submit(acquire(`n${index}`, 'p', 10))))
      await database.advance(10)
      t.match(await store.submit({ kind: 'sweep', limit: 2 }), { expired: 2, more: true })
      t.match(await store.submit({ kind: 'sweep', limit: 4 }), { expired: 3, more: false })
    })

    await onStore('of commands that arrive together none is given what another says', async (t, store) => {
      const metadata = { only: 'b' }
      await Promise.all([store.submit(acquire('a', 'p')), store.submit({ ...acquire('b', 'p'), metadata, key: 'k' }), store.submit(acquire('c', 'p', 1000))])
      const { grants } = await store.reads.list(everything)
      t.match(grants, [
        { resourceName: 'a', metadata: null, expiresAt: null },
        { resourceName: 'b', metadata, expiresAt: null },
        { resourceName: 'c', metadata: null, expiresAt: START + 1000 }
      ])
      const released = await Promise.all([
        store.submit({ ...release('a', 'p'), key: 'other' }),
        store.submit({ ...release('b', 'p'), key: 'other' }),
        store.submit(release('c', 'p', 999))
      ])
      t.match(released, [{ kind: 'released', grant: { metadata: null } }, { kind: 'not-held', reason: 'held_by_other' }, { kind: 'not-held' }])
      t.match(await Promise.all([store.submit(release('b', 'p')), store.submit(force('c', 'why'))]), [
        { kind: 'released', grant: { metadata } },
        { kind: 'released' }
      ])
      const { events } = await store.reads.history(allEvents)
      t.match(events.slice(0, 2).toSorted((a, b) => (a.resourceName < b.resourceName ? -1 : 1)), [
        { resourceName: 'b', kind: 'released', reason: null },
        { resourceName: 'c', kind: 'force_released', reason: 'why' }
      ])
    })

    await onStore('metadata comes back as it went in', async (t, store) => {
      const metadata = { 'quote"s': ['\\', 'ü', { deep: null }], '{}': 'a,b' }
      await store.submit({ ...acquire('a', 'p'), metadata })
      t.same((await store.submit(inspect('a'))).grant?.metadata, metadata)
    })

    await onStore('names that look alike are different names', async (t, store) => {
      for (const name of ['a', 'A', ' a', 'a ', 'ä', 'null', 'NULL', '{a,b}', "o'hara", 'back\\slash', '"', '😀', '%']) {
        t.match(await store.submit(acquire(name, 'p')), { kind: 'granted' }, name)
        t.match(await store.submit(inspect(name)), { grant: { resourceName: name } }, name)
      }
    })

    await onStore('a list has the valid grants in bytewise order, by prefix, by process and page by page', async (t, store, database) => {
      const names = ['b/2', 'b/1', 'a', '😀', 'ﬀ', 'b', 'c']
      for (const name of names) await store.submit(acquire(name, name.startsWith('b') ? 'p' : 'q', name === 'c' ? 5 : null))
      await database.advance(5)
      const listed = async (query: Partial<ListQuery>) => {
        const { grants, more } = await store.reads.list({ ...everything, ...query })
        return [await store.reads.count({ ...everything, ...query }), grants.map((grant) => grant.resourceName).join(' '), more]
      }
      t.same(await listed({}), [6, 'a b b/1 b/2 ﬀ 😀', false])
      t.same(await listed({ prefix: 'b/' }), [2, 'b/1 b/2', false])
      t.same(await listed({ prefix: '😀' }), [1, '😀', false])
      t.same(await listed({ prefix: 'x' }), [0, '', false])
      t.same(await listed({ processId: processId('q') }), [3, 'a ﬀ 😀', false])
      t.same(await listed({ limit: 2 }), [6, 'a b', true])
      t.same(await listed({ limit: 2, after: { name: 'b', lockId: 99 } }), [6, 'b/1 b/2', true])
      t.same(await listed({ limit: 2, after: { name: 'b/2', lockId: 99 } }), [6, 'ﬀ 😀', false])
    })

    await onStore('requests for one name that arrive together have one winner', async (t, store) => {
      const outcomes = await Promise.all(Array.from({ length: 50 }, (_, index) => store.submit(acquire('a', `p${index}`))))
      t.equal(outcomes.filter((outcome) => outcome.kind === 'granted').length, 1)
      t.match(outcomes[0], { kind: 'granted' }, 'the first to come')
      for (const outcome of outcomes.slice(1)) t.match(outcome, { kind: 'held', conflicts: [{ processId: 'p0' }] })
    })

    await onStore('commands for one name take effect in the order in which they came', async (t, store) => {
      const outcomes = await Promise.all([
        store.submit(acquire('a', 'p')),
        store.submit(release('a', 'p')),
        store.submit(acquire('a', 'q')),
        store.submit(release('a', 'p')),
        store.submit(release('a', 'q')),
        store.submit(release('a', 'q'))
      ])
      t.strictSame(
        outcomes.map((outcome) => outcome.kind),
        ['granted', 'released', 'granted', 'not-held', 'released', 'not-held']
      )
    })

    await onStore('a thousand rounds on one name give a thousand growing numbers', async (t, store) => {
      let last = 0
      for (let round = 0; round < 1000; round += 1) {
        const [outcome] = await Promise.all([store.submit(acquire('a', 'p')), store.submit(release('a', 'p'))])
        if (outcome.kind !== 'granted' || (outcome.grants[0]?.lockId ?? 0) <= last) {
          t.fail(`round ${round}: ${JSON.stringify(outcome)}`)
          return
        }
        last = outcome.grants[0]?.lockId ?? 0
      }
      t.equal(last, 1000)
    })

    await t.test('locks and numbers outlive a restart', async (t) => {
      await using database = await freshDatabase(kind)
      {
        await using store = await openOn(database)
        await store.submit(acquire('a', 'p'))
        await store.submit(acquire('b', 'p'))
        await store.submit(release('b', 'p'))
      }
      await using store = await openOn(database)
      t.match(await store.submit(acquire('a', 'q')), { kind: 'held', conflicts: [{ lockId: 1, processId: 'p' }] })
      t.match(await store.submit(acquire('c', 'p')), { kind: 'granted', grants: [{ lockId: 3 }] })
    })
  })
}

