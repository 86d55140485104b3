import t from 'tap'
import { systemClock } from '../../src/client/index.js'
import { onEachClient } from '../support/client.js'

onEachClient(t, 'readers share a lock, and a writer has it alone', async (t, { locks, connect }) => {
  const reader = await locks.acquire('book', { mode: 'shared' })
  t.match(reader, { mode: 'shared', slots: [], held: true })
  const other = await locks.acquire('book', { mode: 'shared', waitSeconds: 0 })
  t.strictSame([reader.processId, other.processId], ['me/1', 'me/2'], 'one client may have several shares')
  t.equal(await connect().tryAcquire('book'), undefined)
  t.match(await locks.status('book'), { mode: 'shared', limit: null, used: 2, totalHolders: 2, holders: [{ lockId: reader.lockId }, { lockId: other.lockId }] })
  await reader.release()
  await other.release()
  const writer = await locks.acquire('book')
  t.match(writer, { mode: 'exclusive', slots: [] })
  t.ok(writer.lockId > other.lockId)
  await t.rejects(connect().acquire('book', { mode: 'shared', waitSeconds: 0 }), { name: 'LockNotAcquiredError', conflict: { lockedBy: 'me' } })
})

onEachClient(t, 'permits are counted, and each has a number', async (t, { locks, connect }) => {
  const one = await locks.acquire('export', { limit: 3, permits: 2 })
  t.strictSame([one.mode, one.slots], ['shared', [1, 2]])
  const two = connect()
  t.equal(await two.tryAcquire('export', { limit: 3, permits: 2 }), undefined)
  const three = await two.acquire('export', { limit: 3 })
  t.strictSame(three.slots, [3])
  await t.rejects(connect().acquire('export', { limit: 3, waitSeconds: 0 }), { name: 'LockNotAcquiredError', conflict: { holders: 2, used: 3, limit: 3 } })
  await one.release()
  const next = await connect().acquire('export', { limit: 3 })
  t.strictSame(next.slots, [1])
  t.ok(next.fencingToken > one.fencingToken, 'the number of a slot grows')
  await t.rejects(locks.acquire('x', { permits: 2 }), { name: 'LockRequestError', status: 422 })
})

onEachClient(t, 'several resources are taken together, each in its own way', async (t, { locks, connect }) => {
  const set = await locks.acquireMany([{ resourceName: 'company', mode: 'shared' }, 'company/user'])
  const other = connect()
  t.ok(await other.tryAcquire('company', { mode: 'shared' }))
  t.equal(await other.tryAcquireMany([{ resourceName: 'company', mode: 'shared' }, 'company/user']), undefined)
  await set.release()
  const shares = await locks.acquireMany(['x', 'y'], { mode: 'shared' })
  t.ok(await connect().tryAcquireMany(['x', 'y'], { mode: 'shared' }))
  await shares.release()
})

onEachClient(t, 'a lock is downgraded and upgraded, and renewed under its number', async (t, { locks, connect, advance }) => {
  const lock = await locks.acquire('book', { ttlSeconds: 30 })
  const { lockId } = lock
  await lock.downgrade()
  t.match(lock, { mode: 'shared', lockId, held: true })
  const other = await connect().acquire('book', { mode: 'shared', autoRenew: false })
  t.equal(await lock.upgrade(), false, 'another reader is there')
  t.match(lock, { mode: 'shared', lockId })
  await other.release()
  t.equal(await lock.upgrade(), true)
  t.equal(lock.mode, 'exclusive')
  t.ok(lock.lockId > lockId && lock.fencingToken === lock.lockId)
  await advance(5000)
  await lock.renew()
  t.ok(lock.held)
  await lock.downgrade({ limit: 2 })
  t.strictSame(lock.slots, [1])
  await lock.release()
  await t.rejects(lock.upgrade(), { name: 'LockLostError' })
  t.match(await locks.status('book'), { isLocked: false })
  const lost = await locks.acquire('book', { mode: 'shared' })
  await connect().forceRelease('book', 'a test', { lockId: lost.lockId })
  await t.rejects(lost.upgrade(), { name: 'LockLostError', reason: 'released' })
})

onEachClient(t, 'a conversion whose answer was lost is found again', async (t, { connect, proxy }) => {
  const locks = connect({ clock: systemClock() })
  const lock = await locks.acquire('book', { mode: 'shared' })
  const { lockId } = lock
  const lostAnswer = proxy.hold('answers')
  const upgrading = lock.upgrade()
  await lostAnswer
  proxy.cut()
  t.equal(await upgrading, true)
  t.ok(lock.mode === 'exclusive' && lock.lockId > lockId && lock.held)
  await lock.renew()
  await lock.release()
  t.match(await locks.status('book'), { isLocked: false })
})
