import t from 'tap'
import { HeldLock, LockLostError, LockNotAcquiredError, LockRequestError, type Conflict } from '../../src/client/index.js'
import { onEachClient } from '../support/client.js'
import { eventually } from '../support/eventually.js'

onEachClient(t, 'a lock is taken, refused to others and to its holder, and let go', async (t, { locks, connect }) => {
  const lock = await locks.tryAcquire('a', { ttlSeconds: 60, metadata: { host: 'h' } })
  t.ok(lock instanceof HeldLock)
  t.match(lock, { type: 'lock', resourceName: 'a', processId: 'me', lockId: 1, fencingToken: 1, metadata: { host: 'h' }, held: true })
  t.equal(lock?.expiresAt?.getTime(), (lock?.lockedAt.getTime() ?? 0) + 60_000)
  t.equal(await connect().tryAcquire('a'), undefined)
  t.equal(await locks.tryAcquire('a'), undefined)
  await t.rejects(connect().acquire('a', { waitSeconds: 0 }), { name: 'LockNotAcquiredError', resourceName: 'a', conflict: { lockedBy: 'me', lockId: 1, waiters: 0 } })
  await lock?.release()
  t.match(lock, { held: false, loss: undefined, remainingMs: 0 })
  t.equal(lock?.signal.aborted, false, 'letting go is no loss')
  const next = await connect().tryAcquire('a')
  t.equal(next?.lockId, 2)
  await lock?.release()
  t.match(await locks.status('a'), { isLocked: true, lockId: 2 }, 'a stale release never frees the next holder’s lock')
})

onEachClient(t, 'a waiter is served when the lock is released, and hears meanwhile who has it', async (t, { locks, connect }) => {
  const first = await locks.acquire('a')
  const heard: Conflict[] = []
  const second = connect({ processId: 'second' }).acquire('a', { onWaiting: (conflict) => heard.push(conflict) })
  t.match(await eventually('a report', async () => heard[0]), { lockedBy: 'me', lockId: 1, queuePosition: 1, waiters: 1 })
  await first.release()
  const lock = await second
  t.match(lock, { lockId: 2, processId: 'second', held: true })
  await lock.release()
})

onEachClient(t, 'withLock works while it has the lock, and its own error goes before every other', async (t, { locks }) => {
  t.equal(await locks.withLock('a', (lock) => `${lock.fencingToken} ${lock.held}`), '1 true')
  t.match(await locks.status('a'), { isLocked: false })
  const own = new Error('my own')
  await t.rejects(locks.withLock('a', { ttlSeconds: null }, () => Promise.reject(own)), own)
  t.match(await locks.status('a'), { isLocked: false })
  await t.rejects(
    locks.withLock('a', async ({ lockId }) => {
      await locks.forceRelease('a', 'a test', { lockId })
      throw own
    }),
    own,
    'also when the lock is lost'
  )
  await t.rejects(
    locks.withLock('a', () => locks.forceRelease('a', 'a test')),
    { name: 'LockLostError', resourceName: 'a', reason: 'released' },
    'work that succeeded without the lock is not taken for exclusive'
  )
  const held = await locks.acquire('b')
  await t.rejects(locks.withLock('b', { waitSeconds: 0 }, () => 'never'), LockNotAcquiredError)
  await held.release()
})

onEachClient(t, '`await using` lets go at the end of the block', async (t, { locks }) => {
  {
    await using lock = await locks.acquire('a')
    t.ok(lock.held)
  }
  t.match(await locks.status('a'), { isLocked: false })
})

onEachClient(t, 'the plain calls say what they find', async (t, { locks, connect }) => {
  await locks.acquire('x/1', { ttlSeconds: 60 })
  await connect({ processId: 'other' }).acquire('x/2', { ttlSeconds: null, metadata: { why: 'test' } })
  t.match(await locks.status('x/1'), { isLocked: true, lockedBy: 'me', lockId: 1, fencingToken: 1, remainingSeconds: 60, waiters: 0 })
  t.match(await locks.status('free'), { isLocked: false, lockedBy: null, lockedAt: null, expiresAt: null, lockId: null })
  const page = await locks.list({ prefix: 'x/', limit: 1 })
  t.match(page, { totalLocks: 2, locks: [{ resourceName: 'x/1' }], nextCursor: String })
  t.match(await locks.list({ prefix: 'x/', cursor: page.nextCursor ?? '' }), {
    locks: [{ resourceName: 'x/2', processId: 'other', expiresAt: null, metadata: { why: 'test' } }],
    nextCursor: null
  })
  t.match(await locks.renew({ resourceName: 'x/1', processId: 'me', lockId: 1 }, 90), { kind: 'renewed', grant: { lockId: 1 } })
  t.match(await locks.renew({ resourceName: 'x/1', processId: 'other' }), { kind: 'not-held', reason: 'held_by_other' })
  t.match(await locks.release({ resourceName: 'x/1', processId: 'me' }), { kind: 'released', releasedAt: Date })
  t.match(await locks.release({ resourceName: 'x/1', processId: 'me' }), { kind: 'not-held', reason: 'released' })
  t.match(await locks.forceRelease('x/2', 'why not', { lockId: 99 }), { kind: 'changed' })
  t.match(await locks.forceRelease('x/2', 'why not'), { kind: 'released', grant: { processId: 'other', expiresAt: null } })
  t.match(await locks.forceRelease('x/2', 'why not'), { kind: 'not-held', reason: 'released' })
  const { events } = await locks.history({ resourceName: 'x/2', limit: 10 })
  t.match(events, [{ event: 'force_released', reason: 'why not', at: Date }, { event: 'granted', processId: 'other', lockId: Number, reason: null }])
  t.match(await locks.stats(), { held: 0, waiters: 0, grants: 2, releases: 1, renewals: 1, forcedReleases: 1, topContended: [] })
  t.match(await locks.health(), { healthy: true, service: 'Resource Lock Manager', database: 'connected' })
})

onEachClient(t, 'a call that the service refuses says why, and is not repeated', async (t, { locks }) => {
  await t.rejects(locks.tryAcquire(''), { name: 'LockRequestError', status: 422, code: 'INVALID_REQUEST', detail: [{ loc: ['body', 'resource_name'] }] })
  await t.rejects(locks.tryAcquire('a', { metadata: { text: 'x'.repeat(5000) } }), LockRequestError)
  for (const seconds of [-1, 0, Number.NaN, Infinity]) await t.rejects(locks.tryAcquire('a', seconds), RangeError)
  await t.rejects(locks.acquire('a', { waitSeconds: Number.NaN }), RangeError)
  await t.rejects(locks.status('\u0007'), { name: 'LockRequestError', status: 422 })
  await t.rejects(locks.list({ cursor: '!' }), { name: 'LockRequestError', detail: [{ loc: ['query', 'cursor'] }] })
  const lock = await locks.acquire('a')
  await t.rejects(lock.renew(0), RangeError)
  await lock.release()
  await t.rejects(lock.renew(), LockLostError)
})
