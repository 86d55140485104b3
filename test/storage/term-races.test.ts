import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { Sweeper } from '../../src/locks/cleanup.js'
import { acquire, allEvents, force, inspect, keep, release, renew, revoke, share, sweep, withTerms } from '../support/commands.js'
import { freshDatabase } from '../support/databases.js'
import { race, RETRIED } from '../support/race.js'
import { Session } from '../support/session.js'
import { Instance, openOn } from '../support/store.js'

/* Two instances on PostgreSQL, in an order that the test decides: what is kept, delayed and revoked. */

const DELAYED = { ttlMs: 100, lockDelayMs: 500 }
const notHeld = (reason: string) => ({ kind: 'not-held', reason })

void t.test('a renewal that is overtaken by the end of its lease does not come back into the delay', async (t) => {
  await using at = await race()
  await at.store.submit(withTerms('a', 'p', DELAYED))
  await at.database.advance(99)
  const late = await at.overtaken([renew('a', 'p', 5000)], async () => {
    await at.database.advance(1)
    t.match(await at.store.submit(acquire('a', 'q')), { kind: 'held', conflicts: [{ processId: 'p', kept: true }] })
    t.match(await at.store.submit(sweep), { expired: 1 }, 'the history says that it has expired')
  })
  t.match(late, RETRIED)
  t.match(await at.overtaken([renew('a', 'p', 5000)], () => Promise.resolve()), [{ outcome: notHeld('expired') }])
  await at.database.advance(499)
  t.match(await at.store.submit(acquire('a', 'q')), { kind: 'held', conflicts: [{ kept: true }] })
  await at.database.advance(1)
  t.match(await at.store.submit(acquire('a', 'q')), { kind: 'granted' })
})

void t.test('a renewal that is overtaken by the end of the delay leaves the next holder alone', async (t) => {
  for (const next of [acquire('a', 'q', 60_000), withTerms('a', 'q', { ttlMs: 60_000, lockDelayMs: 500 }), share('a', 'q', { ttlMs: 60_000 })]) {
    await using at = await race()
    await at.store.submit(withTerms('a', 'p', DELAYED))
    await at.database.advance(99)
    const late = await at.overtaken([renew('a', 'p', 5000)], async () => {
      await at.database.advance(501)
      t.match(await at.store.submit(next), { kind: 'granted' })
    })
    t.match(late, RETRIED)
    t.match(await at.store.submit(renew('a', 'p', 5000)), { kind: 'not-held' })
    t.match(await at.store.submit(inspect('a')), { grant: { processId: 'q', expiresAt: at.database.now() + 60_000 } })
  }
})

void t.test('a renewal that comes before the end of the lease moves the delay as well', async (t) => {
  await using at = await race()
  await at.store.submit(withTerms('a', 'p', DELAYED))
  await at.database.advance(99)
  // The sweeper of another instance has found the lease over, and is overtaken by the renewal.
  t.match(await at.overtaken([renew('a', 'p', 5000)], () => Promise.resolve()), [{ outcome: { kind: 'renewed' } }])
  await at.database.advance(5000)
  t.match(await at.store.submit(acquire('a', 'q')), { kind: 'held', conflicts: [{ kept: true, expiresAt: at.database.now() + 500 }] })
})

void t.test('a release that keeps, and is overtaken by the end of the lease, keeps nothing from the next holder', async (t) => {
  for (const grant of [acquire('a', 'p', 100), share('a', 'p', { ttlMs: 100 }), withTerms('a', 'p', { ttlMs: 100, holdAtLeastMs: 50 })]) {
    await using at = await race()
    await at.store.submit(grant)
    await at.database.advance(99)
    const late = await at.overtaken([keep('a', 'p', 60_000)], async () => {
      await at.database.advance(1)
      t.match(await at.store.submit(acquire('a', 'q')), { kind: 'granted' })
    })
    t.match(late, RETRIED)
    t.match(await at.store.submit(keep('a', 'p', 60_000)), notHeld('held_by_other'))
    await at.store.submit(release('a', 'q'))
    t.match(await at.store.submit(acquire('a', 'r')), { kind: 'granted' })
  }
})

void t.test('a release that keeps, and is overtaken by the sweeper, a renewal or force, is decided anew', async (t) => {
  await using at = await race()
  await at.store.submit(acquire('a', 'p', 100))
  await at.database.advance(99)
  const expires = async (): Promise<void> => {
    await at.database.advance(1)
    t.match(await at.store.submit(sweep), { expired: 1 })
  }
  t.match(await at.overtaken([keep('a', 'p', 60_000)], expires), RETRIED)
  t.match(await at.store.submit(keep('a', 'p', 60_000)), notHeld('expired'))

  const { grants: [second] = [] } = (await at.store.submit(acquire('a', 'p', 100))) as { grants?: { lockId: number }[] }
  t.match(await at.overtaken([keep('a', 'p', 1000)], () => at.store.submit(renew('a', 'p', 60_000))), RETRIED)
  t.match(await at.overtaken([keep('a', 'p', 1000)], () => Promise.resolve()), [{ outcome: { kind: 'released', grant: { lockId: second?.lockId } } }])
  t.match(await at.store.submit(force('a', 'now')), { kind: 'released', freeAt: undefined })
  await at.store.submit(acquire('a', 'p', 60_000))
  t.match(await at.overtaken([keep('a', 'p', 60_000)], () => at.store.submit(force('a', 'now'))), RETRIED)
  t.match(await at.store.submit(acquire('a', 'q')), { kind: 'granted' })
  const { events } = await at.store.reads.history(allEvents)
  const told = events.toReversed().flatMap(({ kind }) => (kind === 'renewed' ? [] : [kind]))
  t.same(told, ['granted', 'expired', 'granted', 'released', 'force_released', 'granted', 'force_released', 'granted'], 'each end is told once')
})

void t.test('a revocation and a renewal in flight end with the grace, whichever comes first', async (t) => {
  for (const grant of [acquire('a', 'p', 1000), withTerms('a', 'p', { ttlMs: 1000, lockDelayMs: 100 }), share('a', 'p', { ttlMs: 1000 })]) {
    await using at = await race()
    await at.store.submit(grant)
    const end = { grant: { expiresAt: at.database.now() + 2000 } }
    t.match(await at.overtaken([revoke('a', 2000)], () => at.store.submit(renew('a', 'p', 60_000))), RETRIED)
    t.match(await at.overtaken([revoke('a', 2000)], () => Promise.resolve()), [{ outcome: { kind: 'revoked', ...end } }])
    t.match(await at.store.submit(renew('a', 'p', 60_000)), { kind: 'renewed', ...end })
    t.match(await at.overtaken([renew('a', 'p', 60_000)], () => at.store.submit(revoke('a', 500))), RETRIED)
    t.match(await at.store.submit(renew('a', 'p', 60_000)), { kind: 'renewed', grant: { expiresAt: at.database.now() + 500 } })
  }
})

void t.test('a revocation that waits for the row in front of a renewal binds it', async (t) => {
  await using at = await race()
  await using other = await openOn(at.database)
  await using session = await Session.open(at.database.url)
  for (const revokesFirst of [true, false]) {
    const name = `a ${revokesFirst}`
    await at.store.submit(acquire(name, 'p', 1000))
    await session.run('begin')
    await session.run('select from resource_locks where resource_name = $1 for update', [name])
    const steps = [() => at.store.submit(revoke(name, 2000)), () => other.submit(renew(name, 'p', 60_000))]
    const answers: Promise<unknown>[] = []
    for (const step of revokesFirst ? steps : steps.toReversed()) {
      answers.push(step())
      await session.untilWaiting(answers.length)
    }
    await session.run('commit')
    const [revoked, renewed] = await Promise.all(revokesFirst ? answers : answers.toReversed())
    t.match(revoked, { kind: 'revoked', revocation: { at: at.database.now() + 2000 } })
    t.match(renewed, { kind: 'renewed' })
    t.match(await other.submit(inspect(name)), { grant: { expiresAt: at.database.now() + 2000 } })
    t.match(await other.submit(renew(name, 'p', 60_000)), { kind: 'renewed', grant: { expiresAt: at.database.now() + 2000 } })
  }
})

void t.test('who waits on another instance is served at the end of what is kept, and not before, whatever the sweeper does', async (t) => {
  await using database = await freshDatabase('postgres')
  await using one = await Instance.start(database)
  await using other = await Instance.start(database)
  const sweeper = new Sweeper(one.store, { intervalMs: 1, onError: (error) => t.fail(String(error)) })
  sweeper.start()
  for (let round = 0; round < 6; round += 1) {
    const name = `r${round}`
    // Of an exclusive lock, one with terms, and a share.
    await one.store.submit([acquire(name, 'p', 5000), withTerms(name, 'p', { ttlMs: 5000, holdAtLeastMs: 10 }), share(name, 'p', { ttlMs: 5000 })][round % 3] ?? acquire(name, 'p'))
    const instance = round % 2 === 0 ? other : one
    let isServed = false
    const waiting = instance.ask(name, 'q').finally(() => (isServed = true))
    await instance.untilWaiting(1)
    const freeAt = database.now() + 200
    t.match(await one.store.submit(keep(name, 'p', 200)), { kind: 'released', freeAt })
    await database.advance(199)
    // Everybody looks again and again meanwhile.
    for (let look = 0; look < 5; look += 1) {
      t.match(await other.store.submit(acquire(name, 'r')), { kind: 'held' })
      await sleep(10)
    }
    t.equal(isServed, false)
    await database.advance(1)
    t.match(await waiting, { kind: 'granted', grants: [{ processId: 'q', lockedAt: freeAt }] })
  }
  await sweeper[Symbol.asyncDispose]()
})
