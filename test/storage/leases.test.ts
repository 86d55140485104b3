import t from 'tap'
import { processId, resourceName } from '../../src/locks/lock.js'
import { KEEP_ENDED_MS, RENEWAL_EVENT_INTERVAL_MS } from '../../src/storage/tables.js'
import { acquire, allEvents, force, inspect, release, renew, renewAndRestart, renewAll, sweep } from '../support/commands.js'
import { START } from '../../scripts/database-templates.js'
import { besideService, DATABASES } from '../support/databases.js'
import { onEachStore } from '../support/store.js'

for (const kind of DATABASES) {
  void t.test(`renewing, taking away and history on ${kind}`, async (t) => {
    const onStore = onEachStore(t, kind)

    await onStore('a renewal moves the end and keeps the number; left out, the lease is the one of the grant', async (t, store, database) => {
      await store.submit(acquire('a', 'p', 1000))
      await database.advance(600)
      t.match(await store.submit(renew('a', 'p')), { kind: 'renewed', renewedAt: START + 600, grant: { lockId: 1, lockedAt: START, expiresAt: START + 1600 } })
      t.match(await store.submit(renew('a', 'p', 5000)), { grant: { lockId: 1, expiresAt: START + 5600 } })
      t.match(await store.submit(renew('a', 'p')), { grant: { expiresAt: START + 1600 } })
      t.match(await store.submit(renew('a', 'p', null)), { renewedAt: START + 600, grant: { expiresAt: null } })
      await database.advance(10_000_000)
      t.match(await store.submit(inspect('a')), { grant: { lockId: 1 } })
    })

    await onStore('a renewal never brings an ended lock back', async (t, store, database) => {
      await store.submit(acquire('a', 'p', 1000))
      await store.submit(acquire('b', 'p'))
      await store.submit(release('b', 'p'))
      await database.advance(1000)
      t.match(await store.submit(renew('a', 'p', 9000)), { kind: 'not-held', reason: 'expired' })
      t.match(await store.submit(renew('b', 'p', 9000)), { kind: 'not-held', reason: 'released' })
      t.match(await store.submit(renew('c', 'p')), { kind: 'not-held', reason: 'not_locked' })
      await store.submit(acquire('a', 'q'))
      t.match(await store.submit(renew('a', 'p')), { kind: 'not-held', reason: 'held_by_other' })
      t.match(await store.submit(inspect('a')), { grant: { processId: 'q', lockId: 3 } })
    })

    await onStore('a renewal with a lock id leaves a later grant of the same process alone', async (t, store) => {
      await store.submit(acquire('a', 'p', 1000))
      t.match(await store.submit(renew('a', 'p', 5000, 7)), { kind: 'not-held', reason: 'held_by_other' })
      t.match(await store.submit(renew('a', 'p', 5000, 1)), { kind: 'renewed' })
    })

    await onStore('a renewal that restarts the lease counts the lock from now on, under its old number', async (t, store, database) => {
      await store.submit({ ...acquire('a', 'p', 1000), metadata: { by: 'x', more: [1] } })
      await store.submit(acquire('other', 'p', 1000))
      await database.advance(600)
      t.match(await store.submit(renewAndRestart('a', 'p', 5000)), {
        renewedAt: START + 600,
        grant: { lockId: 1, lockedAt: START + 600, expiresAt: START + 5600, metadata: { by: 'x', more: [1] } }
      })
      await database.advance(100)
      t.match(await store.submit(renewAndRestart('a', 'p', undefined, { by: 'ü' })), {
        renewedAt: START + 700,
        grant: { lockId: 1, lockedAt: START + 700, expiresAt: START + 5700 }
      })
      t.match(await store.submit(renew('a', 'p')), { grant: { lockedAt: START + 700, expiresAt: START + 5700 } }, 'its lease is the new one')
      const { grant } = await store.submit(inspect('a'))
      t.strictSame(grant?.metadata, { by: 'ü' }, 'replaced as a whole')
      t.match(await store.submit(renewAndRestart('a', 'p', null)), { renewedAt: START + 700, grant: { lockedAt: START + 700, expiresAt: null } })
      t.match(await store.submit(inspect('other')), { grant: { lockedAt: START, expiresAt: START + 1000, metadata: null } })
    })

    await onStore('a renewal that restarts the lease lets in nobody but the holder, and never brings an ended lock back', async (t, store, database) => {
      await store.submit({ ...acquire('a', 'p', 1000), metadata: { by: 'p' } })
      t.match(await store.submit(renewAndRestart('a', 'q', 9000, { by: 'q' })), { kind: 'not-held', reason: 'held_by_other' })
      t.match(await store.submit({ ...renewAndRestart('a', 'p', 9000), lockId: 7 }), { kind: 'not-held', reason: 'held_by_other' })
      await database.advance(999)
      t.match(await store.submit(inspect('a')), { grant: { lockedAt: START, metadata: { by: 'p' } } })
      await database.advance(1)
      t.match(await store.submit(renewAndRestart('a', 'p', 9000, { by: 'p' })), { kind: 'not-held', reason: 'expired' })
      t.match(await store.submit(inspect('a')), { grant: null })
    })

    await onStore('the sweeper leaves a renewed lock alone and finds it when it expires at last', async (t, store, database) => {
      await store.submit(acquire('a', 'p', 1000))
      await store.submit(renew('a', 'p', 5000))
      await store.submit(acquire('never', 'p', 1000))
      await store.submit(renew('never', 'p', null))
      await database.advance(2000)
      t.match(await store.submit(sweep), { expired: 0, removed: 0 })
      t.match(await store.submit(inspect('a')), { grant: { lockId: 1 } })
      await database.advance(3000)
      t.match(await store.submit(sweep), { expired: 1 })
      t.match(await store.submit(renew('never', 'p', 10)), { kind: 'renewed' })
      await database.advance(10)
      t.match(await store.submit(sweep), { expired: 1 })
    })

    await onStore('one heartbeat renews all that a process holds, bite by bite in name order', async (t, store, database) => {
      for (const name of ['b', 'ä', 'a', '😀', 'ﬀ']) await store.submit(acquire(name, 'p', 1000))
      await store.submit(acquire('x', 'q', 1000))
      await store.submit(acquire('short', 'p', 5))
      await database.advance(5)
      const first = await store.submit(renewAll('p', 7000, '', 3))
      t.strictSame(first.renewals.map(({ grant }) => grant.resourceName), ['a', 'b', 'ä'])
      t.match(first.renewals[0], { renewedAt: START + 5, grant: { expiresAt: START + 7005 } })
      const second = await store.submit(renewAll('p', 7000, 'ä', 3))
      t.strictSame(second.renewals.map(({ grant }) => grant.resourceName), ['ﬀ', '😀'])
      t.match(await store.submit(inspect('x')), { grant: { expiresAt: START + 1000 } })
    })

    await onStore('a lock taken away is released for its former holder, and the next number is larger', async (t, store) => {
      await store.submit(acquire('a', 'p'))
      t.match(await store.submit(force('a', 'why', 7)), { kind: 'not-held', reason: 'held_by_other' })
      t.match(await store.submit(force('a', 'why', 1)), { kind: 'released', grant: { lockId: 1, processId: 'p' } })
      t.match(await store.submit(force('a', 'why')), { kind: 'not-held', reason: 'released' })
      t.match(await store.submit(force('nobody', 'why')), { kind: 'not-held', reason: 'not_locked' })
      t.match(await store.submit(renew('a', 'p')), { kind: 'not-held', reason: 'released' })
      t.match(await store.submit(acquire('a', 'q')), { kind: 'granted', grants: [{ lockId: 2 }] })
    })

    await onStore('several releases in one go say of each what became of it', async (t, store) => {
      for (const name of ['a', 'b']) await store.submit(acquire(name, 'p'))
      await store.submit(acquire('c', 'q'))
      const { outcomes } = await store.submit({ kind: 'release-many', releases: ['c', 'b', 'x', 'a'].map((name) => release(name, 'p')) })
      t.match(outcomes, [
        { kind: 'not-held', reason: 'held_by_other' },
        { kind: 'released', grant: { resourceName: 'b' } },
        { kind: 'not-held', reason: 'not_locked' },
        { kind: 'released', grant: { resourceName: 'a' } }
      ])
    })

    await onStore('several renewals in one go say of each what became of it', async (t, store) => {
      for (const name of ['a', 'b']) await store.submit(acquire(name, 'p', 1000))
      await store.submit(acquire('c', 'q', 1000))
      const renewals = [renew('c', 'p'), renew('b', 'p', 5000), renew('x', 'p'), renew('a', 'p', null, 9), { ...renew('d', 'p') }]
      const { outcomes } = await store.submit({ kind: 'renew-many', renewals })
      t.match(outcomes, [
        { kind: 'not-held', reason: 'held_by_other' },
        { kind: 'renewed', grant: { resourceName: 'b', lockId: 2, expiresAt: START + 5000 }, renewedAt: START },
        { kind: 'not-held', reason: 'not_locked' },
        { kind: 'not-held', reason: 'held_by_other' },
        { kind: 'not-held', reason: 'not_locked' }
      ])
      t.match(await store.submit(inspect('a')), { grant: { expiresAt: START + 1000 } })
    })

    await onStore('the history tells whether the holder itself released a grant, also after later grants', async (t, store, database) => {
      const of = (lockId: number, process = 'p') => store.reads.releasedAt({ resourceName: resourceName('a'), processId: processId(process), lockId })
      await store.submit(acquire('a', 'p'))
      t.equal(await of(1), null)
      await database.advance(5)
      await store.submit(release('a', 'p'))
      await store.submit(acquire('a', 'p'))
      await store.submit(force('a', 'why'))
      await store.submit(acquire('a', 'p', 10))
      await database.advance(10)
      await store.submit(acquire('a', 'q'))
      t.strictSame([await of(1), await of(2), await of(3), await of(4, 'q'), await of(1, 'q'), await of(99)], [START + 5, null, null, null, null, null])
      // Past a bucket of the history, which is found in another way.
      for (let more = 0; more < 600; more += 1) await Promise.all([store.submit(acquire('b', 'p')), store.submit(release('b', 'p'))])
      t.equal(await of(1), START + 5)
      t.equal(await of(2), null)
    })

    await onStore('the history tells what happened, newest first', async (t, store, database) => {
      await store.submit(acquire('a', 'p', 1000))
      await database.advance(1000)
      await store.submit(acquire('a', 'q'))
      await store.submit(release('a', 'q'))
      await store.submit(acquire('a', 'r', 50))
      await store.submit(force('a', 'stuck'))
      await store.submit(acquire('a', 's', 50))
      await database.advance(50)
      await store.submit(sweep)
      const { events, more } = await store.reads.history(allEvents)
      t.equal(more, false)
      t.strictSame(
        events.map(({ kind, lockId, processId, at, reason }) => [kind, lockId, processId, at - START, reason]),
        [
          ['expired', 4, 's', 1050, null],
          ['granted', 4, 's', 1000, null],
          ['force_released', 3, 'r', 1000, 'stuck'],
          ['granted', 3, 'r', 1000, null],
          ['released', 2, 'q', 1000, null],
          ['granted', 2, 'q', 1000, null],
          ['expired', 1, 'p', 1000, null],
          ['granted', 1, 'p', 0, null]
        ]
      )
    })

    await onStore('the history is read by name, by process and page by page', async (t, store) => {
      for (const [name, process] of [['a', 'p'], ['b', 'p'], ['c', 'q']] as const) await store.submit(acquire(name, process))
      const read = async (query: Partial<typeof allEvents>) => {
        const { events, more } = await store.reads.history({ ...allEvents, ...query })
        return [events.map(({ resourceName }) => resourceName).join(''), more]
      }
      t.strictSame(await read({ resourceName: 'b' }), ['b', false])
      t.strictSame(await read({ processId: 'p' }), ['ba', false])
      t.strictSame(await read({ limit: 2 }), ['cb', true])
      const { events } = await store.reads.history({ ...allEvents, limit: 2 })
      t.strictSame(await read({ limit: 2, before: events[1]?.eventId ?? null }), ['a', false])
    })

    await onStore('the history of a resource is found across everything that was told between', async (t, store, database) => {
      // Thousands of buckets of the index lie between the two groups of events.
      const later = 5_000_000
      const names = ['a', 'b', 'a', 'c', 'a', 'b', 'a', 'c']
      for (const [index, name] of names.entries()) {
        if (index === 4) {
          await besideService(
            database,
            kind === 'sqlite'
              ? `update lock_events set id = ${later} where id = (select max(id) from lock_events)`
              : `select setval(pg_get_serial_sequence('lock_events', 'id'), ${later})`
          )
        }
        await store.submit(acquire(name, 'p'))
        await store.submit(release(name, 'p'))
      }
      const all = await store.reads.history({ ...allEvents, resourceName: 'a' })
      t.equal(all.events.length, 8)
      t.ok((all.events[3]?.eventId ?? 0) > later && (all.events[4]?.eventId ?? 0) < later)
      const paged = []
      for (let before: number | null = null, more = true; more; before = paged.at(-1)?.eventId ?? null) {
        const page = await store.reads.history({ ...allEvents, resourceName: 'a', processId: 'p', before, limit: 3 })
        paged.push(...page.events)
        more = page.more
      }
      t.strictSame(paged, all.events)
      t.strictSame(await store.reads.history({ ...allEvents, resourceName: 'nothing' }), { events: [], more: false })
    })

    await onStore('renewals are told at most once a minute', async (t, store, database) => {
      await store.submit(acquire('a', 'p', 10 * RENEWAL_EVENT_INTERVAL_MS))
      for (let beat = 0; beat < 25; beat += 1) {
        await database.advance(RENEWAL_EVENT_INTERVAL_MS / 10)
        await store.submit(renew('a', 'p'))
      }
      const { events } = await store.reads.history(allEvents)
      t.strictSame(events.map(({ kind, at }) => [kind, (at - START) / RENEWAL_EVENT_INTERVAL_MS]), [['renewed', 2], ['renewed', 1], ['granted', 0]])
    })

    await onStore('a renewal with new metadata is always recorded', async (t, store) => {
      await store.submit(acquire('a', 'p'))
      await store.submit(acquire('b', 'p', null))
      for (const name of ['a', 'b', 'a']) await store.submit({ ...renew(name, 'p', name === 'b' ? null : undefined), metadata: { step: 1 } })
      const { events } = await store.reads.history(allEvents)
      t.strictSame(events.map(({ kind, resourceName, at }) => [kind, resourceName, at]).slice(0, 3), ['a', 'b', 'a'].map((name) => ['renewed', name, START]))
    })

    await onStore('renewals that restart the lease are recorded as often as others, and never twice in a millisecond', async (t, store, database) => {
      await store.submit(acquire('a', 'p'))
      await store.submit(renewAndRestart('a', 'p'))
      for (let beat = 0; beat < 15; beat += 1) {
        await database.advance(RENEWAL_EVENT_INTERVAL_MS / 10)
        await store.submit(renewAndRestart('a', 'p'))
        await store.submit(renew('a', 'p'))
      }
      const { events } = await store.reads.history(allEvents)
      t.strictSame(events.map(({ kind, at }) => [kind, (at - START) / RENEWAL_EVENT_INTERVAL_MS]), [['renewed', 1], ['granted', 0]])
    })

    await t.test('history is bounded by its age, and can be switched off', async (t) => {
      await onEachStore(t, kind, { keepHistoryMs: 5000 })('old events go', async (t, store, database) => {
        await store.submit(acquire('a', 'p'))
        await database.advance(5000)
        await store.submit(acquire('b', 'p'))
        await store.submit(sweep)
        t.equal((await store.reads.history(allEvents)).events.length, 2)
        await database.advance(1)
        await store.submit(sweep)
        t.match(await store.reads.history(allEvents), { events: [{ resourceName: 'b' }] })
      })
      await onEachStore(t, kind, { keepHistoryMs: 0 })('none is kept', async (t, store, database) => {
        await store.submit(acquire('a', 'p', 1))
        await store.submit(renew('a', 'p', 70_000))
        await database.advance(60_000)
        await store.submit(renew('a', 'p', 1))
        await database.advance(1)
        await store.submit(sweep)
        await store.submit(acquire('b', 'p'))
        await store.submit(release('b', 'p'))
        t.match(await store.reads.history(allEvents), { events: [], more: false })
        await database.advance(KEEP_ENDED_MS)
        t.match(await store.submit(sweep), { removed: 2 })
      })
    })
  })
}
