import t from 'tap'
import { HttpLocks, type LockLostError } from '../../src/client/index.js'
import type { TestApp } from '../support/app.js'
import { onEachClient, withClient, type ClientBench } from '../support/client.js'
import { eventually } from '../support/eventually.js'

/** The calls to paths that begin with this, as the service sees them. */
function callsTo(api: TestApp, path: string): { readonly count: number } {
  const calls = { count: 0 }
  api.app.server.on('request', ({ url = '' }) => (calls.count += url.startsWith(path) ? 1 : 0))
  return calls
}

const take = (api: TestApp, process: string) => api.post('/locks/request', { resource_name: 'a', process_id: process })

/** Moves the clock until locks are listened for, and waits until they are. */
async function listening({ api, clock }: ClientBench): Promise<void> {
  const streams = callsTo(api, '/locks/watch')
  clock.advance(1100)
  await eventually('the stream', async () => (streams.count > 0 ? true : undefined))
}

onEachClient(t, 'a release whose answer is lost is no loss, also when another process has the lock by then', async (t, { api, locks, proxy, clock }) => {
  const lock = await locks.acquire('a')
  const held = proxy.hold('answers')
  const releasing = lock.release()
  await held
  await eventually('the next holder', async () => ((await take(api, 'next')).status === 200 ? true : undefined))
  proxy.cut()
  await clock.drive(releasing, 5)
  t.equal(lock.loss, undefined)
  t.match(await locks.release(lock), { kind: 'not-held', reason: 'held_by_other', repeated: false, releasedAt: Date }, 'as for a proxy that repeats')
})

onEachClient(t, 'a lock that was taken away before its release is lost, also where the answer to that is lost', async (t, { api, locks, proxy, clock }) => {
  const lock = await locks.acquire('a')
  await api.post('/locks/force-release', { resource_name: 'a', reason: 'a test' })
  const held = proxy.hold('answers')
  const releasing = lock.release()
  await held
  proxy.cut()
  await clock.drive(releasing, 5)
  t.match(lock.loss, { reason: 'released' })
})

onEachClient(t, 'a lock that is held for longer than a second hears at once that it was taken away', async (t, bench) => {
  const { api, locks, clock } = bench
  const lock = await locks.acquire('a', { ttlSeconds: 300 })
  const other = await locks.acquire('b', { ttlSeconds: 300 })
  await listening(bench)
  await api.post('/locks/force-release', { resource_name: 'a', reason: 'a test' })
  const loss = await eventually('the loss', async (): Promise<LockLostError | undefined> => lock.loss)
  t.match(loss, { name: 'LockLostError', lockId: 1, reason: 'released' })
  t.equal(lock.signal.aborted, true)
  t.equal(other.held, true)
  await other.release()
  t.equal(clock.pending, 0, 'the stream ends with the last lock')
  await eventually('no stream', async () => {
    const open = await new Promise<number>((resolve) => api.app.server.getConnections((_error, count) => resolve(count)))
    return open <= 2 ? true : undefined
  })
})

void t.test('what was taken away before anybody listened is heard of when somebody does, and across cut connections', (t) =>
  withClient('sqlite', async (bench) => {
    const { api, locks, clock, proxy } = bench
    const early = await locks.acquire('a', { ttlSeconds: 300 })
    const late = await locks.acquire('b', { ttlSeconds: 300 })
    await api.post('/locks/force-release', { resource_name: 'a', reason: 'a test' })
    await listening(bench)
    await eventually('the first loss', async () => early.loss)
    t.equal(late.held, true)
    proxy.cut()
    await api.post('/locks/force-release', { resource_name: 'b', reason: 'a test' })
    await eventually('the second loss', async () => {
      clock.advance(50)
      return late.loss
    })
  })
)

void t.test('a key that may not read leaves it to the renewals', (t) =>
  withClient('sqlite', async ({ api, connect, clock, advance }) => {
    const refused: string[] = []
    const fetch = (url: string | URL | Request, init?: RequestInit): Promise<Response> => {
      const { pathname } = new URL(url instanceof Request ? url.url : url)
      if (!/history|watch/.test(pathname)) return globalThis.fetch(url, init)
      refused.push(pathname)
      return Promise.resolve(Response.json({ detail: 'no', code: 'FORBIDDEN' }, { status: 403 }))
    }
    const lock = await connect({ fetch }).acquire('a', { ttlSeconds: 10 })
    await advance(1100)
    await eventually('the try', async () => refused[0])
    await advance(2300)
    await eventually('a renewal', async () => ((await api.get<{ data: { renewals: number } }>('/locks/stats')).body.data.renewals === 1 ? true : undefined))
    t.equal(lock.held, true)
    t.strictSame(refused, ['/locks/history'], 'it is not tried again')
    await lock.release()
    t.equal(clock.pending, 0)
  })
)

void t.test('many locks are renewed together in few calls', (t) => withClient('sqlite', async ({ api, connect, advance, clock }) => {
  // Each is due at a time of its own.
  let draws = 0
  const locks = connect({ random: () => (draws++ % 60) / 60 })
  const held = await Promise.all(Array.from({ length: 60 }, (_, index) => locks.acquire(`many/${index}`, { ttlSeconds: 10 })))
  const calls = callsTo(api, '/locks/renew')
  for (let step = 0; step < 20; step += 1) {
    await advance(200)
    // Each call is answered before the next tick.
    await eventually('the answers', async () => (held.every((lock) => lock.held) ? true : undefined))
  }
  await eventually('all renewals', async () => ((await api.get<{ data: { renewals: number } }>('/locks/stats')).body.data.renewals >= 60 ? true : undefined))
  t.ok(calls.count <= 4, `${calls.count} calls`)
  await Promise.all(held.map((lock) => lock.release()))
  t.equal(clock.pending, 0)
}))

void t.test('clients that began together do not renew together', (t) =>
  withClient('sqlite', async ({ api, connect, advance }) => {
    const renewals = async (): Promise<number> => (await api.get<{ data: { renewals: number } }>('/locks/stats')).body.data.renewals
    // The renewals are spread around a third of the lease.
    const [early, late] = [connect({ random: () => 0, listen: false }), connect({ random: () => 1, listen: false })]
    const first = await early.acquire('a', { ttlSeconds: 30 })
    const second = await late.acquire('b', { ttlSeconds: 30 })
    const ends = second.expiresAt?.getTime()
    await advance(9000)
    await eventually('the early renewal', async () => ((await renewals()) === 1 ? true : undefined))
    t.equal(second.expiresAt?.getTime(), ends)
    await advance(4000)
    await eventually('the late renewal', async () => ((await renewals()) === 2 ? true : undefined))
    await Promise.all([first.release(), second.release()])
  })
)

void t.test('a lease of a second is given up four tenths of a second before it can end', (t) =>
  withClient('sqlite', async ({ locks }) => {
    const margins: number[] = []
    for (const ttlSeconds of [0.3, 1, 2, 5, 10, 30]) {
      const lock = await locks.acquire('a', { ttlSeconds, autoRenew: false })
      margins.push(Math.round(ttlSeconds * 1000 - lock.remainingMs))
      await lock.release()
    }
    t.strictSame(margins, [120, 400, 500, 500, 1000, 2000])
  })
)

void t.test('a lease that is over before it is heard of is asked for twice at most', async (t) => {
  await withClient('sqlite', async ({ api, proxy }) => {
    // In real time: the way there and back takes longer than the lease.
    const asked = callsTo(api, '/locks/request')
    const locks = new HttpLocks({ url: proxy.through('http://127.0.0.1') })
    proxy.slow(150)
    const tooShort = { name: 'LockServiceUnavailableError', code: 'LEASE_TOO_SHORT', message: /A lease of 0.2 s .* longer ttlSeconds/ }
    await t.rejects(locks.tryAcquire('a', { ttlSeconds: 0.2 }), tooShort)
    t.equal(asked.count, 2)
    await t.rejects(locks.acquire('a', { ttlSeconds: 0.2, waitSeconds: 5 }), tooShort)
    t.equal(asked.count, 4)
  })
})

void t.test('the promise of the loss of a lock resolves with it, and with its release', (t) =>
  withClient('sqlite', async ({ locks, advance, clock }) => {
    const lock = await locks.acquire('a', { ttlSeconds: 10, autoRenew: false })
    const before = clock.pending
    const { lost } = lock
    t.equal(clock.pending, before + 1, 'a timer keeps the process alive')
    await advance(9000)
    t.match(await lost, { reason: 'unconfirmed' })
    const next = await locks.acquire('b')
    const released = next.lost
    await next.release()
    t.equal(await released, undefined)
    t.equal(clock.pending, 0)
  })
)

void t.test('a lock that was forgotten is no longer renewed; one whose signal somebody keeps is', (t) =>
  withClient('sqlite', async ({ locks, advance, clock, api }) => {
    const collect = await garbageCollector()
    const renewals = async (): Promise<number> => (await api.get<{ data: { renewals: number } }>('/locks/stats')).body.data.renewals
    const forget = async (): Promise<AbortSignal> => {
      await locks.acquire('forgotten', { ttlSeconds: 10 })
      return (await locks.acquire('kept', { ttlSeconds: 10 })).signal
    }
    const signal = await forget()
    await eventually('the collection', async () => {
      collect()
      await new Promise((resolve) => setTimeout(resolve, 1))
      const before = await renewals()
      await advance(3400)
      const after = await eventually('a renewal', async () => ((await renewals()) > before ? await renewals() : undefined))
      return after === before + 1 && !(await locks.status('forgotten')).isLocked ? true : undefined
    })
    t.equal(signal.aborted, false)
    t.match(await locks.status('kept'), { isLocked: true })
    await locks.releaseAll()
    t.equal(clock.pending, 0)
  })
)

async function garbageCollector(): Promise<() => void> {
  const { setFlagsFromString } = await import('node:v8')
  const { runInNewContext } = await import('node:vm')
  setFlagsFromString('--expose-gc')
  return runInNewContext('gc') as () => void
}
