import t from 'tap'
import { LockRequestError, LockServiceUnavailableError } from '../../src/client/index.js'
import { onEachClient, withClient } from '../support/client.js'
import { eventually } from '../support/eventually.js'

onEachClient(t, 'a request whose answer is lost is repeated, and granted once', async (t, { locks, proxy, clock }) => {
  await locks.health()
  const held = proxy.hold('answers')
  const asking = locks.tryAcquire('a', { ttlSeconds: 60, autoRenew: false })
  await held
  const before = clock.now()
  clock.advance(300)
  proxy.cut()
  const lock = await clock.drive(asking, 5)
  t.match(lock, { lockId: 1, held: true })
  t.match(await locks.stats(), { grants: 1, held: 1 })
  t.ok(lock !== undefined && lock.remainingMs + (clock.now() - before) <= 58_000, 'the lease counts from the first try')
  await lock?.release()
})

onEachClient(t, 'a request that never arrived is repeated', async (t, { locks, proxy, clock }) => {
  const held = proxy.hold('requests')
  const asking = locks.acquire('a')
  await held
  proxy.cut()
  const lock = await clock.drive(asking, 5)
  t.equal(lock.held, true)
  await lock.release()
})

onEachClient(t, 'a release whose answer is lost is repeated, and no loss', async (t, { locks, proxy, clock }) => {
  const lock = await locks.acquire('a')
  const held = proxy.hold('answers')
  const releasing = lock.release()
  await held
  proxy.cut()
  await clock.drive(releasing, 5)
  t.match(await locks.status('a'), { isLocked: false })
  t.equal(lock.loss, undefined)
})

onEachClient(t, 'a service that stays away is said to be away, neither locked nor free', async (t, { locks, api, clock }) => {
  const lock = await locks.acquire('a')
  await api.app.close()
  const error: unknown = await clock.drive(locks.tryAcquire('b')).catch((error: unknown) => error)
  t.ok(error instanceof LockServiceUnavailableError)
  t.match(error, { outcomeUnknown: true, status: undefined, code: undefined })
  await t.rejects(clock.drive(locks.status('a')), LockServiceUnavailableError)
  await t.rejects(clock.drive(lock.release()), LockServiceUnavailableError)
  t.equal(lock.held, false)
})

onEachClient(t, 'while the service is away a lock is kept as long as its lease goes on, and then is lost', async (t, { locks, proxy, clock, api }) => {
  const lock = await locks.acquire('a', { ttlSeconds: 10 })
  const cutting = proxy.hold('requests')
  clock.advance(3400)
  await cutting
  proxy.cut()
  await eventually('a renewal by another connection', async () => {
    clock.advance(200)
    return (await api.get<{ data: { renewals: number } }>('/locks/stats')).body.data.renewals === 1 ? true : undefined
  })
  t.ok(lock.held)

  void proxy.hold('requests')
  for (let step = 0; step < 120 && !lock.signal.aborted; step += 1) {
    clock.advance(100)
    await new Promise((resolve) => setTimeout(resolve, 1))
  }
  t.match(lock.loss, { reason: 'unconfirmed' })
  await lock.release()
  t.equal(lock.held, false, 'nobody waits for a service that is away')
  proxy.cut()
})

onEachClient(t, 'the error of the work goes before that of the release', async (t, { locks, proxy, clock }) => {
  const own = new Error('my own')
  /** While the lock is requested, the clock does not outrun a slow machine. */
  const workUnder = async (name: string, end: () => string): Promise<string> => {
    const began = new Promise<{ outcome: Promise<string> }>((resolve) => {
      const outcome = locks.withLock(name, () => {
        void proxy.hold('requests')
        resolve({ outcome })
        return end()
      })
    })
    const { outcome } = await clock.drive(began, 2)
    return clock.drive(outcome, 500)
  }
  await t.rejects(
    workUnder('a', () => {
      throw own
    }),
    own
  )
  proxy.cut()
  t.equal(await workUnder('b', () => 'the result'), 'the result', 'work that succeeded under the lock has succeeded, whatever comes of the release')
  proxy.cut()
})

void t.test('what is not the service is not taken for it', async (t) => {
  const answers: Response[] = [
    new Response('<html>', { status: 200 }),
    new Response('{"error":"no"}', { status: 404 }),
    new Response('gateway', { status: 502 }),
    new Response('{}', { status: 409 })
  ]
  const seen: string[] = []
  const fetch = (url: string | URL | Request, init?: RequestInit): Promise<Response> => {
    seen.push(`${JSON.stringify(init?.headers)} ${new Request(url).url}`)
    const answer = answers.shift()
    return answer === undefined ? Promise.resolve(Response.json({ detail: 'no', code: 'UNAUTHORIZED' }, { status: 401 })) : Promise.resolve(answer)
  }
  await withClient(
    'sqlite',
    async ({ locks, clock }) => {
      await t.rejects(clock.drive(locks.status('a')), { name: 'LockRequestError', status: 401, code: 'UNAUTHORIZED', message: 'UNAUTHORIZED: no' })
      t.equal(seen.length, 5)
      t.equal(seen[0], '{"authorization":"Bearer secret"} http://service.example/below/locks/status?resource_name=a')
      await t.rejects(locks.acquire('a'), LockRequestError)
    },
    { client: { fetch, apiKey: 'secret', url: 'http://service.example/below' } }
  )
})
