import { once } from 'node:events'
import { createServer } from 'node:http'
import { hostname } from 'node:os'
import t from 'tap'
import { HttpLocks, lockDocument, LockRequestError } from '../../src/client/index.js'
import type { TestApp } from '../support/app.js'
import { onEachClient, withClient } from '../support/client.js'
import { eventually } from '../support/eventually.js'

const make = (options: unknown) => () => new HttpLocks(options as never)

/** A page that tells who listens to it. */
class Page extends EventTarget {
  readonly listeners = new Set<string>()

  override addEventListener(...args: Parameters<EventTarget['addEventListener']>): void {
    this.listeners.add(args[0])
    super.addEventListener(...args)
  }

  override removeEventListener(...args: Parameters<EventTarget['removeEventListener']>): void {
    this.listeners.delete(args[0])
    super.removeEventListener(...args)
  }
}

const waitersOf = async (api: TestApp): Promise<number> =>
  (await api.get<{ data: { waiters: number } }>('/locks/status', { resource_name: 'a' })).body.data.waiters

void t.test('every call gives a service up that does not answer, within the documented time', (t) =>
  withClient('sqlite', async ({ locks, proxy, clock }) => {
    const lock = await locks.acquire('held', { ttlSeconds: null })
    // Parts of the client that are loaded with their first use take no time of its clock.
    await Promise.all([import('../../src/client/rare-calls.js'), import('../../src/client/events.js')])
    void proxy.hold('requests')
    const calls: Record<string, () => Promise<unknown>> = {
      acquire: () => locks.acquire('a'),
      'acquire for a while': () => locks.acquire('a', { waitSeconds: 60, onWaiting: () => undefined }),
      tryAcquire: () => locks.tryAcquire('a'),
      acquireMany: () => locks.acquireMany(['a', 'b']),
      renew: () => lock.renew(),
      status: () => locks.status('a'),
      list: () => locks.list(),
      queue: () => locks.queue('a'),
      history: () => locks.history(),
      stats: () => locks.stats(),
      health: () => locks.health(),
      renewAll: () => locks.renewAll(),
      forceRelease: () => locks.forceRelease('a', 'a test'),
      watch: () => locks.watch({ after: 0 }).next(),
      release: () => lock.release(),
      releaseAll: () => locks.releaseAll()
    }
    for (const [name, call] of Object.entries(calls)) {
      const began = clock.now()
      await t.rejects(clock.drive(call(), 500), { name: 'LockServiceUnavailableError', message: /did not answer: nothing came within \d+ ms/ }, name)
      t.ok(clock.now() - began <= 11_000, `${name} took ${clock.now() - began} ms`)
    }
    proxy.cut()
  })
)

void t.test('a service that fails late and then hangs is given up within the same time', (t) =>
  withClient('sqlite', async ({ connect, clock }) => {
    for (const ask of ['status', 'acquire', 'tryAcquire'] as const) {
      let calls = 0
      const fetch = (): Promise<Response> =>
        new Promise((resolve) => {
          if ((calls += 1) === 1) clock.schedule(6000, () => resolve(Response.json({ detail: 'soon', code: 'DRAINING' }, { status: 503 })))
        })
      const began = clock.now()
      await t.rejects(clock.drive<unknown>(connect({ fetch })[ask]('a'), 500), { name: 'LockServiceUnavailableError', message: /did not answer/ })
      t.equal(calls, 2)
      t.ok(clock.now() - began <= 11_000, `${ask} took ${clock.now() - began} ms`)
    }
  })
)

void t.test('options that cannot be meant are refused, and the right one is named', async (t) => {
  t.throws(make('http://127.0.0.1:8000'), { name: 'TypeError', message: /takes an object of options: url/ })
  t.throws(make({ baseUrl: 'http://127.0.0.1:8000' }), { name: 'TypeError', message: "HttpLocks has no option 'baseUrl'; did you mean 'url'?" })
  t.throws(make({ timeout: 5 }), { name: 'TypeError', message: /did you mean 'timeoutSeconds'/ })
  for (const url of ['localhost:8000', 'ftp://host', 'nonsense', '']) t.throws(make({ url }), { name: 'TypeError', message: /begins with http:\/\/ or https:\/\// }, url)
  t.throws(make({ url: 'http://user:secret@host' }), { name: 'TypeError', message: /^(?!.*secret)/ })
  t.throws(make({ apiKey: 'secret\n' }), { name: 'TypeError', message: /^(?!.*secret)/ })
  for (const timeoutSeconds of [0, -1, Infinity, Number.NaN, 2_592_000]) t.throws(make({ timeoutSeconds }), RangeError, String(timeoutSeconds))
  t.throws(make({ retrySeconds: -1 }), RangeError)
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as { port: number }
  server.close()
  await once(server, 'close')
  const locks = new HttpLocks({ url: `http://127.0.0.1:${port}`, retrySeconds: 0, timeoutSeconds: 86_400 })
  await t.rejects(locks.acquire('a', { ttl: 30 } as never), { name: 'TypeError', message: "acquire has no option 'ttl'; did you mean 'ttlSeconds'?" })
  await t.rejects(locks.tryAcquire('a', '30' as never), { name: 'TypeError' })
  const circle: Record<string, unknown> = {}
  circle['itself'] = circle
  for (const metadata of [circle, { big: 1n }]) await t.rejects(locks.acquire('a', { metadata }), { name: /TypeError|RangeError/ }, 'what no JSON can say')
  await t.rejects(locks.status('a'), { name: 'LockServiceUnavailableError', message: /at http:\/\/127\.0\.0\.1:\d+\/ did not answer: nothing listens there \(ECONNREFUSED\)/ })
  t.ok(locks.processId.startsWith(`${hostname()}/${process.pid}/`))
})

void t.test('a redirect is refused, since it would turn one call into another', async (t) => {
  const asked: string[] = []
  const server = createServer((request, response) => {
    asked.push(`${request.method} ${request.url}`)
    response.writeHead(302, { location: 'https://elsewhere.example/' }).end()
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  const { port } = server.address() as { port: number }
  const locks = new HttpLocks({ url: `http://127.0.0.1:${port}` })
  const refusal = { name: 'LockRequestError', code: 'REDIRECTED', message: /redirects to https:\/\/elsewhere\.example\// }
  await t.rejects(locks.acquire('a'), refusal)
  await t.rejects(locks.watch({ after: 1 }).next(), refusal)
  t.strictSame(asked, ['POST /locks/request', 'GET /locks/watch'])
})

onEachClient(t, 'a grant that nobody heard of is taken up by its request id, also by another process', async (t, { locks, proxy, clock, connect, api }) => {
  const held = proxy.hold('answers')
  const asking = locks.acquire('a', { ttlSeconds: null, metadata: { job: 7 } })
  await held
  const error = await clock.drive(asking.catch((error: unknown) => error as { requestId: string; processId: string }))
  t.match(error, { name: 'LockServiceUnavailableError', outcomeUnknown: true, requestId: /^[0-9a-f]{32}$/, processId: 'me' })
  proxy.cut()
  const { requestId, processId } = error as { requestId: string; processId: string }
  const restarted = connect({ processId })
  await t.rejects(clock.drive(restarted.acquire('a', { ttlSeconds: 5, requestId }), 5), { name: 'LockRequestError', code: 'REQUEST_ID_REUSED' })
  const lock = await clock.drive(restarted.acquire('a', { ttlSeconds: null, metadata: { job: 7 }, requestId }), 5)
  t.match(lock, { lockId: 1, held: true, remainingMs: Infinity })
  await lock.release()
  t.match((await api.get('/locks/stats')).body, { data: { grants: 1 } })
})

onEachClient(t, 'a client that throws while it waits leaves the queue', async (t, { api, locks, connect }) => {
  const lock = await locks.acquire('a', { autoRenew: false })
  const own = new Error('my own')
  const waiting = connect({ processId: 'other' }).acquire('a', {
    onWaiting: () => {
      throw own
    }
  })
  await t.rejects(waiting, own)
  await eventually('the line to be empty', async () => ((await waitersOf(api)) === 0 ? true : undefined))
  await lock.release()
  t.match(await locks.tryAcquire('a'), { held: true })
})

void t.test('withLock inside of itself throws at once, or works under the lock that it has', (t) =>
  withClient('sqlite', async ({ locks, connect }) => {
    const again = () => locks.withLock('a', { reentrant: true }, ({ fencingToken }) => fencingToken)
    const tokens = await locks.withLock('a', async ({ fencingToken }) => {
      await t.rejects(locks.withLock('a', () => 'never'), { name: 'LockReentryError', resourceName: 'a' })
      await t.rejects(connect({ processId: 'other' }).withLock('a', { waitSeconds: 0 }, () => 'never'), { name: 'LockNotAcquiredError' })
      return [fencingToken, await again(), await locks.withLock('b', again)]
    })
    t.equal(new Set(tokens).size, 1)
    t.equal(await locks.withLock('a', () => 'free again'), 'free again')
  })
)

onEachClient(t, 'several locks are held by one object, all or none, and lost together', async (t, { locks, connect, api, advance }) => {
  const set = await locks.acquireMany(['x', 'y', 'z'], { ttlSeconds: 10, metadata: { why: 'test' } })
  t.match(set, { processId: 'me', held: true, remainingMs: 9000, locks: [{ resourceName: 'x', lockId: 1 }, { resourceName: 'y', fencingToken: 2 }, { resourceName: 'z' }] })
  t.equal(set.fencingTokenOf('y'), 2)
  t.equal(await connect().tryAcquireMany(['w', 'z']), undefined)
  await t.rejects(connect().acquireMany(['w', 'z'], { waitSeconds: 0 }), { name: 'LockNotAcquiredError', resourceName: 'z' })
  await set.renew(60)
  t.equal(set.remainingMs, 58_000)
  await api.post('/locks/force-release', { resource_name: 'y', reason: 'a test' })
  await advance(20_100)
  await eventually('the loss', async () => set.loss)
  t.match(set, { held: false, loss: { resourceName: 'y' } })
  await set.release()
  await eventually('the others', async () => ((await locks.list()).totalLocks === 0 ? true : undefined))
  await using next = await locks.acquireMany(['x', 'y'])
  t.equal(next.held, true)
  await t.rejects(locks.acquireMany([]), LockRequestError)
})

void t.test('all locks of a process are renewed and released together, and a queue can be seen', (t) =>
  withClient('sqlite', async ({ locks, connect, api }) => {
    const lock = await locks.acquire('a', { ttlSeconds: 10 })
    await locks.acquire('b', { ttlSeconds: 10 })
    t.match(await locks.renewAll({ ttlSeconds: 100 }), [{ resourceName: 'a', lockId: 1, expiresAt: Date, renewedAt: Date }, { resourceName: 'b' }])
    const leaving = new AbortController()
    const waiting = connect({ processId: 'other' }).acquire('a', { signal: leaving.signal })
    await eventually('the place', async () => ((await waitersOf(api)) === 1 ? true : undefined))
    t.match(await locks.queue('a'), { resourceName: 'a', totalWaiters: 1, waiters: [{ position: 1, processId: 'other', waitingSince: Date, keptUntil: null }] })
    leaving.abort()
    await t.rejects(waiting)
    t.match(await locks.releaseAll(), [{ resourceName: 'a' }, { resourceName: 'b' }])
    t.match(lock, { held: false, loss: undefined })
    t.match(await locks.list(), { totalLocks: 0 })
  })
)

void t.test('a watcher that saw nothing yet misses nothing when its first connection is cut', (t) =>
  withClient('sqlite', async ({ locks, proxy, clock, api }) => {
    const seen: string[] = []
    const leaving = new AbortController()
    let connections = 0
    api.app.server.on('request', ({ url = '' }) => (connections += url.startsWith('/locks/watch') ? 1 : 0))
    const watching = (async () => {
      for await (const { event, resourceName } of locks.watch({ signal: leaving.signal })) seen.push(`${event} ${resourceName}`)
    })()
    await eventually('the connection', async () => (connections === 1 ? true : undefined))
    proxy.cut()
    await api.post('/locks/request', { resource_name: 'a', process_id: 'p' })
    await eventually('what happened meanwhile', async () => {
      clock.advance(50)
      return seen[0]
    })
    t.strictSame(seen, ['granted a'])
    leaving.abort()
    await watching
  })
)

void t.test('a page that was left and is shown again has lost its document; one that let it go is not listened to', (t) =>
  withClient('sqlite', async ({ locks, api }) => {
    const page = new Page()
    const { listeners } = page
    const released = await lockDocument(locks, '7', { userId: 'ann', page })
    await released.release()
    await eventually('no listener', async () => (listeners.size === 0 ? true : undefined))

    const lock = await lockDocument(locks, '7', { userId: 'ann', page, onReturn: () => returns.push('returned') })
    const returns: string[] = []
    lock.signal.addEventListener('abort', () => returns.push(String(lock.signal.reason)))
    page.dispatchEvent(new Event('pagehide'))
    await eventually('the release', async () => ((await locks.status('doc-lock:7')).isLocked ? undefined : true))
    t.strictSame(returns, [])
    page.dispatchEvent(Object.assign(new Event('pageshow'), { persisted: true }))
    t.match(returns, [/^LockLostError/, 'returned'])
    t.match(lock, { held: false, loss: { reason: 'released' } })
    t.notOk(listeners.has('pageshow'))
    t.match((await api.get('/locks/stats')).body, { data: { releases: 2 } })
  })
)
