import t from 'tap'
import { onEachClient } from '../support/client.js'
import { eventually } from '../support/eventually.js'

onEachClient(t, 'a release may keep everybody out, and a lock may be held at least for a while', async (t, { locks, advance }) => {
  const lock = await locks.acquire('a', { ttlSeconds: 60 })
  await lock.release({ keepSeconds: 30 })
  t.match(await locks.status('a'), { isLocked: true, kept: true, lockedBy: 'me', remainingSeconds: 30 })
  t.equal(await locks.tryAcquire('a'), undefined)
  await t.rejects(locks.acquire('a', { waitSeconds: 0 }), { name: 'LockNotAcquiredError', conflict: { kept: true, retryAfterSeconds: 30 } })
  await advance(30_000)
  const next = await locks.acquire('a', { ttlSeconds: 60, holdAtLeastSeconds: 20, lockDelaySeconds: 5 })
  await next.release()
  t.match(await locks.status('a'), { kept: true, remainingSeconds: 20 })
  t.match(await locks.forceRelease('a', 'a test'), { kind: 'released' })
  const last = await locks.acquire('a', { ttlSeconds: 60, lockDelaySeconds: 5 })
  t.match(await locks.forceRelease('a', 'a test', { lockId: last.lockId, lockDelay: false }), { kind: 'released' })
  t.match(await locks.status('a'), { isLocked: false })
})

onEachClient(t, 'the yield signal fires when an operator asks the lock back; it is held until the grace is over', async (t, { locks, advance }) => {
  const lock = await locks.acquire('a', { ttlSeconds: 30 })
  const other = await locks.acquire('b', { ttlSeconds: 30 })
  t.match(await locks.revoke('a', 'node-7 is drained', { graceSeconds: 100, lockId: lock.lockId }), { kind: 'revoked', grant: { lockId: lock.lockId }, revokeAt: Date })
  t.match(await locks.revoke('a', 'why', { graceSeconds: 100, lockId: lock.lockId + 9 }), { kind: 'changed' })
  t.match(await locks.revoke('none', 'why', { graceSeconds: 100 }), { kind: 'not-held', reason: 'not_locked' })
  t.equal(lock.yieldSignal.aborted, false)
  await advance(10_001)
  await eventually('the signal', () => Promise.resolve(lock.yieldSignal.aborted || undefined))
  t.equal(lock.yieldSignal.reason, 'node-7 is drained')
  t.equal(lock.held, true)
  t.equal(lock.signal.aborted, false)
  t.equal(other.yieldSignal.aborted, false)
  await lock.release()
  await other.release()
}, { client: { listen: false } })

onEachClient(t, 'a client that listens hears at once that its lock is asked back', async (t, { locks, clock, advance }) => {
  const lock = await locks.acquire('a', { ttlSeconds: 3600 })
  await advance(1001)
  await clock.drive(locks.revoke('a', 'why', { graceSeconds: 60 }), 5)
  await eventually('the signal', () => {
    clock.advance(100)
    return Promise.resolve(lock.yieldSignal.aborted || undefined)
  })
  await eventually('the end that the renewal told', () => {
    clock.advance(1000)
    return Promise.resolve(lock.remainingMs < 61_000 || undefined)
  })
  t.equal(lock.held, true)
  await lock.release()
})

onEachClient(t, 'a lock yields to those that wait only where it was asked to', async (t, { api, locks, advance }) => {
  const polite = await locks.acquire('a', { ttlSeconds: 30, yieldWhenWaited: true })
  const selfish = await locks.acquire('b', { ttlSeconds: 30 })
  const waiting = ['a', 'b'].map((resource_name) => api.post('/locks/request', { resource_name, process_id: 'w', wait_seconds: 60 }))
  await eventually('two waiters', async () => ((await locks.stats()).waiters === 2 ? true : undefined))
  await advance(9000)
  await eventually('two waiters, after the instance has said again that it lives', async () => ((await locks.stats()).waiters === 2 ? true : undefined))
  await advance(1001)
  await eventually('the signal', () => Promise.resolve(polite.yieldSignal.aborted || undefined))
  await eventually('the renewal of the other', async () => ((await locks.stats()).renewals === 2 ? true : undefined))
  t.equal(selfish.yieldSignal.aborted, false)
  await Promise.all([polite.release(), selfish.release()])
  for (const answer of await Promise.all(waiting)) t.equal(answer.status, 200)
})

onEachClient(t, 'once works in one of several clients, and again in the next period', async (t, { locks, connect, advance }) => {
  const others = [locks, connect({ processId: 'two' }), connect({ processId: 'three' })]
  let runs = 0
  const all = () => Promise.all(others.map((one) => one.once('job', { everySeconds: 3600, ttlSeconds: 60 }, () => (runs += 1))))
  const first = await all()
  t.equal(first.filter(({ ran }) => ran).length, 1)
  t.match(await locks.status('job'), { kept: true, remainingSeconds: 3540 })
  await advance(3_539_000)
  t.notOk((await all()).some(({ ran }) => ran))
  await advance(1000)
  t.same((await all()).flatMap((outcome) => (outcome.ran ? [outcome.result] : [])), [2])
  await advance(3_540_000)
  const fail = (retryFailed: boolean) => locks.once('job', { everySeconds: 3600, retryFailed }, () => Promise.reject(new Error('failed')))
  await t.rejects(fail(true), { message: 'failed' })
  await t.rejects(fail(false), { message: 'failed' })
  t.same(await fail(false), { ran: false })
  await t.rejects(locks.once('job', { everySeconds: 0 }, () => 1), RangeError)
}, { client: { listen: false } })

onEachClient(t, 'observers see nobody lead while the lock of a leader is kept', async (t, { locks }) => {
  const ending = new AbortController()
  const lock = await locks.acquire('a', { ttlSeconds: 60, metadata: { value: 1 } })
  const states = locks.observe('a', { signal: ending.signal })
  t.match(await states.next(), { value: { leader: 'me', value: 1 } })
  await lock.release({ keepSeconds: 60 })
  t.match(await states.next(), { value: undefined, done: false })
  ending.abort()
  t.match(await states.next(), { done: true })
})
