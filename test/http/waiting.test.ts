import { once } from 'node:events'
import { connect } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'

import { makeKey, onEachDatabase, sendWith } from '../support/app.js'

const JSON_TYPE = { 'content-type': 'application/json' }

async function until(done: () => Promise<boolean>): Promise<void> {
  while (!(await done())) await sleep(10)
}

onEachDatabase('a request waits in line over HTTP, and is told its position after an unsuccessful wait', async (t, api) => {
  const waiters = async () => (await api.get<{ data: { waiters: number } }>('/locks/status', { resource_name: 'a' })).body.data.waiters
  await api.post('/locks/request', { resource_name: 'a', process_id: 'p' })
  const waiting = api.post('/locks/request', { resource_name: 'a', process_id: 'q', wait_seconds: 20, ttl_seconds: 5 })
  await until(async () => (await waiters()) === 1)
  t.match(await api.post('/locks/request', { resource_name: 'a', process_id: 'r', wait_seconds: 0.02 }), {
    status: 409,
    body: { code: 'RESOURCE_LOCKED', locked_by: 'p', lock_id: 1, queue_position: 2 }
  })
  await api.delete('/locks/release', { resource_name: 'a', process_id: 'p' })
  t.match(await waiting, { status: 200, body: { data: { process_id: 'q', lock_id: 2 } } })
})

onEachDatabase('the place of an unsuccessful waiter is kept for its request id, unless it does not come back', async (t, api) => {
  await api.post('/locks/request', { resource_name: 'a', process_id: 'p' })
  const leaving = { resource_name: 'a', process_id: 'q', wait_seconds: 0.02, request_id: 'leaves', keep_place: false }
  t.match(await api.post('/locks/request', leaving), { status: 409, body: { queue_position: 1 } })
  const coming = { resource_name: 'a', process_id: 'r', wait_seconds: 0.02, request_id: 'comes back' }
  t.match(await api.post('/locks/request', coming), { status: 409, body: { queue_position: 1 } })
  await api.delete('/locks/release', { resource_name: 'a', process_id: 'p' })
  t.match(await api.post('/locks/request', { resource_name: 'a', process_id: 's' }), { status: 409, body: { locked_by: 'r', lock_id: null } })
  t.match(await api.post('/locks/request', coming), { status: 200 })
  t.match(await api.post('/locks/request', { ...leaving, keep_place: 'no' }), { status: 422, body: { detail: [{ loc: ['body', 'keep_place'] }] } })
})

onEachDatabase('a look at a resource waits for another lock, other metadata, the end of the lease, or the end of its time', async (t, api) => {
  const look = (unlike: number, seconds = 30) => api.get('/locks/status', { resource_name: 'a', unlike_lock_id: unlike, wait_seconds: seconds })
  const take = async (lease: object) => {
    const { body } = await api.post<{ data: { lock_id: number } }>('/locks/request', { resource_name: 'a', process_id: 'p', ...lease })
    return body.data.lock_id
  }
  t.match(await look(7), { body: { data: { lock_id: null } } }, 'at once')
  const first = look(0)
  await api.post('/locks/request', { resource_name: 'other', process_id: 'p' })
  const id = await take({ ttl_seconds: 300, metadata: { step: 1 } })
  t.match(await first, { status: 200, body: { data: { lock_id: id, locked_by: 'p', metadata: { step: 1 } } } })
  t.match(await look(id, 0.02), { body: { data: { lock_id: id } } }, 'nothing has changed')
  const progress = { seen: false }
  const other = look(id).finally(() => (progress.seen = true))
  for (let step = 2; !progress.seen; step += 1) {
    await api.post('/locks/renew', { resource_name: 'a', process_id: 'p', metadata: { step } })
    await sleep(20)
  }
  t.match(await other, { body: { data: { lock_id: id, metadata: { step: Number } } } })
  const last = look(id)
  await api.delete('/locks/release', { resource_name: 'a', process_id: 'p' })
  t.match(await last, { body: { data: { lock_id: null, is_locked: false } } })
  const expiring = look(await take({ ttl_seconds: 0.2 }))
  await api.advance(200)
  t.match(await expiring, { body: { data: { lock_id: null } } }, 'though no event says so')
  t.match(await api.get('/locks/status', { resource_name: 'a', wait_seconds: 1 }), { status: 422, body: { detail: [{ loc: ['query', 'unlike_lock_id'] }] } })
  for (const bad of ['-1', '1.5', 'x']) t.match(await api.get('/locks/status', { resource_name: 'a', unlike_lock_id: bad }), { status: 422 })
  t.match(await api.get('/locks/status', { resource_name: 'a', unlike_lock_id: 1, wait_seconds: 61 }), { status: 422 })
})

onEachDatabase('a look that waits is answered 503 when the service stops', async (t, api) => {
  const looking = api.get('/locks/status', { resource_name: 'a', unlike_lock_id: 0, wait_seconds: 30 })
  await api.get('/livez')
  await api.app.close()
  t.match(await looking, { status: 503, headers: { 'retry-after': '1' }, body: { code: 'DRAINING' } })
})

onEachDatabase('a waiter whose connection is gone loses its place at once', async (t, api) => {
  const port = await api.listen()
  const waiters = async () => (await api.get<{ data: { waiters: number } }>('/locks/status', { resource_name: 'a' })).body.data.waiters
  await api.post('/locks/request', { resource_name: 'a', process_id: 'p' })
  const socket = connect(port, '127.0.0.1')
  const body = '{"resource_name":"a","process_id":"q","wait_seconds":30,"request_id":"r1"}'
  socket.write(`POST /locks/request HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`)
  await until(async () => (await waiters()) === 1)
  socket.destroy()
  await until(async () => (await waiters()) === 0)
  await api.delete('/locks/release', { resource_name: 'a', process_id: 'p' })
  t.match(await api.get('/locks/status', { resource_name: 'a' }), { body: { data: { is_locked: false } } })
})

onEachDatabase('sockets that close around the grant never leave a lock behind', async (t, api) => {
  const port = await api.listen()
  // An answer that went out whole is a lock that was heard of, and is the client's own to release.
  const seen = { requests: 0, closed: 0, answered: 0 }
  api.app.server.on('request', (_request, response) => {
    seen.requests += 1
    response.on('finish', () => (seen.answered += 1))
    response.on('close', () => (seen.closed += 1))
  })
  let secret: string | undefined
  const send = <Body>(method: 'GET' | 'POST' | 'DELETE', url: string, payload?: object) =>
    sendWith<Body>(api, secret, { method, url, ...(payload === undefined ? {} : { payload }) })
  for (let round = 1; round <= 60; round += 1) {
    // A request's id is stored with its key.
    if (round === 31) ({ secret } = await makeKey(api, 'k', ['read', 'write']))
    const body = JSON.stringify({ resource_name: 'a', process_id: 'q', wait_seconds: 30, request_id: round % 3 === 0 ? undefined : `r${round}` })
    const key = secret === undefined ? '' : `authorization: Bearer ${secret}\r\n`
    seen.answered = 0
    await send('POST', '/locks/request', { resource_name: 'a', process_id: 'p' })
    const socket = connect(port, '127.0.0.1').on('error', () => undefined)
    await once(socket, 'connect')
    socket.write(`POST /locks/request HTTP/1.1\r\nhost: localhost\r\n${key}content-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`)
    await sleep(Math.random() * 15)
    const releasing = send('DELETE', '/locks/release?resource_name=a&process_id=p')
    await sleep(Math.random() * 8)
    socket.destroy()
    await releasing
    await until(() => Promise.resolve(seen.requests === round && seen.closed === round))
    if (seen.answered > 0) await send('DELETE', '/locks/release?resource_name=a&process_id=q')
    await until(async () => !(await send<{ data: { is_locked: boolean } }>('GET', '/locks/status?resource_name=a')).body.data.is_locked)
  }
  t.pass('free after every round')
})

onEachDatabase('a process that releases all of its locks waits for none any longer', async (t, api) => {
  await api.post('/locks/request', { resource_name: 'a', process_id: 'holder' })
  await api.post('/locks/request', { resource_name: 'own', process_id: 'p' })
  const waiting = api.post('/locks/request', { resource_name: 'a', process_id: 'p', wait_seconds: 30, request_id: 'r' })
  await until(async () => (await api.store.reads.countWaiters({ prefix: '' })) === 1)
  t.match(await api.delete('/locks/release-all', { process_id: 'p' }), {
    status: 200,
    body: { data: { total_released: 1, total_left_queue: 1, locks: [{ resource_name: 'own' }] } }
  })
  t.match(await waiting, { status: 409, body: { code: 'RESOURCE_LOCKED', locked_by: 'holder' } })
  await api.delete('/locks/release', { resource_name: 'a', process_id: 'holder' })
  t.match(await api.get('/locks/status', { resource_name: 'a' }), { body: { data: { is_locked: false, waiters: 0 } } })
})

onEachDatabase('closing answers the waiters with DRAINING and ends the streams', async (t, api) => {
  const port = await api.listen()
  const url = `http://127.0.0.1:${port}`
  await api.post('/locks/request', { resource_name: 'a', process_id: 'p' })
  const waits = Array.from({ length: 20 }, (_, index) =>
    fetch(`${url}/locks/request`, { method: 'POST', headers: JSON_TYPE, body: JSON.stringify({ resource_name: 'a', process_id: `w${index}`, wait_seconds: 50 }) })
  )
  const stream = await fetch(`${url}/locks/watch`)
  t.match(stream.headers.get('content-type'), /^text\/event-stream/)
  await until(async () => (await api.get<{ data: { waiters: number } }>('/locks/stats')).body.data.waiters === 20)
  const closing = api.app.close()
  for (const answer of await Promise.all(waits)) t.match([answer.status, await answer.json()], [503, { code: 'DRAINING' }])
  t.match(await stream.text(), /event: end\ndata: \{"reason":"draining"\}\n\n$/)
  await closing
})

onEachDatabase('a stream tells what happens, and goes on where it was left', async (t, api) => {
  const port = await api.listen()
  const url = `http://127.0.0.1:${port}/locks/watch?prefix=x/&process_id=p`
  await api.post('/locks/request', { resource_name: 'x/other', process_id: 'q' })
  await api.post('/locks/request', { resource_name: 'x/before', process_id: 'p' })
  const read = async (headers: Record<string, string>, pattern: RegExp): Promise<string> => {
    const leaving = new AbortController()
    const { body } = await fetch(url, { headers, signal: leaving.signal })
    let text = ''
    for await (const chunk of body ?? []) {
      text += Buffer.from(chunk as Uint8Array).toString()
      if (text === ':\n\n') await api.post('/locks/request', { resource_name: `x/${text.length}`, process_id: 'p', ttl_seconds: 5 })
      if (pattern.test(text)) break
    }
    leaving.abort()
    return text
  }
  t.match(await read({}, /x\/3/), /^:\n\nid: 3\nevent: granted\ndata: \{"event_id":3,"event":"granted",.*"resource_name":"x\/3"/)
  t.match(await read({ 'last-event-id': '0' }, /x\/3/), /^:\n\nid: 2\nevent: granted\n.*x\/before/, 'nothing of another process')
  t.match(await api.get('/locks/watch', { process_id: '\u0000' }), { status: 422 })
})

