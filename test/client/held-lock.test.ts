import t from 'tap'
import type { LockLostError } from '../../src/client/index.js'
import { onEachClient } from '../support/client.js'
import { eventually } from '../support/eventually.js'

/** Ten seconds of lease: due for renewal after 3.3, lost to the holder after 9, ended in the database after 10. */
const TTL = 10

onEachClient(t, 'a lock renews itself at a third of its lease, as long as it is held', async (t, { locks, advance, clock }) => {
  const lock = await locks.acquire('a', { ttlSeconds: TTL })
  const ends = lock.expiresAt?.getTime() ?? 0
  await advance(3300)
  t.equal(lock.expiresAt?.getTime(), ends, 'not yet')
  await advance(34)
  for (let round = 1; round <= 5; round += 1) {
    await eventually('a renewal', async () => (lock.expiresAt?.getTime() === ends + 3334 * round && lock.remainingMs > 8990 ? true : undefined))
    if (round < 5) await advance(3334)
  }
  t.ok(lock.held)
  t.match(await locks.stats(), { renewals: 5 })
  await lock.release()
  t.equal(clock.pending, 0, 'no timer outlives it')
})

onEachClient(t, 'the signal fires before the lease can end, if no renewal comes through', async (t, { locks, advance }) => {
  const lock = await locks.acquire('a', { ttlSeconds: TTL, autoRenew: false })
  let isLocked: Promise<boolean> | undefined
  lock.signal.addEventListener('abort', () => {
    isLocked = locks.status('a').then((status) => status.isLocked)
  })
  await advance(8900)
  t.ok(lock.held)
  t.equal(lock.remainingMs, 100)
  await advance(100)
  t.equal(lock.held, false)
  t.equal(lock.signal.aborted, true)
  t.match(lock.signal.reason, { name: 'LockLostError', resourceName: 'a', lockId: 1, reason: 'unconfirmed' })
  t.equal(lock.loss, lock.signal.reason)
  t.equal(await isLocked, true, 'in the database it was held at that moment')
  await t.rejects(lock.renew(), { name: 'LockLostError', reason: 'unconfirmed' })
  await lock.release()
  await eventually('the release that nobody waited for', async () => ((await locks.status('a')).isLocked ? undefined : true))
})

onEachClient(t, 'a holder that kept its timers from firing still is told that it has lost', async (t, { locks, clock }) => {
  const lock = await locks.acquire('a', { ttlSeconds: TTL })
  const { signal } = lock
  const late = clock.now() + 9000
  t.equal(signal.aborted, false)
  clock.now = () => late
  t.equal(signal.aborted, true, 'also to code that has kept the signal')
  t.throws(() => signal.throwIfAborted(), { name: 'LockLostError', reason: 'unconfirmed' })
  t.equal(lock.held, false)
  t.equal(lock.signal.reason, lock.loss)
})

onEachClient(t, 'a lock that was taken away is lost with the next renewal', async (t, { locks, advance }) => {
  const lock = await locks.acquire('a', { ttlSeconds: TTL })
  await locks.forceRelease('a', 'a test')
  const next = await locks.acquire('a')
  await advance(3400)
  await eventually('the loss', async () => (lock.signal.aborted ? true : undefined))
  t.match(lock.loss, { name: 'LockLostError', reason: /held_by_other|released/ })
  await lock.release()
  t.ok((await locks.status('a')).isLocked, 'the next one is left alone')
  await next.release()
})

onEachClient(t, 'a lock without an end is looked after all the same', async (t, { locks, advance }) => {
  const lock = await locks.acquire('a', { ttlSeconds: null })
  t.match(lock, { expiresAt: null, remainingMs: Infinity })
  await advance(10_100)
  await eventually('a look', async () => ((await locks.stats()).renewals === 1 ? true : undefined))
  await locks.forceRelease('a', 'a test')
  await advance(10_100)
  const loss = await eventually('the loss', async (): Promise<LockLostError | undefined> => lock.loss)
  t.equal(loss.reason, 'released')
})

onEachClient(t, 'a renewal by hand decides what later ones ask for', async (t, { locks, advance }) => {
  const lock = await locks.acquire('a', { ttlSeconds: TTL })
  await lock.renew(100)
  t.equal(lock.remainingMs, 98_000)
  t.match(await locks.status('a'), { remainingSeconds: 100 })
  await advance(33_334)
  await eventually('a renewal', async () => (lock.remainingMs > 97_990 ? true : undefined))
  await lock.renew(null)
  t.match(lock, { remainingMs: Infinity, expiresAt: null })
  await lock.renew(5)
  t.equal(lock.remainingMs, 4500)
  await Promise.all([lock.renew(60), lock.renew(50)])
  t.equal(lock.remainingMs, 48_000, 'one after the other')
  await lock.release()
})

onEachClient(t, 'the form of the locking module ends by itself', async (t, { locks, advance }) => {
  const lock = await locks.tryAcquire('a', TTL)
  await advance(9000)
  t.equal(lock?.signal.aborted, true)
  await advance(1000)
  t.match(await locks.status('a'), { isLocked: false })
  const next = await locks.tryAcquire('a', TTL)
  await lock?.release()
  t.match(await locks.status('a'), { isLocked: true, lockId: next?.lockId })
})

onEachClient(t, 'releasing twice at once asks the service once', async (t, { locks }) => {
  const lock = await locks.acquire('a')
  await Promise.all([lock.release(), lock.release(), lock[Symbol.asyncDispose]()])
  t.match(await locks.stats(), { releases: 1 })
  t.equal(lock.loss, undefined)
})
