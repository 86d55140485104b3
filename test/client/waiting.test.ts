import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { HttpLocks, type Conflict } from '../../src/client/index.js'
import type { TestApp } from '../support/app.js'
import { onEachClient } from '../support/client.js'
import { eventually } from '../support/eventually.js'

const waitersOf = async (api: TestApp, name = 'a'): Promise<number> =>
  (await api.get<{ data: { waiters: number } }>('/locks/status', { resource_name: name })).body.data.waiters

/** The calls to take a lock that the service has seen so far. */
function seenBy(api: TestApp): string[] {
  const bodies: string[] = []
  api.app.server.on('request', (request) => {
    if (request.url !== '/locks/request') return
    let body = ''
    request.on('data', (chunk: Buffer) => (body += chunk.toString()))
    request.on('end', () => bodies.push(body))
  })
  return bodies
}

onEachClient(
  t,
  'a wait that is longer than one call may be takes several, and keeps its place',
  async (t, { api, locks, proxy }) => {
    const bodies = seenBy(api)
    const first = await locks.acquire('a')
    // In real time, as the service waits.
    const patient = new HttpLocks({ url: proxy.through('http://127.0.0.1'), processId: 'patient' })
    const waiting = patient.acquire('a')
    await eventually('the first place', async () => ((await waitersOf(api)) === 1 ? true : undefined))
    const behind = new HttpLocks({ url: proxy.through('http://127.0.0.1'), processId: 'behind' }).acquire('a')
    await eventually('more than one call each', async () => (bodies.filter((body) => body.includes('"wait_seconds":0.625')).length >= 5 ? true : undefined))
    t.equal(await waitersOf(api), 2)
    await first.release()
    const lock = await waiting
    t.equal(lock.processId, 'patient', 'first come, first served')
    const ids = bodies.filter((body) => body.includes('patient')).map((body) => (JSON.parse(body) as { request_id: string }).request_id)
    t.equal(new Set(ids).size, 1)
    t.match(bodies.find((body) => body.includes('patient')), '"wait_seconds":5,', 'a service that waits is not taken for one that hangs')
    await lock.release()
    await (await behind).release()
  },
  // 5, 2.5, 1.25, … until the service agrees.
  { service: { maxWaitSeconds: 0.8 } }
)

onEachClient(t, 'an unsuccessful wait says who has the lock, and the place that was reached', async (t, { api, locks, proxy }) => {
  const lock = await locks.acquire('a')
  const other = new HttpLocks({ url: proxy.through('http://127.0.0.1') })
  await t.rejects(other.acquire('a', { waitSeconds: 0.05 }), {
    name: 'LockNotAcquiredError',
    message: "Resource 'a' is locked by process 'me'",
    conflict: { lockedBy: 'me', lockId: 1, queuePosition: 1 }
  })
  await lock.release()
  t.match(await api.post('/locks/request', { resource_name: 'a', process_id: 'next' }), { status: 200 }, 'nothing is kept for who has given up')
})

onEachClient(t, 'a client that stops waiting leaves the queue and is never left holding the lock', async (t, { api, locks, proxy }) => {
  const lock = await locks.acquire('a')
  const other = new HttpLocks({ url: proxy.through('http://127.0.0.1'), processId: 'other' })
  const stopping = new AbortController()
  const waiting = other.acquire('a', { signal: stopping.signal })
  await eventually('the place', async () => ((await waitersOf(api)) === 1 ? true : undefined))
  const reason = new Error('changed my mind')
  stopping.abort(reason)
  await t.rejects(waiting, reason)
  await eventually('the line to be empty', async () => ((await waitersOf(api)) === 0 ? true : undefined))
  await lock.release()
  await t.rejects(other.tryAcquire('a', { signal: stopping.signal }), reason, 'nothing is even sent')
  t.match(await locks.status('a'), { isLocked: false })
})

onEachClient(t, 'a lock that was granted just as its caller stopped is given back', async (t, { api, locks, proxy }) => {
  const other = new HttpLocks({ url: proxy.through('http://127.0.0.1'), processId: 'other' })
  const isLocked = async (): Promise<boolean> => {
    const { body } = await api.get<{ data: { is_locked: boolean } }>('/locks/status', { resource_name: 'a' })
    return body.data.is_locked
  }
  for (const ask of ['acquire', 'tryAcquire'] as const) {
    const stopping = new AbortController()
    const held = proxy.hold('answers')
    const asking = other[ask]('a', { signal: stopping.signal })
    await held
    // What was held back may have been the answer to the release before.
    await eventually('the grant', async () => (await isLocked()) || undefined)
    stopping.abort()
    await t.rejects(asking, { name: 'AbortError' })
    proxy.cut()
    await eventually('the lock to be free', async () => ((await isLocked()) ? undefined : true))
  }
  t.match(await locks.tryAcquire('a'), { held: true })
})

onEachClient(t, 'a lease that began unseen during a wait is renewed before it is handed out', async (t, { api, locks, connect, advance, clock }) => {
  const lock = await locks.acquire('a')
  const waiting = connect({ processId: 'other' }).acquire('a', { ttlSeconds: 20, autoRenew: false })
  await eventually('the place', async () => ((await waitersOf(api)) === 1 ? true : undefined))
  await advance(9000)
  await lock.release()
  const next = await waiting
  t.equal(next.remainingMs, 18_000, 'counted from the renewal, not from the request')
  t.match((await api.get('/locks/stats')).body, { data: { renewals: 1 } })
  await next.release()
  t.equal(clock.pending, 0)
})

onEachClient(t, 'waiting goes on across a restart of the service', async (t, { api, locks, connect, proxy, clock }) => {
  const lock = await locks.acquire('a', { ttlSeconds: null, autoRenew: false })
  const heard: Conflict[] = []
  const waiting = connect({ processId: 'other' }).acquire('a', { onWaiting: (conflict) => void heard.push(conflict) })
  await eventually('the place', async () => ((await waitersOf(api)) === 1 ? true : undefined))
  const [held] = await Promise.all([proxy.hold('requests'), sleep(700)])
  t.equal(held, undefined)
  proxy.cut()
  await eventually('the place again', async () => {
    clock.advance(100)
    return heard.length > 0 && (await waitersOf(api)) === 1 ? true : undefined
  })
  await lock.release()
  const next = await clock.drive(waiting)
  t.equal(next.processId, 'other')
  await next.release()
})

void t.test('a signal that fired before stops everything', async (t) => {
  const locks = new HttpLocks({ url: 'http://127.0.0.1:1' })
  await t.rejects(locks.acquire('a', { signal: AbortSignal.abort() }), { name: 'AbortError' })
})
