import t from 'tap'
import { acquire, allEvents, convert, everything, force, inspect, keep, release, renew, renewAll, revoke, share, sweep, withTerms } from '../support/commands.js'
import type { AcquireOutcome } from '../../src/locks/commands.js'
import { START } from '../../scripts/database-templates.js'
import { KEEP_ENDED_MS } from '../../src/storage/tables.js'
import { DATABASES } from '../support/databases.js'
import { instances, onEachStore } from '../support/store.js'

function granted(outcome: AcquireOutcome) {
  if (outcome.kind !== 'granted' || outcome.grants[0] === undefined) throw new Error(`expected a grant, not ${JSON.stringify(outcome)}`)
  return outcome.grants[0]
}

const notHeld = (reason: string) => ({ kind: 'not-held', reason })

for (const kind of DATABASES) {
  void t.test(`what is kept, delayed and revoked on ${kind}`, async (t) => {
    const onStore = onEachStore(t, kind)

    await onStore('a release that keeps ends the grant at once, and keeps everybody out until then', async (t, store, database) => {
      const { lockId } = granted(await store.submit(acquire('a', 'p', 60_000)))
      t.match(await store.submit(keep('a', 'p', 1000)), { kind: 'released', grant: { lockId, expiresAt: START + 60_000, share: undefined }, releasedAt: START, freeAt: START + 1000, all: undefined })
      const kept = { lockId, processId: 'p', lockedAt: START, expiresAt: START + 1000 }
      for (const process of ['p', 'q']) {
        t.match(await store.submit(acquire('a', process)), { kind: 'held', conflicts: [{ ...kept, kept: true, usage: undefined }], at: START })
        t.match(await store.submit(share('a', process)), { kind: 'held', conflicts: [{ ...kept, kept: true, usage: undefined }] })
      }
      t.match(await store.submit(acquire(['a', 'b'], 'q')), { kind: 'held', conflicts: [{ ...kept, kept: true }] })
      t.match(await store.submit(inspect('a')), { grant: null, kept })
      t.match(await store.submit(inspect('b')), { grant: null, kept: undefined })
      t.same((await store.reads.list(everything)).grants, [])
      t.equal(await store.reads.count({ prefix: '', processId: null }), 0)
      t.match(await store.submit(release('a', 'p')), notHeld('released'))
      t.match(await store.submit(keep('a', 'p', 5000)), notHeld('released'), 'a former holder does not keep it for longer')
      t.match(await store.submit(renew('a', 'p')), notHeld('released'))
      t.match(await store.submit(convert('a', 'p', null)), notHeld('released'))
      t.match(await store.submit(renewAll('p')), { renewals: [] })
      await database.advance(999)
      t.match(await store.submit(acquire('a', 'p')), { kind: 'held', at: START + 999 })
      await database.advance(1)
      t.ok(granted(await store.submit(acquire('a', 'p'))).lockId > lockId)
      const { events } = await store.reads.history(allEvents)
      t.same(events.map(({ kind, at }) => [kind, at - START]), [['granted', 1000], ['released', 0], ['granted', 0]], 'the end of what is kept is no event')
    })

    await onStore('the sweeper leaves alone what is kept, and removes it afterwards like every row', async (t, store, database) => {
      granted(await store.submit(acquire('a', 'p', 500)))
      await store.submit(keep('a', 'p', 1000))
      await database.advance(700)
      t.match(await store.submit(sweep), { expired: 0 })
      t.match(await store.submit(acquire('a', 'q')), { kind: 'held', conflicts: [{ kept: true, expiresAt: START + 1000 }] })
      await database.advance(300)
      t.match(await store.submit(sweep), { expired: 0 })
      t.match(await store.submit(release('a', 'p')), notHeld('released'))
      t.match(await store.submit(acquire('a', 'q', 1000)), { kind: 'granted' })
      await database.advance(KEEP_ENDED_MS * 3)
      for (let rounds = 0; rounds < 2; rounds += 1) {
        await store.submit(sweep)
        await database.advance(KEEP_ENDED_MS * 3)
      }
      t.match(await store.submit(inspect('a')), { grant: null, kept: undefined })
      t.match(await store.submit(release('a', 'p')), notHeld('not_locked'))
    })

    await onStore('a grant that is held at least for a while is kept for the rest by every release, but not by its expiry or by force', async (t, store, database) => {
      const first = granted(await store.submit(withTerms('a', 'p', { ttlMs: 5000, holdAtLeastMs: 3000 })))
      t.notHas(first, { share: {} })
      t.match(await store.submit(inspect('a')), { grant: { lockId: first.lockId, expiresAt: START + 5000 }, shares: undefined })
      t.match(await store.reads.list(everything), { grants: [{ lockId: first.lockId, ttlMs: 5000, expiresAt: START + 5000, share: undefined }] })
      t.equal(await store.reads.count({ prefix: '', processId: null, mode: 'exclusive' }), 1)
      t.equal(await store.reads.count({ prefix: '', processId: null, mode: 'shared' }), 0)
      await database.advance(1000)
      t.match(await store.submit(renew('a', 'p')), { kind: 'renewed', grant: { lockId: first.lockId, lockedAt: START, expiresAt: START + 6000 }, waiters: 0, revoked: null })
      t.match(await store.submit({ kind: 'release-many', releases: [release('a', 'p')] }), { outcomes: [{ kind: 'released', freeAt: START + 3000 }] })
      t.match(await store.submit(acquire('a', 'q')), { kind: 'held', conflicts: [{ kept: true, expiresAt: START + 3000 }] })
      await database.advance(2000)
      await store.submit(withTerms('a', 'p', { ttlMs: 5000, holdAtLeastMs: 3000 }))
      t.match(await store.submit(keep('a', 'p', 4000)), { freeAt: START + 7000 }, 'the longer of both')
      t.match(await store.submit(force('a', 'now')), { kind: 'released', freeAt: undefined }, 'force frees what is kept')
      await store.submit(withTerms('a', 'p', { ttlMs: 5000, holdAtLeastMs: 3000 }))
      t.match(await store.submit(force('a', 'now')), { kind: 'released', all: undefined })
      await store.submit(withTerms('a', 'p', { ttlMs: 1000, holdAtLeastMs: 1000 }))
      await database.advance(1000)
      t.match(await store.submit(acquire('a', 'q')), { kind: 'granted' })
      await database.advance(1000)
      t.match(await store.submit(release('a', 'q')), { kind: 'released', freeAt: undefined })
    })

    await onStore('after a lease that ended by itself or was taken away, nobody is granted the resource for the delay', async (t, store, database) => {
      const { lockId } = granted(await store.submit(withTerms('a', 'p', { ttlMs: 1000, lockDelayMs: 500 })))
      await database.advance(999)
      t.match(await store.submit(renew('a', 'p')), { kind: 'renewed', grant: { expiresAt: START + 1999 } })
      await database.advance(1000)
      t.match(await store.submit(acquire('a', 'q')), { kind: 'held', conflicts: [{ processId: 'p', lockId, kept: true, expiresAt: START + 2499 }] })
      t.match(await store.submit(renew('a', 'p')), notHeld('expired'))
      t.match(await store.submit(release('a', 'p')), notHeld('expired'))
      t.match(await store.submit(inspect('a')), { grant: null, kept: { lockId, expiresAt: START + 2499 } })
      t.match(await store.submit(sweep), { expired: 1 }, 'the history says so at the end of the lease')
      t.match(await store.submit(sweep), { expired: 0 })
      t.match(await store.submit(renew('a', 'p')), notHeld('expired'))
      await database.advance(500)
      t.match(await store.submit(withTerms('a', 'q', { ttlMs: 1000, lockDelayMs: 500 })), { kind: 'granted' })
      t.match(await store.submit(release('a', 'q')), { kind: 'released', freeAt: undefined }, 'a release frees it at once')
      await store.submit(withTerms('a', 'r', { lockDelayMs: 500 }))
      t.match(await store.submit(force('a', 'gone')), { kind: 'released', freeAt: START + 2999 })
      t.match(await store.submit(acquire('a', 'q')), { kind: 'held', conflicts: [{ processId: 'r', kept: true }] })
      t.match(await store.submit(force('a', 'gone')), { kind: 'released', freeAt: undefined }, 'force frees what is kept')
      await store.submit(withTerms('a', 's', { lockDelayMs: 500 }))
      t.match(await store.submit({ ...force('a', 'gone'), freesAtOnce: true }), { kind: 'released', freeAt: undefined })
      t.match(await store.submit(acquire('a', 'q')), { kind: 'granted' })
      const { events } = await store.reads.history(allEvents)
      t.match(events.findLast(({ kind }) => kind === 'expired'), { lockId, at: START + 1999 })
      t.equal(events.filter(({ kind }) => kind === 'expired').length, 1)
    })

    await onStore('what is taken away within its lock delay had expired, whether or not the sweeper has been there', async (t, store, database) => {
      for (const sweeps of [false, true]) {
        for (const steals of [false, true]) {
          const name = `${sweeps ? 'swept' : 'unswept'} ${steals ? 'stolen' : 'forced'}`
          const began = database.now()
          const exclusive = `${name}, all of it`
          const ids = [granted(await store.submit({ ...share(name, 'p', { limit: 2, permits: 2, ttlMs: 1000 }), terms: { holdAtLeastMs: 0, lockDelayMs: 500 } })).lockId, granted(await store.submit(withTerms(exclusive, 'p', { ttlMs: 1000, lockDelayMs: 500 }))).lockId]
          await database.advance(1200)
          if (sweeps) t.match(await store.submit(sweep), { expired: 2 })
          for (const [index, resource] of [name, exclusive].entries()) {
            const taken = await store.submit(steals ? { ...acquire(resource, 'q'), sharing: [null], steal: true } : force(resource, 'gone'))
            t.match(taken, steals ? { kind: 'granted', stolen: [] } : { kind: 'released', freeAt: undefined, releasedAt: began + 1200 })
            t.match(await store.submit(release(resource, 'p')), steals ? { kind: 'not-held' } : notHeld('expired'), resource)
            const { events } = await store.reads.history({ ...allEvents, resourceName: resource, processId: 'p' })
            t.same(events.map((event) => [event.kind, event.at - began, event.lockId]), [['force_released', 1200, ids[index]], ['expired', 1000, ids[index]], ['granted', 0, ids[index]]], resource)
            if (!steals) t.match(await store.submit(share(resource, 'q', { limit: 2 })), { kind: 'granted', grants: [{ share: { slots: [1] } }] }, 'its permits are free at once')
          }
        }
      }
    })

    await onStore('no renewal moves a revoked grant past the grace, and a second revocation only shortens it', async (t, store, database) => {
      const { lockId } = granted(await store.submit(acquire('a', 'p')))
      t.match(await store.submit(revoke('a', 5000, lockId + 1)), notHeld('held_by_other'))
      t.match(await store.submit(revoke('none', 5000)), notHeld('not_locked'))
      const revocation = { at: START + 5000, reason: 'drain' }
      t.match(await store.submit(revoke('a', 5000)), { kind: 'revoked', grant: { lockId, processId: 'p', expiresAt: START + 5000, share: undefined }, revocation })
      t.match(await store.submit(renew('a', 'p', null)), { kind: 'renewed', grant: { lockId, expiresAt: START + 5000, lockedAt: START }, revoked: revocation })
      t.match(await store.submit(renew('a', 'p', 1000)), { kind: 'renewed', grant: { expiresAt: START + 1000 }, revoked: revocation })
      t.match(await store.submit({ kind: 'renew-many', renewals: [renew('a', 'p', 60_000)] }), { outcomes: [{ grant: { expiresAt: START + 5000 }, revoked: revocation }] })
      t.match(await store.submit(renewAll('p', 60_000)), { renewals: [{ grant: { expiresAt: START + 5000 }, revoked: revocation }] })
      t.match(await store.submit(revoke('a', 60_000)), { revocation, grant: { expiresAt: START + 5000 } }, 'not longer')
      t.match(await store.submit(revoke('a', 2000, lockId)), { revocation: { at: START + 2000 }, grant: { expiresAt: START + 2000 } })
      await database.advance(2000)
      t.match(await store.submit(renew('a', 'p')), notHeld('expired'))
      const second = granted(await store.submit(acquire('a', 'p', 60_000)))
      t.match(await store.submit(renew('a', 'p', 90_000)), { grant: { lockId: second.lockId, expiresAt: START + 92_000 }, revoked: null }, 'a later grant is not revoked')
      await store.submit(revoke('a', 1000))
      t.match(await store.submit(release('a', 'p')), { kind: 'released', freeAt: undefined }, 'a release before is ordinary')
      t.match(await store.submit(acquire('a', 'q')), { kind: 'granted' })
      await store.submit(revoke('a', 1000))
      const upgraded = await store.submit(convert('a', 'q', { limit: 2, permits: 1 }))
      t.match(upgraded, { kind: 'converted', grant: { share: { limit: 2, slots: [1] }, expiresAt: START + 3000 } })
      t.match(await store.submit(convert('a', 'q', null)), { kind: 'converted', grant: { share: undefined } })
      t.match(await store.submit(renew('a', 'q', null)), { grant: { expiresAt: START + 3000 } }, 'whatever it was converted to')
      const { events } = await store.reads.history(allEvents)
      t.match(events.find(({ kind }) => kind === 'revoked'), { processId: 'q', reason: 'drain' })
    })

    await onStore('shares are kept with their permits and slots, and revoked together', async (t, store, database) => {
      const p = granted(await store.submit({ ...share('a', 'p', { limit: 2, ttlMs: 10_000 }), terms: { holdAtLeastMs: 3000, lockDelayMs: 500 } }))
      await store.submit(share('a', 'q', { limit: 2, ttlMs: 10_000 }))
      t.match(await store.submit(release('a', 'p')), { kind: 'released', grant: { share: { slots: [1] } }, freeAt: START + 3000 })
      t.match(await store.submit(keep('a', 'q', 5000)), { freeAt: START + 5000 })
      t.match(await store.submit(share('a', 'r', { limit: 2 })), { kind: 'held', conflicts: [{ processId: 'p', kept: true, expiresAt: START + 3000, usage: { used: 2 } }] })
      t.match(await store.submit(inspect('a')), { grant: null, kept: { processId: 'q' }, shares: undefined })
      await database.advance(3000)
      t.match(await store.submit(inspect('a')), { grant: null, kept: { processId: 'q', expiresAt: START + 5000 } })
      t.match(granted(await store.submit({ ...share('a', 'r', { limit: 2, ttlMs: 10_000 }), terms: { holdAtLeastMs: 0, lockDelayMs: 500 } })), { share: { slots: [1] } })
      t.match(await store.submit(inspect('a')), { grant: { processId: 'r' }, shares: { usage: { holders: 1, used: 2 }, grants: [{ processId: 'r' }] } })
      await database.advance(2000)
      await store.submit(share('a', 's', { limit: 2 }))
      t.match(await store.submit(revoke('a', 1000)), { all: [{ processId: 'r' }, { processId: 's' }], grant: { expiresAt: START + 6000 } })
      await database.advance(1000)
      t.match(await store.submit(share('a', 'x', { limit: 2 })), { kind: 'granted', grants: [{ share: { slots: [2] } }] }, 'without a delay it is free')
      t.match(await store.submit(share('a', 'y', { limit: 2 })), { kind: 'held', conflicts: [{ processId: 'r', kept: true, expiresAt: START + 6500 }] })
      t.ok(p.lockId > 0)
    })

    await onStore('a clock that is set back gives nobody back what was released, and frees nothing early', async (t, store, database) => {
      await store.submit(acquire('a', 'p', 60_000))
      await store.submit(keep('a', 'p', 5000))
      await store.submit(acquire('b', 'p', 60_000))
      await store.submit(revoke('b', 1000))
      await store.submit(withTerms('c', 'p', { ttlMs: 1000, lockDelayMs: 500 }))
      await database.advance(1200)
      await store.submit(sweep)
      await database.advance(-5000)
      t.match(await store.submit(renew('a', 'p')), notHeld('released'))
      t.match(await store.submit(release('a', 'p')), notHeld('released'))
      t.match(await store.submit(acquire('a', 'q')), { kind: 'held', conflicts: [{ kept: true }] })
      t.match(await store.submit(renew('c', 'p')), notHeld('expired'), 'what was told to have expired')
      t.match(await store.submit(acquire('c', 'q')), { kind: 'held', conflicts: [{ kept: true }] })
      t.match(await store.submit(renew('b', 'p')), notHeld('expired'))
    })

    await onStore('a request with an id that has terms is answered again while it is held, and refused once it is kept', async (t, store) => {
      const request = { ...withTerms('a', 'p', { ttlMs: 60_000, holdAtLeastMs: 1000 }), idempotencyKey: { id: 'i', fingerprint: 'f' } }
      const { lockId } = granted(await store.submit(request))
      t.match(await store.submit(request), { kind: 'granted', grants: [{ lockId }], replayed: true })
      await store.submit(release('a', 'p'))
      t.match(await store.submit(request), { kind: 'request-id-reused' })
    })

    await onStore('what nobody was told of is not kept', async (t, store) => {
      await store.submit(withTerms('a', 'p', { ttlMs: 60_000, holdAtLeastMs: 1000 }))
      t.match(await store.submit({ kind: 'release-many', releases: [{ ...release('a', 'p'), freesAtOnce: true }] }), { outcomes: [{ kind: 'released', freeAt: undefined }] })
      t.match(await store.submit(acquire('a', 'q')), { kind: 'granted' })
    })

    await onStore('a waiter learns when it is free: a release that keeps, a waiter and the sweeper at once', async (t, store, database) => {
      await using both = await instances(kind, store, database)
      for (let round = 0; round < 6; round += 1) {
        const name = `r${round}`
        const { lockId } = granted(await store.submit(acquire(name, 'p', 1000)))
        await database.advance(999)
        const steps = [both.at(0).submit(keep(name, 'p', 2000)), both.at(1).submit(acquire(name, 'q')), both.at(round).submit(sweep)]
        const [released, refused] = await Promise.all(round % 2 === 0 ? steps : steps.toReversed()).then((all) => (round % 2 === 0 ? all : all.toReversed()))
        t.match(released, { kind: 'released' })
        t.match(refused, { kind: 'held', conflicts: [{ lockId }] })
        t.match(await both.at(1).submit(acquire(name, 'q')), { kind: 'held', conflicts: [{ lockId, kept: true }] })
        await database.advance(2001)
        t.match(await both.at(1).submit(acquire(name, 'q')), { kind: 'granted' })
      }
    })

    await onStore('a renewal in flight beside a revocation never outlives it', async (t, store, database) => {
      await using both = await instances(kind, store, database)
      for (let round = 0; round < 8; round += 1) {
        const name = `r${round}`
        await store.submit(round % 4 < 2 ? acquire(name, 'p', 1000) : withTerms(name, 'p', { ttlMs: 1000, lockDelayMs: 100 }))
        const steps: Promise<unknown>[] = [both.at(0).submit(renew(name, 'p', 60_000)), both.at(1).submit(revoke(name, 2000))]
        if (round % 2 === 1) steps.unshift(both.at(1).submit(renewAll('p', 60_000)))
        await Promise.all(steps)
        t.match(await both.at(0).submit(inspect(name)), { grant: { expiresAt: database.now() + 2000 } })
        await both.at(1).submit(release(name, 'p'))
      }
    })
  })
}
