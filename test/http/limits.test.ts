import t from 'tap'
import { NO_LIMITS } from '../../src/locks/quotas.js'
import { makeKey, onEachDatabase, sendWith, TestApp } from '../support/app.js'
import { networkOf } from '../../src/http/auth.js'
import { eventually } from '../support/eventually.js'

const ask = (name: string, process: string, more: object = {}) => ({ resource_name: name, process_id: process, ...more })
const refused = (detail: string | RegExp) => ({ status: 429, headers: { 'retry-after': '1' }, body: { code: 'TOO_MANY_REQUESTS', detail } })

onEachDatabase(
  'a resource has room for so many waiters',
  async (t, api) => {
    await api.post('/locks/request', ask('a', 'holder'))
    const waiting = [1, 2].map((turn) => api.post('/locks/request', ask('a', `w${turn}`, { wait_seconds: 60 })))
    await waitersAre(api, 2)
    t.match(await api.post('/locks/request', ask('a', 'w3', { wait_seconds: 60 })), refused('Too many requests are waiting for this resource; nothing was changed'))
    t.match(await api.post('/locks/request', ask('a', 'w3')), { status: 409, body: { waiters: 2 } }, 'who does not wait is told who has it')
    t.match(await api.post('/locks/request', ask('b', 'w3', { wait_seconds: 60 })), { status: 200 }, 'elsewhere there is room')
    await api.delete('/locks/release', { resource_name: 'a', process_id: 'holder' })
    t.match(await waiting.shift(), { status: 200 }, 'the first is served')
    waiting.push(api.post('/locks/request', ask('a', 'w4', { wait_seconds: 60 })))
    await waitersAre(api, 2)
    await api.app.close()
    for (const answer of await Promise.all(waiting)) t.match(answer, { status: 503, body: { code: 'DRAINING' } }, 'and the request that takes its place waits')
  },
  { limits: { ...NO_LIMITS, waitersPerResource: 2 } }
)

void t.test('a caller may wait so often; another address is another caller', async (t) => {
  await using api = await TestApp.open('sqlite', { limits: { ...NO_LIMITS, waitersPerCaller: 1 }, trustProxy: ['127.0.0.1'] })
  for (const name of ['a', 'b', 'c']) await api.post('/locks/request', ask(name, 'holder'))
  const wait = (name: string, from: string) =>
    api.send({ method: 'POST', url: '/locks/request', headers: { 'x-forwarded-for': from }, payload: ask(name, from, { wait_seconds: 60 }) })
  const waiting = [wait('a', '10.0.0.1')]
  await waitersAre(api, 1)
  t.match(await wait('b', '10.0.0.1'), refused('Too many requests of this caller are waiting; nothing was changed'))
  waiting.push(wait('b', '2001:db8::1'))
  await waitersAre(api, 2)
  t.match(await wait('c', '2001:db8::ffff:2'), { status: 429 }, 'an IPv6 network of 64 bits is one caller')
  await api.app.close()
  await Promise.all(waiting)
})

onEachDatabase(
  'so many locks may be held at once, and others after some were released',
  async (t, api) => {
    t.match(await api.post('/locks/request', ask('a', 'p')), { status: 200 })
    t.match(await api.post('/locks/request-many', { resource_names: ['b', 'c'], process_id: 'p' }), { status: 200 })
    t.match(await api.post('/locks/request', ask('d', 'p')), refused('No more than 3 locks may be held at once; nothing was changed'))
    t.match(await api.get('/locks/status', { resource_name: 'd' }), { body: { data: { is_locked: false } } })
    t.match(await api.delete('/locks/release', { resource_name: 'a', process_id: 'p' }), { status: 200 })
    await eventually('there is room again', async () => (await api.post('/locks/request', ask('d', 'p'))).status === 200 || undefined)
  },
  { limits: { ...NO_LIMITS, locksPerKey: 3 } }
)

onEachDatabase(
  'a repetition is answered as ever where there is no room for another lock',
  async (t, api) => {
    const granted = await api.post<{ data: { lock_id: number } }>('/locks/request', ask('a', 'p', { request_id: 'one' }))
    const again = { status: 200, body: { data: { replayed: true, lock_id: granted.body.data.lock_id } } }
    t.match(await api.post('/locks/request', ask('a', 'p', { request_id: 'one' })), again)
    t.match(await api.post('/locks/request', ask('a', 'p', { request_id: 'one', wait_seconds: 30 })), again)
    t.match(await api.post('/locks/request', ask('b', 'p', { request_id: 'one' })), { status: 409, body: { code: 'REQUEST_ID_REUSED' } })
    t.match(await api.post('/locks/request', ask('b', 'p', { request_id: 'two' })), { status: 429 })
    await api.delete('/locks/release', { resource_name: 'a', process_id: 'p' })
    t.match(await api.post('/locks/request', ask('a', 'p', { request_id: 'one' })), { status: 409, body: { code: 'REQUEST_ID_REUSED' } })
  },
  { limits: { ...NO_LIMITS, locksPerKey: 1 } }
)

onEachDatabase(
  'a request that comes back for its place is let in, however many wait by then',
  async (t, api) => {
    await api.post('/locks/request', ask('a', 'holder'))
    const comesBack = ask('a', 'p', { request_id: 'one', wait_seconds: 0.02 })
    t.match(await api.post('/locks/request', comesBack), { status: 409, body: { queue_position: 1 } })
    const other = api.post('/locks/request', ask('a', 'q', { wait_seconds: 60 }))
    await waitersAre(api, 2)
    t.match(await api.post('/locks/request', ask('a', 'r', { request_id: 'two', wait_seconds: 60 })), { status: 429 })
    t.match(await api.post('/locks/request', comesBack), { status: 409, body: { code: 'RESOURCE_LOCKED', queue_position: 1 } })
    await api.app.close()
    await other
  },
  { limits: { ...NO_LIMITS, waitersPerResource: 1 } }
)

void t.test('a caller may ask so often within a second, and monitoring as often as it likes', async (t) => {
  await using api = await TestApp.open('sqlite', { requestLimits: { perSecond: 3 }, trustProxy: ['127.0.0.1'] })
  const from = (address: string, url = '/locks/status?resource_name=a') => api.send({ url, headers: { 'x-forwarded-for': address } })
  const began = performance.now()
  const burst = await Promise.all(Array.from({ length: 20 }, () => from('10.0.0.1')))
  // Seconds may end in the middle of it.
  const seconds = Math.floor((performance.now() - began) / 1000) + 2
  const letIn = burst.filter(({ status }) => status === 200).length
  t.ok(letIn >= 3 && letIn <= 3 * seconds, 'of a burst the first are let in')
  await eventually('one too many', async () => {
    const answer = await from('10.0.0.1')
    if (answer.status === 200) return undefined
    t.match(answer, refused('More than 3 requests within a second; nothing was changed'))
    return true
  })
  t.match(await from('10.0.0.2'), { status: 200 }, 'others are not concerned')
  for (let turn = 0; turn < 10; turn += 1) for (const path of ['/health', '/livez', '/readyz', '/metrics']) t.equal((await from('10.0.0.1', path)).status, 200)
})

void t.test('keys and paths that are guessed count as well, and a key is a caller of its own', async (t) => {
  await using api = await TestApp.open('sqlite', { requestLimits: { perSecond: 5 }, anonymous: false })
  const { secret } = await makeKey(api, 'reader', ['read'])
  const guesses = [
    { url: '/locks/status?resource_name=a' },
    { url: '/locks/status?resource_name=a', headers: { authorization: 'Bearer guess' } },
    { url: '/nowhere' },
    { url: '/%' },
    { method: 'PUT', url: '/locks/request' }
  ] as const
  for (const guess of guesses) {
    await eventually(`${JSON.stringify(guess)} is one too many`, async () => {
      const burst = await Promise.all(Array.from({ length: 10 }, () => api.send(guess)))
      const over = burst.find(({ status }) => status === 429)
      if (over === undefined) return undefined
      t.match(over, { headers: { 'retry-after': '1', 'x-ratelimit-limit': '5', 'x-ratelimit-remaining': '0' } })
      t.match(await sendWith(api, secret, { method: 'GET', url: '/locks/status?resource_name=a' }), { status: 200 })
      return true
    })
  }
})

void t.test('an address of IPv6 stands for its network, and one of IPv4 for itself however it is written', (t) => {
  for (const [ip, caller] of [
    ['10.0.0.1', '10.0.0.1'],
    ['::ffff:10.0.0.1', '10.0.0.1'],
    ['2001:db8::1', '2001:db8:0:0::/64'],
    ['2001:DB8:0:0:ffff::2', '2001:db8:0:0::/64'],
    ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2::/64'],
    ['::1', '0:0:0:0::/64'],
    ['fe80::1%eth0', 'fe80:0:0:0::/64'],
    ['1::', '1:0:0:0::/64']
  ] as const) t.equal(networkOf(ip), caller, ip)
  t.end()
})

void t.test('so many streams of events may be open, of everybody and of one caller', async (t) => {
  await using api = await TestApp.open('sqlite', { requestLimits: { watchers: 3, watchersPerCaller: 2 }, trustProxy: ['127.0.0.1'] })
  const url = `http://127.0.0.1:${await api.listen()}/locks/watch`
  const watch = async (from: string) => {
    const leaving = new AbortController()
    const response = await fetch(url, { headers: { 'x-forwarded-for': from }, signal: leaving.signal })
    if (response.status !== 200) return { status: response.status, retryAfter: response.headers.get('retry-after'), body: await response.json() }
    await response.body?.getReader().read()
    return { status: 200, leave: () => leaving.abort() }
  }
  const first = await watch('10.0.0.1')
  t.match([first, await watch('10.0.0.1')], [{ status: 200 }, { status: 200 }])
  const over = { status: 429, retryAfter: '1', body: { code: 'TOO_MANY_REQUESTS' } }
  t.match(await watch('10.0.0.1'), { ...over, body: { detail: 'Too many streams of events of this caller are open' } })
  const look = { url: '/locks/status?resource_name=a&unlike_lock_id=0&wait_seconds=30', headers: { 'x-forwarded-for': '10.0.0.1' } }
  t.match(await api.send(look), { status: 429, body: { code: 'TOO_MANY_REQUESTS' } }, 'a look that waits counts too')
  t.match(await watch('10.0.0.2'), { status: 200 })
  t.match(await watch('10.0.0.3'), { ...over, body: { detail: 'Too many streams of events are open' } })
  first.leave?.()
  await eventually('there is room again', async () => (await watch('10.0.0.3')).status === 200 || undefined)
})

void t.test('the body, the names and the time to arrive are limited as the operator says', async (t) => {
  await using api = await TestApp.open('sqlite', { requestLimits: { bodyBytes: 1500, names: 2, arrivalMs: 3000 } })
  t.match(await api.post('/locks/request', ask('a', 'p', { more: 'x'.repeat(2000) })), { status: 413, body: { detail: 'The body is larger than 1500 bytes' } })
  t.match(await api.post('/locks/request-many', { resource_names: ['a', 'b'], process_id: 'p' }), { status: 200 })
  t.match(await api.post('/locks/release-many', { resource_names: ['a', 'b', 'c'], process_id: 'p' }), {
    status: 422,
    body: { detail: [{ msg: 'List should have at most 2 items' }] }
  })
  t.match(api.app.server, { requestTimeout: 3000, headersTimeout: 3000 })
})

async function waitersAre(api: TestApp, waiters: number): Promise<void> {
  await eventually(`${waiters} wait`, async () => (await api.get<{ data: { waiters: number } }>('/locks/stats')).body.data.waiters === waiters || undefined)
}
