import t from 'tap'
import type { AcquireOutcome, RenewAllOutcome } from '../../src/locks/commands.js'
import { KEEP_ENDED_MS } from '../../src/storage/tables.js'
import { acquire, allEvents, convert, everything, force, inspect, release, renew, renewAll, share, sweep } from '../support/commands.js'
import { START } from '../../scripts/database-templates.js'
import { DATABASES } from '../support/databases.js'
import { onEachStore } from '../support/store.js'

const PLAIN = { limit: null, permits: 1 }

function granted(outcome: AcquireOutcome) {
  if (outcome.kind !== 'granted' || outcome.grants[0] === undefined) throw new Error(`expected a grant, not ${JSON.stringify(outcome)}`)
  return outcome.grants[0]
}

const slotsOf = (outcome: AcquireOutcome): readonly number[] | undefined => granted(outcome).share?.slots

for (const kind of DATABASES) {
  void t.test(`shares on ${kind}`, async (t) => {
    const onStore = onEachStore(t, kind)

    await onStore('readers hold a resource together, each with a number of its own; a writer waits for the last to end', async (t, store, database) => {
      t.match(await store.submit(share('a', 'p', { ttlMs: 1000 })), { kind: 'granted', grants: [{ processId: 'p', lockedAt: START, expiresAt: START + 1000, share: { ...PLAIN, slots: [] } }] })
      const second = granted(await store.submit(share('a', 'q', { ttlMs: 3000 })))
      await store.submit(share('a', 'r', { ttlMs: 2000 }))
      t.match(await store.submit(acquire('a', 'w')), {
        kind: 'held', conflicts: [{ processId: 'q', lockId: second.lockId, expiresAt: START + 3000, usage: { holders: 3, used: 3, limit: null } }]
      })
      await database.advance(2999)
      t.match(await store.submit(acquire('a', 'w')), { kind: 'held', conflicts: [{ processId: 'q', usage: { holders: 1, used: 1 } }] })
      await database.advance(1)
      const writer = granted(await store.submit(acquire('a', 'w')))
      t.ok(writer.lockId > second.lockId)
      t.notHas(writer, { share: {} })
      t.match(await store.submit(share('a', 'p')), { kind: 'held', conflicts: [{ processId: 'w', lockId: writer.lockId, usage: undefined }] })
    })

    await onStore('a semaphore grants as many permits as its smallest limit says, and names the first to end', async (t, store, database) => {
      t.same(slotsOf(await store.submit(share('a', 'p', { limit: 3, ttlMs: 5000 }))), [1])
      t.same(slotsOf(await store.submit(share('a', 'q', { limit: 3, permits: 2, ttlMs: 1000 }))), [2, 3])
      t.match(await store.submit(share('a', 'r', { limit: 3 })), { kind: 'held', conflicts: [{ processId: 'q', expiresAt: START + 1000, usage: { holders: 2, used: 3, limit: 3 } }] })
      t.match(await store.submit(share('a', 'r', { limit: 9 })), { kind: 'held' }, 'the limit of the holders binds')
      t.match(await store.submit(share('a', 'r')), { kind: 'held' }, 'a share without limit takes one permit')
      t.match(await store.submit(share('a', 'r', { limit: 3, permits: 3 })), { kind: 'held', conflicts: [{ processId: 'p' }] }, 'all have to end for all permits')
      await database.advance(1000)
      t.same(slotsOf(await store.submit(share('a', 'r', { limit: 3 }))), [2])
      t.match(await store.submit(release('a', 'p')), { kind: 'released' })
      t.same(slotsOf(await store.submit(share('a', 's', { limit: 3, permits: 2 }))), [1, 3])
    })

    await onStore('a lowered limit binds from its first grant and revokes nobody; a raised one when the last lower holder is gone', async (t, store) => {
      for (const process of ['p', 'q', 'r']) await store.submit(share('a', process, { limit: 5 }))
      t.match(await store.submit(share('a', 's', { limit: 3 })), { kind: 'held', conflicts: [{ usage: { used: 3, limit: 5 } }] })
      t.match(await store.submit(share('a', 's', { limit: 4 })), { kind: 'granted' })
      t.match(await store.submit(share('a', 't', { limit: 5 })), { kind: 'held', conflicts: [{ processId: 'p', usage: { limit: 4 } }] })
      await store.submit(release('a', 's'))
      t.match(await store.submit(share('a', 't', { limit: 5 })), { kind: 'granted' })
    })

    await onStore('a process has one grant of a resource: asking again names its own', async (t, store) => {
      const own = granted(await store.submit(share('a', 'p')))
      await store.submit(share('a', 'q'))
      for (const again of [share('a', 'p'), share('a', 'p', { limit: 9 }), acquire('a', 'p')]) {
        t.match(await store.submit(again), { kind: 'held', conflicts: [{ processId: 'p', lockId: own.lockId }] })
      }
    })

    await onStore('shares are released and renewed one by one, and the resource is free with the last', async (t, store, database) => {
      const first = granted(await store.submit(share('a', 'p', { ttlMs: 1000 })))
      await store.submit(share('a', 'q', { ttlMs: 2000 }))
      t.match(await store.submit(renew('a', 'p', 5000)), { kind: 'renewed', grant: { lockId: first.lockId, expiresAt: START + 5000, share: PLAIN }, renewedAt: START })
      t.match(await store.submit(renew('a', 'p', 1, first.lockId + 1)), { kind: 'not-held', reason: 'held_by_other' })
      t.match(await store.submit(release('a', 'x')), { kind: 'not-held', reason: 'held_by_other' })
      t.match(await store.submit(release('a', 'p', first.lockId)), { kind: 'released', grant: { lockId: first.lockId } })
      t.match(await store.submit(release('a', 'p')), { kind: 'not-held', reason: 'released' })
      t.match(await store.submit(acquire('a', 'w')), { kind: 'held', conflicts: [{ processId: 'q', expiresAt: START + 2000 }] }, 'the end moves back to that of who is left')
      await database.advance(2000)
      t.match(await store.submit(renew('a', 'q')), { kind: 'not-held', reason: 'expired' })
      t.match(await store.submit(acquire('a', 'early')), { kind: 'granted' }, 'no longer than the last that is left')
      await store.submit(release('a', 'early'))
      t.match(await store.submit(share('a', 'r')), { kind: 'granted' })
      t.match(await store.submit(release('a', 'r')), { kind: 'released' })
      t.match(await store.submit(inspect('a')), { grant: null })
      t.match(await store.submit(acquire('a', 'w')), { kind: 'granted' })
      t.match(await store.submit(release('a', 'p')), { kind: 'not-held', reason: 'held_by_other' })
    })

    await onStore('numbers grow over shares and exclusive grants, and for each slot', async (t, store, database) => {
      let last = 0
      const bySlot = new Map<number, number>()
      const see = (outcome: AcquireOutcome): void => {
        const { lockId, share: { slots = [] } = {} } = granted(outcome)
        t.ok(lockId > last)
        last = lockId
        for (const slot of slots) {
          t.ok(lockId > (bySlot.get(slot) ?? 0))
          bySlot.set(slot, lockId)
        }
      }
      for (let round = 0; round < 3; round += 1) {
        see(await store.submit(acquire('a', 'w', 10)))
        await database.advance(10)
        for (const process of ['p', 'q', 'r']) see(await store.submit(share('a', process, { limit: 3 })))
        await store.submit(release('a', 'q'))
        see(await store.submit(share('a', 's', { limit: 3 })))
        for (const process of ['p', 'r', 's']) await store.submit(release('a', process))
        if (round === 1) await database.advance(KEEP_ENDED_MS)
        await store.submit(sweep)
      }
    })

    await onStore('status tells of the holder that ends last, and of the first holders by number', async (t, store) => {
      for (const [index, process] of ['p', 'q', 'r'].entries()) await store.submit(share('a', process, { ttlMs: [1000, null, 2000][index] ?? null, limit: 7 }))
      const seen = await store.submit(inspect('a'))
      t.match(seen, { grant: { processId: 'q', expiresAt: null }, shares: { usage: { holders: 3, used: 3, limit: 7 } } })
      t.same(seen.shares?.grants.map(({ processId, share: held }) => [processId, held?.slots]), [['p', [1]], ['q', [2]], ['r', [3]]])
    })

    await onStore('lists and counts have an entry for each share, by name and number, and find the page again', async (t, store) => {
      await store.submit(acquire('b', 'p'))
      for (const process of ['z', 'p', 'a']) await store.submit(share('a', process, { limit: 9, ttlMs: 500 }))
      await store.submit(share('c', 'p', { key: 'k' }))
      const { grants } = await store.reads.list(everything)
      t.same(grants.map(({ resourceName, processId }) => `${resourceName} ${processId}`), ['a z', 'a p', 'a a', 'b p', 'c p'])
      t.match(grants, [{ share: { slots: [1] }, ttlMs: 500 }, {}, {}, { share: undefined }, { share: PLAIN }])
      const [, second, third] = grants
      const next = await store.reads.list({ ...everything, after: { name: 'a', lockId: second?.lockId ?? 0 }, limit: 2 })
      t.same([next.grants.map(({ lockId }) => lockId), next.more], [[third?.lockId, grants[3]?.lockId], true])
      const ofName = await store.reads.list({ ...everything, resourceName: second?.resourceName })
      t.equal(ofName.grants.length, 3)
      const counts = await Promise.all([{}, { mode: 'shared' as const }, { mode: 'exclusive' as const }, { key: 'k' }].map((query) => store.reads.count({ prefix: '', processId: null, ...query })))
      t.same(counts, [5, 4, 1, 1])
      t.equal(await store.reads.count({ prefix: '', processId: grants[3]?.processId ?? null }), 3)
    })

    await onStore('renew-all renews both sorts in the order of the names, a page at a time', async (t, store) => {
      for (const [index, name] of ['a', 'b', 'c', 'd', 'e'].entries()) await store.submit(index % 2 === 0 ? share(name, 'p', { ttlMs: 100 }) : acquire(name, 'p', 100))
      await store.submit(share('a', 'other', { ttlMs: 100 }))
      const names: string[] = []
      for (let after: string | null = ''; after !== null; ) {
        const page: RenewAllOutcome = await store.submit(renewAll('p', 9000, after, 2))
        names.push(...page.renewals.map(({ grant }) => grant.resourceName))
        after = page.next
      }
      t.same(names, ['a', 'b', 'c', 'd', 'e'])
      const { grants } = await store.reads.list(everything)
      t.same(grants.filter(({ expiresAt }) => expiresAt !== START + 9000).map(({ processId }) => processId), ['other'])
    })

    await onStore('several resources are granted all or none, each in its mode', async (t, store) => {
      const both = { ...acquire(['company', 'user'], 'p', 1000), sharing: [PLAIN, null] }
      t.match(await store.submit(both), { kind: 'granted', grants: [{ resourceName: 'company', share: PLAIN }, { resourceName: 'user', share: undefined }] })
      const other = { ...acquire(['company', 'user'], 'q'), sharing: [PLAIN, null] }
      t.match(await store.submit(other), { kind: 'held', conflicts: [{ resourceName: 'user', processId: 'p' }] })
      t.match(await store.submit(inspect('company')), { shares: { usage: { holders: 1 } } })
      t.match(await store.submit(acquire(['company', 'else'], 'w')), { kind: 'held', conflicts: [{ resourceName: 'company', processId: 'p', usage: { holders: 1 } }] })
      t.match(await store.submit({ kind: 'release-many', releases: [release('company', 'p'), release('user', 'p'), release('none', 'p')] }), {
        outcomes: [{ kind: 'released' }, { kind: 'released' }, { kind: 'not-held', reason: 'not_locked' }]
      })
      t.match(await store.submit(acquire(['company', 'user'], 'w')), { kind: 'granted' })
    })

    await onStore('a repetition is answered with the same share, as long as it is held', async (t, store, database) => {
      const keyed = share('a', 'p', { limit: 2, ttlMs: 10_000, idempotencyKey: { id: 'i', fingerprint: 'f' } })
      const first = granted(await store.submit(keyed))
      await store.submit(share('a', 'q', { limit: 2, ttlMs: 10_000 }))
      t.match(await store.submit(keyed), { kind: 'granted', replayed: true, grants: [{ lockId: first.lockId, share: { limit: 2, slots: [1] } }] })
      t.match(await store.submit(share('a', 'r', { idempotencyKey: { id: 'i', fingerprint: 'other' } })), { kind: 'request-id-reused' })
      await store.submit(renew('a', 'p', null))
      await database.advance(3 * KEEP_ENDED_MS)
      await store.submit(sweep)
      t.match(await store.submit(keyed), { kind: 'granted', replayed: true }, 'however long it is held')
      await store.submit(release('a', 'p'))
      t.match(await store.submit(keyed), { kind: 'request-id-reused' })
    })

    await onStore('force-release ends one share or all, each with its event', async (t, store) => {
      const first = granted(await store.submit(share('a', 'p')))
      const second = granted(await store.submit(share('a', 'q', { ttlMs: 1000 })))
      const third = granted(await store.submit(share('a', 'r')))
      t.match(await store.submit(force('a', 'why', second.lockId)), { kind: 'released', grant: { processId: 'q' }, all: [{ processId: 'q' }] })
      t.match(await store.submit(force('a', 'why', second.lockId)), { kind: 'not-held', reason: 'held_by_other' })
      t.match(await store.submit(force('a', 'gone')), { kind: 'released', all: [{ lockId: first.lockId }, { lockId: third.lockId }] })
      t.match(await store.submit(force('a', 'gone')), { kind: 'not-held', reason: 'released' })
      t.match(await store.submit(release('a', 'p')), { kind: 'not-held', reason: 'released' })
      const { events } = await store.reads.history(allEvents)
      t.same(events.map(({ kind: what, processId, reason }) => [what, processId, reason]).toReversed(), [
        ['granted', 'p', null], ['granted', 'q', null], ['granted', 'r', null],
        ['force_released', 'q', 'why'], ['force_released', 'p', 'gone'], ['force_released', 'r', 'gone']
      ])
    })

    await onStore('every expiry of a share is told once, and nothing of a row that nobody holds', async (t, store, database) => {
      await store.submit(share('swept', 'p', { ttlMs: 100 }))
      await store.submit(share('passed', 'p', { ttlMs: 100 }))
      await store.submit(share('renewed', 'p', { ttlMs: 100 }))
      await store.submit(share('renewed', 'q', { ttlMs: 500 }))
      await database.advance(100)
      await store.submit(acquire('passed', 'w'))
      await store.submit(share('renewed', 'r', { limit: 2 }))
      t.match(await store.submit(sweep), { expired: 2 })
      t.match(await store.submit(sweep), { expired: 0 })
      const { events } = await store.reads.history(allEvents)
      t.same(events.filter(({ kind: what }) => what === 'expired').map(({ resourceName, processId, at }) => [resourceName, processId, at]).toSorted(([a], [b]) => (String(a) < String(b) ? -1 : 1)), [
        ['passed', 'p', START + 100], ['renewed', 'p', START + 100], ['swept', 'p', START + 100]
      ])
      await database.advance(3 * KEEP_ENDED_MS)
      let removed = 0
      for (let round = 0; round < 3; round += 1) {
        removed += (await store.submit(sweep)).removed
        await database.advance(KEEP_ENDED_MS + 1000)
      }
      t.ok(removed >= 4)
      t.match(await store.submit(release('swept', 'p')), { reason: 'not_locked' })
    })

    await onStore('a share of an earlier period stays dead after an exclusive grant, even when the clock is set back', async (t, store, database) => {
      await store.submit(share('a', 'p', { ttlMs: 1000 }))
      await database.advance(1000)
      await store.submit(acquire('a', 'w', 10))
      await store.submit(release('a', 'w'))
      await database.advance(-500)
      t.match(await store.submit(renew('a', 'p')), { kind: 'not-held' })
      t.match(await store.submit(share('a', 'q', { limit: 1 })), { kind: 'granted' })
      t.match(await store.submit(renew('a', 'p')), { kind: 'not-held' })
      t.match(await store.submit(inspect('a')), { grant: { processId: 'q' }, shares: { usage: { holders: 1 } } })
    })

    await onStore('a permit that was taken over from an expired share stays with its new holder when the clock is set back', async (t, store, database) => {
      await store.submit(share('a', 'stays', { limit: 2 }))
      await store.submit(share('a', 'p', { limit: 2, ttlMs: 1000 }))
      await database.advance(1000)
      t.same(slotsOf(await store.submit(share('a', 'q', { limit: 2 }))), [2])
      await database.advance(-500)
      t.match(await store.submit(renew('a', 'p')), { kind: 'not-held', reason: 'expired' })
      t.match(await store.submit(inspect('a')), { shares: { usage: { holders: 2, used: 2 } } })
    })

    await onStore('an exclusive grant becomes a share and keeps its number; then others come in', async (t, store) => {
      const first = granted(await store.submit({ ...acquire('a', 'p', 5000), metadata: { by: 'p' } }))
      t.match(await store.submit(convert('a', 'p', { limit: 2, permits: 1 }, first.lockId)), {
        kind: 'converted', grant: { lockId: first.lockId, lockedAt: START, expiresAt: START + 5000, metadata: { by: 'p' }, share: { limit: 2, slots: [1] } }
      })
      t.match(await store.submit(convert('a', 'p', { limit: 2, permits: 1 })), { kind: 'converted', grant: { lockId: first.lockId } }, 'again changes nothing')
      t.ok(granted(await store.submit(share('a', 'q', { limit: 2 }))).lockId > first.lockId)
      const { events } = await store.reads.history(allEvents)
      t.same(events.map(({ kind: what }) => what), ['granted', 'converted', 'granted'])
    })

    await onStore('a share becomes exclusive at once for the only holder and is refused beside others', async (t, store) => {
      const first = granted(await store.submit(share('a', 'p', { ttlMs: 5000 })))
      const other = granted(await store.submit(share('a', 'q')))
      t.match(await store.submit(convert('a', 'p', null)), { kind: 'held', conflicts: [{ processId: 'q', lockId: other.lockId, usage: { holders: 2 } }] })
      await store.submit(release('a', 'q'))
      const outcome = await store.submit(convert('a', 'p', null))
      t.match(outcome, { kind: 'converted', grant: { expiresAt: START + 5000, share: undefined } })
      t.ok(outcome.kind === 'converted' && outcome.grant.lockId > other.lockId)
      t.match(await store.submit(share('a', 'q')), { kind: 'held', conflicts: [{ processId: 'p' }] })
      t.match(await store.submit(renew('a', 'p', 1, first.lockId)), { kind: 'not-held' }, 'its earlier number has ended')
      t.match(await store.submit(convert('a', 'x', null)), { kind: 'not-held', reason: 'held_by_other' })
      t.match(await store.submit(convert('none', 'x', null)), { kind: 'not-held', reason: 'not_locked' })
    })

    await onStore('another limit or more permits are given if the other holders admit them', async (t, store) => {
      await store.submit(share('a', 'p', { limit: 3 }))
      await store.submit(share('a', 'q', { limit: 3 }))
      t.match(await store.submit(convert('a', 'p', { limit: 3, permits: 3 })), { kind: 'held', conflicts: [{ processId: 'q' }] })
      t.match(await store.submit(convert('a', 'p', { limit: 3, permits: 2 })), { kind: 'converted', grant: { share: { permits: 2, slots: [1, 3] } } })
      t.match(await store.submit(convert('a', 'q', PLAIN)), { kind: 'converted', grant: { share: { slots: [] } } })
      t.match(await store.submit(inspect('a')), { shares: { usage: { holders: 2, used: 3, limit: 3 } } })
    })

    await onStore('requests that arrive together are granted as far as the limit goes', async (t, store) => {
      const outcomes = await Promise.all(Array.from({ length: 12 }, (_, index) => store.submit(share('a', `p${index}`, { limit: 5, ttlMs: 1000 }))))
      const slots = outcomes.flatMap((outcome) => (outcome.kind === 'granted' ? (slotsOf(outcome) ?? []) : []))
      t.same(slots.toSorted((a, b) => a - b), [1, 2, 3, 4, 5])
      const ends = await Promise.all(outcomes.map((_, index) => store.submit(release('a', `p${index}`))))
      t.equal(ends.filter(({ kind: what }) => what === 'released').length, 5)
      t.match(await store.submit(inspect('a')), { grant: null })
    })

    await onStore('keys: a share belongs to the key that it was taken with', async (t, store) => {
      await store.submit(share('a', 'p', { key: 'k1' }))
      t.match(await store.submit({ ...release('a', 'p'), key: 'k2' }), { kind: 'not-held', reason: 'held_by_other' })
      t.match(await store.submit({ ...renew('a', 'p'), key: 'k2' }), { kind: 'not-held' })
      t.match(await store.submit({ ...convert('a', 'p', null), key: 'k2' }), { kind: 'not-held' })
      t.match(await store.submit({ ...release('a', 'p'), key: 'k1' }), { kind: 'released' })
    })
  })
}
