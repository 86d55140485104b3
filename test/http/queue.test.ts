import { once } from 'node:events'
import { connect } from 'node:net'
import { onEachDatabase, type TestApp } from '../support/app.js'
import { eventually } from '../support/eventually.js'

interface Queue {
  readonly data: { readonly total_waiters: number; readonly waiters: readonly { readonly process_id: string }[] }
}
interface List {
  readonly data: { readonly locks: readonly { readonly resource_name: string; readonly renewals: number; readonly waiters: number }[] }
}

const queueOf = async (api: TestApp, name: string, limit = 100) =>
  (await api.get<Queue>('/locks/queue', { resource_name: name, limit })).body.data

/** Puts processes in line one after another; what they are answered is no matter here. */
async function line(api: TestApp, name: string, processes: readonly string[], more: object = {}): Promise<Promise<unknown>[]> {
  const answers: Promise<unknown>[] = []
  for (const [index, process] of processes.entries()) {
    answers.push(api.post('/locks/request', { resource_name: name, process_id: process, wait_seconds: 30, ...more }))
    await eventually(`${process} waits`, async () => ((await queueOf(api, name)).total_waiters === index + 1 ? true : undefined))
  }
  return answers
}

onEachDatabase('the queue of a resource is read in the order in which it will be served', async (t, api) => {
  t.strictSame((await api.get('/locks/queue', { resource_name: 'a' })).body, {
    success: true,
    message: "Retrieved 0 of 0 waiters for resource 'a'",
    data: { resource_name: 'a', as_of: '2024-01-15T10:30:00.000+00:00', total_waiters: 0, waiters: [] }
  })
  await api.post('/locks/request', { resource_name: 'a', process_id: 'p' })
  await api.post('/locks/request', { resource_name: 'b', process_id: 'p' })
  const answers = await line(api, 'a', ['q'])
  await api.advance(1500)
  answers.push(...(await line(api, 'b', ['x'])))
  const first = api.post('/locks/request', { resource_name: 'a', process_id: '<b>r</b>', wait_seconds: 30 })
  await eventually('both wait', async () => ((await queueOf(api, 'a')).total_waiters === 2 ? true : undefined))
  t.strictSame((await api.get('/locks/queue', { resource_name: 'a' })).body, {
    success: true,
    message: "Retrieved 2 of 2 waiters for resource 'a'",
    data: {
      resource_name: 'a',
      as_of: '2024-01-15T10:30:01.500+00:00',
      total_waiters: 2,
      waiters: [
        { position: 1, process_id: 'q', waiting_since: '2024-01-15T10:30:00.000+00:00', kept_until: null, mode: 'exclusive', limit: null, permits: null },
        { position: 2, process_id: '<b>r</b>', waiting_since: '2024-01-15T10:30:01.500+00:00', kept_until: null, mode: 'exclusive', limit: null, permits: null }
      ]
    }
  })
  t.match(await queueOf(api, 'a', 1), { total_waiters: 2, waiters: [{ process_id: 'q' }] }, 'a page counts all')
  t.equal((await queueOf(api, 'a', 1)).waiters.length, 1)
  await api.delete('/locks/release', { resource_name: 'a', process_id: 'p' })
  await eventually('the first is served', async () => ((await queueOf(api, 'a')).total_waiters === 1 ? true : undefined))
  t.match(await queueOf(api, 'a'), { waiters: [{ position: 1, process_id: '<b>r</b>' }] })
  await api.app.close()
  await Promise.all([first, ...answers])
})

onEachDatabase('the queues of all names with a prefix are read together, by name and then by place', async (t, api) => {
  for (const name of ['in/b', 'in/a', 'out']) await api.post('/locks/request', { resource_name: name, process_id: 'p' })
  const answers = [...(await line(api, 'in/b', ['x', 'y'])), ...(await line(api, 'in/a', ['x'])), ...(await line(api, 'out', ['z']))]
  const seen = async (query: object) => {
    const { status, body } = await api.get<{ data: { total_waiters: number; waiters: { resource_name: string; position: number; process_id: string }[] } }>('/locks/queue', { ...query })
    return { status, total: body.data.total_waiters, waiters: body.data.waiters.map(({ resource_name, position, process_id }) => `${resource_name} ${position} ${process_id}`) }
  }
  t.strictSame(await seen({ prefix: 'in/' }), { status: 200, total: 3, waiters: ['in/a 1 x', 'in/b 1 x', 'in/b 2 y'] })
  t.strictSame(await seen({ prefix: '', limit: 2 }), { status: 200, total: 4, waiters: ['in/a 1 x', 'in/b 1 x'] })
  t.strictSame(await seen({ prefix: 'IN' }), { status: 200, total: 0, waiters: [] })
  t.match(await api.get('/locks/queue', { prefix: 'x' }), { body: { message: "Retrieved 0 of 0 waiters for resources that begin with 'x'", data: { resource_name: null } } })
  t.match(await api.get('/locks/queue'), { status: 422, body: { detail: [{ type: 'missing', loc: ['query', 'resource_name'] }] } })
  t.match(await api.get('/locks/queue', { prefix: '', resource_name: 'out' }), { status: 422, body: { detail: [{ loc: ['query', 'prefix'] }] } })
  await api.app.close()
  await Promise.all(answers)
})

onEachDatabase('a place that is kept says until when, and is gone afterwards', async (t, api) => {
  await api.post('/locks/request', { resource_name: 'a', process_id: 'p' })
  await api.post('/locks/request', { resource_name: 'a', process_id: 'q', wait_seconds: 0.02, request_id: 'r' })
  t.match(await queueOf(api, 'a'), { total_waiters: 1, waiters: [{ process_id: 'q', kept_until: '2024-01-15T10:30:10.000+00:00' }] })
  t.match(await api.get('/locks/all-locked'), { body: { data: { locks: [{ waiters: 1 }] } } })
  await api.advance(10_000)
  t.match(await queueOf(api, 'a'), { total_waiters: 0, waiters: [] }, 'whether or not it was swept')
  t.match(await api.get('/locks/all-locked'), { body: { data: { locks: [{ waiters: 0 }] } } }, 'nor does the list count it')
})

onEachDatabase('a waiter whose connection is gone leaves the queue', async (t, api) => {
  await api.post('/locks/request', { resource_name: 'a', process_id: 'p' })
  const socket = connect(await api.listen(), '127.0.0.1')
  await once(socket, 'connect')
  const body = JSON.stringify({ resource_name: 'a', process_id: 'gone', wait_seconds: 30 })
  socket.write(`POST /locks/request HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`)
  await eventually('it waits', async () => ((await queueOf(api, 'a')).waiters[0]?.process_id === 'gone' ? true : undefined))
  socket.destroy()
  t.ok(await eventually('it is gone', async () => ((await queueOf(api, 'a')).total_waiters === 0 ? true : undefined)))
})

onEachDatabase('the list tells lease, renewals and waiters, at an instant of the database’s clock', async (t, api) => {
  for (const name of ['a', 'b']) await api.post('/locks/request', { resource_name: name, process_id: 'p', ttl_seconds: 60 })
  await api.post('/locks/request', { resource_name: 'c', process_id: 'q' })
  const answers = await line(api, 'b', ['x', 'y'])
  await api.advance(2500)
  for (const ttl_seconds of [30, undefined]) await api.post('/locks/renew', { resource_name: 'a', process_id: 'p', ttl_seconds })
  await api.post('/locks/renew-all', { process_id: 'p' })
  const { body } = await api.get<List>('/locks/all-locked')
  t.match(body, {
    data: {
      as_of: '2024-01-15T10:30:02.500+00:00',
      locks: [
        { resource_name: 'a', ttl_seconds: 60, renewals: 3, waiters: 0 },
        { resource_name: 'b', ttl_seconds: 60, renewals: 1, waiters: 2 },
        { resource_name: 'c', ttl_seconds: null, renewals: 0, waiters: 0 }
      ]
    }
  })
  await api.delete('/locks/release', { resource_name: 'a', process_id: 'p' })
  await api.post('/locks/request', { resource_name: 'a', process_id: 'q', ttl_seconds: 1.5 })
  t.match(await api.get('/locks/all-locked', { prefix: 'a' }), { body: { data: { locks: [{ ttl_seconds: 1.5, renewals: 0 }] } } }, 'a new grant begins anew')
  t.match(await api.get('/locks/all-locked', { prefix: 'z' }), { body: { data: { total_locks: 0, as_of: '2024-01-15T10:30:02.500+00:00' } } })
  await api.app.close()
  await Promise.all(answers)
})

onEachDatabase('the figures name the instance that counted them', async (t, api) => {
  const instance = async () => (await api.get<{ data: { instance: string } }>('/locks/stats')).body.data.instance
  t.match(await instance(), /^[0-9a-f-]{36}$/)
  t.equal(await instance(), await instance())
})
