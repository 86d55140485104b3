import t from 'tap'
import { type HttpLocks, LockServiceUnavailableError, WebLocks } from '../../src/client/index.js'
import { eventually } from '../support/eventually.js'
import { onEachClient, withClient } from '../support/client.js'
import { gate, PARTS } from '../support/web-locks-scenario.js'

const addressOf = (url: Parameters<typeof fetch>[0]): string => (url instanceof Request ? url.url : url.toString())

/** Where the types of a browser are known, it is one of its own. */
const asManager = (locks: WebLocks): LockManager => locks

/** Holds a lock until it is let go, or lost. */
function hold(locks: WebLocks, name: string, options: LockOptions = {}) {
  const { open: letGo, opened: until } = gate()
  const { open: granted, opened: holding } = gate()
  const seen: { signal?: AbortSignal } = {}
  const request = locks.request(name, options, async (lock) => {
    if (lock !== null) seen.signal = lock.signal
    granted()
    await until
  })
  const held = Promise.race([holding, request])
  for (const promise of [request, held]) promise.catch(() => undefined)
  return { holding: held, request, letGo, seen }
}

const isFree = async (locks: HttpLocks, name: string): Promise<true | undefined> => {
  const { isLocked, waiters } = await locks.status(name)
  return !isLocked && waiters === 0 ? true : undefined
}

void t.test('what the W3C specification says', async (t) => {
  await withClient('sqlite', async ({ locks }) => {
    const manager = asManager(new WebLocks(locks))
    for (const { title, run, trace } of PARTS) {
      await t.test(title, async (t) => {
        const seen: string[] = []
        await run(manager as unknown as WebLocks, (line) => seen.push(line))
        t.strictSame(seen, trace)
        t.strictSame((await locks.list()).locks, [], 'nothing is left')
      })
    }
  })
})

void t.test('between clients', async (t) => {
  const onClient = (title: string, body: Parameters<typeof onEachClient>[2]): void => onEachClient(t, title, body)

  onClient('two clients exclude each other, first come, first served', async (t, { locks, connect }) => {
    const [mine, yours] = [new WebLocks(locks), new WebLocks(connect({ processId: 'h/1/you' }))]
    const first = hold(mine, 'a')
    await first.holding
    t.equal(await yours.request('a', { ifAvailable: true }, (lock) => lock), null)
    const second = hold(yours, 'a')
    await eventually('it waits', async () => ((await locks.status('a')).waiters === 1 ? true : undefined))
    const third = hold(mine, 'a')
    await eventually('both wait', async () => ((await locks.status('a')).waiters === 2 ? true : undefined))
    t.strictSame(await mine.query(), {
      held: [{ name: 'a', mode: 'exclusive', clientId: 'me' }],
      pending: [{ name: 'a', mode: 'exclusive', clientId: 'h/1/you' }, { name: 'a', mode: 'exclusive', clientId: 'me' }]
    })
    first.letGo()
    await second.holding
    second.letGo()
    await third.holding
    third.letGo()
    await Promise.all([first, second, third].map(({ request }) => request))
    t.ok(await isFree(locks, 'a'))
  })

  onClient('a request that is aborted while it waits leaves nothing behind', async (t, { locks }) => {
    const web = new WebLocks(locks)
    const first = hold(web, 'a')
    await first.holding
    const stop = new AbortController()
    const second = hold(web, 'a', { signal: stop.signal })
    await eventually('it waits', async () => ((await locks.status('a')).waiters === 1 ? true : undefined))
    stop.abort()
    await t.rejects(second.request, { name: 'AbortError' })
    await eventually('its place is gone', async () => ((await locks.status('a')).waiters === 0 ? true : undefined))
    first.letGo()
    await first.request
    t.ok(await eventually('the lock is free', () => isFree(locks, 'a')))
  })

  onClient('a lock that is stolen by another client is lost: its signal fires, then its request rejects', async (t, { api, locks, connect }) => {
    let streams = 0
    api.app.server.on('request', (request) => (streams += request.url === '/locks/watch?process_prefix=me%2F' ? 1 : 0))
    const web = new WebLocks(locks)
    const { holding, request, seen } = hold(web, 'a')
    const others = [hold(web, 'b'), hold(web, 'c')]
    await Promise.all([holding, ...others.map((other) => other.holding)])
    const order: string[] = []
    seen.signal?.addEventListener('abort', () => order.push('signal'))
    request.catch(() => order.push('rejected'))
    await eventually('it listens for all of them, after a second', async () => streams || undefined)
    const thief = new WebLocks(connect({ processId: 'thief' }))
    t.equal(await thief.request('a', { steal: true }, (lock) => lock?.mode), 'exclusive')
    await t.rejects(request, { name: 'AbortError', cause: { name: 'LockLostError' } })
    t.strictSame(order, ['signal', 'rejected'])
    t.match(await locks.history({ resourceName: 'a' }), { events: [{}, {}, { event: 'force_released', reason: 'stolen' }, {}] })
    for (const { letGo } of others) letGo()
    await Promise.all(others.map((other) => other.request))
    t.equal(streams, 1)
  })

  onClient('work that ends after its lock was stolen is told so, though nobody has said it yet', async (t, { locks, connect }) => {
    const { holding, request, letGo } = hold(new WebLocks(locks), 'a')
    await holding
    await new WebLocks(connect({ processId: 'thief' })).request('a', { steal: true }, () => undefined)
    letGo()
    await t.rejects(request, { name: 'AbortError' })
  })

  onClient('a request is not sent before the earlier one of its client has the lock, or its place', async (t, { connect }) => {
    const sent: string[] = []
    const { open, opened } = gate()
    const slow: typeof fetch = async (url, init) => {
      if (addressOf(url).endsWith('/locks/request')) sent.push(init?.body as string)
      if (sent.length === 1) await opened
      return fetch(url, init)
    }
    const web = new WebLocks(connect({ processId: 'me', fetch: slow }))
    const [first, second] = [hold(web, 'a'), hold(web, 'a')]
    const other = hold(web, 'b')
    await eventually('another name is asked for', async () => (sent.some((body) => body.includes('"b"')) ? true : undefined))
    t.equal(sent.filter((body) => body.includes('"a"')).length, 1)
    open()
    await first.holding
    await eventually('the second one is asked for', async () => (sent.filter((body) => body.includes('"a"')).length > 1 ? true : undefined))
    for (const { letGo } of [first, second, other]) letGo()
    await Promise.all([first, second, other].map(({ request }) => request))
  })

  onClient('a request settles before the next one of its client is called back, however late the release is answered', async (t, { connect }) => {
    const second = gate()
    let grants = 0
    const slow: typeof fetch = async (url, init) => {
      const response = await fetch(url, init)
      if (init?.method === 'DELETE') await second.opened
      else if (addressOf(url).endsWith('/locks/request') && response.status === 200 && (grants += 1) === 2) setTimeout(second.open, 50)
      return response
    }
    const web = new WebLocks(connect({ processId: 'me', fetch: slow }))
    const order: string[] = []
    const both = ['first', 'second'].map((what) => web.request('a', () => order.push(what)).then(() => order.push(`${what} settles`)))
    await Promise.all(both)
    t.strictSame(order, ['first', 'first settles', 'second', 'second settles'])
  })

  onClient('a lease that runs out while the service is away is lost', async (t, { locks, proxy, clock }) => {
    const web = new WebLocks(locks)
    const { holding, request } = hold(web, 'a')
    await holding
    void proxy.hold('requests')
    await t.rejects(clock.drive(request, 500), { name: 'AbortError' })
    const away = web.request('b', () => 'ran')
    await t.rejects(clock.drive(away, 500), LockServiceUnavailableError)
  })
})

void t.test('a prefix stands before the names, and is not shown', async (t) => {
  await withClient('sqlite', async ({ locks }) => {
    const web = new WebLocks(locks, { prefix: 'team/' })
    const { holding, request, letGo } = hold(web, 'a')
    await holding
    t.match(await locks.list(), { locks: [{ resourceName: 'team/a' }] })
    await locks.acquire('elsewhere')
    t.strictSame((await web.query()).held, [{ name: 'a', mode: 'exclusive', clientId: 'me' }])
    letGo()
    await request
  })
})
