import { once } from 'node:events'
import { connect } from 'node:net'
import { text } from 'node:stream/consumers'
import Fastify from 'fastify'
import { pino } from 'pino'
import t from 'tap'
import { newSecret } from '../../src/locks/api-keys.js'
import { requireKeys } from '../../src/http/auth.js'
import { addErrorHandling } from '../../src/http/errors.js'
import { makeKey, onEachDatabase, sendWith, TestApp } from '../support/app.js'
import { eventually } from '../support/eventually.js'

const mine = { resource_name: 'a', process_id: 'p' }
const longLook = { url: '/locks/status?resource_name=a&unlike_lock_id=1&wait_seconds=30' }
const ask = { method: 'POST', url: '/locks/request', payload: mine } as const
const look = { method: 'GET', url: '/locks/status?resource_name=a' } as const

onEachDatabase('without any key everybody may do everything; from the first key on nobody without one', async (t, api) => {
  t.match(await api.send(ask), { status: 200 })
  t.match(await api.post('/locks/force-release-all', { reason: 'why' }), { status: 200 })
  const { id, secret } = await makeKey(api, 'first', ['read'])
  t.match(await api.send(look), { status: 401 })
  t.match(await sendWith(api, secret, look), { status: 200 })
  await api.store.keys.revoke(id)
  await api.keys.refresh()
  t.match(await sendWith(api, secret, look), { status: 401 }, 'it was revoked')
  t.match(await api.send(look), { status: 401 }, 'a last key that goes lets nobody in')
})

void t.test('a service that lets in nobody without a key does so also before the first', async (t) => {
  await using api = await TestApp.open('sqlite', { anonymous: false })
  t.match(await api.send(look), { status: 401 })
  t.match(await api.get('/health'), { status: 200 })
  const { secret } = await makeKey(api, 'first', ['read'])
  t.match(await sendWith(api, secret, look), { status: 200 })
})

void t.test('a refusal says what is missing, and never what was sent', async (t) => {
  await using api = await TestApp.open('sqlite')
  const { secret } = await makeKey(api, 'reader', ['read'], { prefix: 'a' })
  const needed = 'This call needs an API key, sent as Authorization: Bearer KEY'
  const invalid = 'The API key is not valid: it is unknown, revoked or expired'
  const other = newSecret()
  const refused: [authorization: string, detail: string][] = [
    ['', needed],
    ['Bearer', needed],
    ['Bearer ', needed],
    [secret, needed],
    [`Basic ${secret}`, needed],
    [`Bearer ${secret} ${secret}`, needed],
    [`Bearer ${secret}x`, invalid],
    [`Bearer ${secret.slice(0, -1)}`, invalid],
    [`Bearer ${secret.toUpperCase()}`, invalid],
    [`Bearer ${other}`, invalid]
  ]
  for (const [authorization, detail] of refused) {
    const { status, headers, body } = await api.send({ ...look, headers: { authorization } })
    t.strictSame({ status, body }, { status: 401, body: { detail, code: 'UNAUTHORIZED' } }, authorization)
    t.equal(headers['www-authenticate'], 'Bearer')
  }
  for (const authorization of [`Bearer ${secret}`, `bearer ${secret}`, `BEARER   ${secret} `]) {
    t.match(await api.send({ ...look, headers: { authorization } }), { status: 200 }, authorization)
  }
  t.strictSame((await sendWith(api, secret, ask)).body, { detail: "The API key does not have the scope 'write'", code: 'FORBIDDEN' })
  t.strictSame((await sendWith(api, secret, { method: 'GET', url: '/locks/status?resource_name=b' })).body, {
    detail: "The API key may only name resources that begin with 'a'",
    code: 'FORBIDDEN'
  })
  for (const url of [`/locks/status?resource_name=a&api_key=${secret}`, `/locks/status?resource_name=a&access_token=${secret}`]) {
    t.match(await api.send({ method: 'GET', url }), { status: 401 }, 'no key is taken from an address')
  }
})

void t.test('the key is asked for before the body is read, and the form comes before the prefix', async (t) => {
  await using api = await TestApp.open('sqlite')
  const { secret } = await makeKey(api, 'writer', ['write'], { prefix: 'in/' })
  const large = { ...ask, payload: { ...mine, more: 'x'.repeat(70_000) } }
  for (const [request, good] of [[{ ...ask, payload: 'text' }, 415], [large, 413], [{ ...ask, payload: {} }, 422], [ask, 403]] as const) {
    t.match(await api.send(request), { status: 401 })
    t.match(await sendWith(api, secret, request), { status: good })
  }
  t.match(await api.get('/no/such/path'), { status: 404 }, 'what is not there takes no key')
})

onEachDatabase('a request id is known to its own key alone', async (t, api) => {
  // As the id of a key is kept, should somebody have thought of it before there were keys.
  const forged = { ...ask, payload: { ...mine, resource_name: 'f', request_id: '["one","forged"]' } }
  t.match(await api.send(forged), { status: 200 })
  const [one, two, admin] = [await makeKey(api, 'one', ['write']), await makeKey(api, 'two', ['write']), await makeKey(api, 'admin', ['admin'])]
  const heir = await makeKey(api, 'one', ['write'])
  const marked = { ...ask, payload: { ...mine, request_id: 'r' } }
  const granted = await sendWith<{ data: { lock_id: number } }>(api, one.secret, marked)
  t.match(granted, { status: 200 })
  for (const { secret } of [two, admin]) {
    const answer = await sendWith(api, secret, marked)
    t.match(answer, { status: 409, body: { code: 'RESOURCE_LOCKED' } }, 'as if nobody had used it')
  }
  t.match(await sendWith(api, two.secret, { ...ask, payload: { ...mine, resource_name: 'b', request_id: 'r' } }), { status: 200 })
  const forgotten = { ...forged, payload: { ...forged.payload, request_id: 'forged' } }
  t.match(await sendWith(api, one.secret, forgotten), { status: 409, body: { code: 'REQUEST_ID_REUSED' } })
  t.match(await sendWith(api, one.secret, marked), { status: 200, body: { data: { replayed: true, lock_id: granted.body.data.lock_id } } })
  t.match(await sendWith(api, heir.secret, marked), { status: 200, body: { data: { replayed: true } } }, 'the next key of that name follows it')
})

onEachDatabase('a kept place in line is its own key’s alone', async (t, api) => {
  const [holder, one, two] = [await makeKey(api, 'holder', ['write']), await makeKey(api, 'one', ['write']), await makeKey(api, 'two', ['write'])]
  await sendWith(api, holder.secret, ask)
  const waits = (wait_seconds: number) => ({ ...ask, payload: { ...mine, process_id: 'q', request_id: 'r', wait_seconds } })
  t.match(await sendWith(api, one.secret, waits(0.01)), { status: 409, body: { queue_position: 1 } })
  t.match(await sendWith(api, two.secret, waits(0.01)), { status: 409, body: { queue_position: 2 } }, 'with the same id another place')
  t.match(await sendWith(api, one.secret, waits(0.01)), { status: 409, body: { queue_position: 1 } }, 'which it keeps')
})

onEachDatabase('how the grant of another key ended is not told', async (t, api) => {
  const [one, two] = [await makeKey(api, 'one', ['write']), await makeKey(api, 'two', ['write'])]
  const release = { method: 'DELETE', url: '/locks/release?resource_name=a&process_id=p' } as const
  await sendWith(api, one.secret, ask)
  t.match(await sendWith(api, two.secret, release), { status: 404, body: { code: 'LOCK_NOT_HELD', reason: 'held_by_other' } })
  t.match(await sendWith(api, one.secret, release), { status: 200 })
  t.match(await sendWith(api, two.secret, release), { status: 404, body: { reason: 'not_locked' } })
  t.match(await sendWith(api, one.secret, release), { status: 404, body: { reason: 'released' } })
})

void t.test('waiters and watchers with a key that is revoked are sent away', async (t) => {
  await using api = await TestApp.open('sqlite')
  const holder = await makeKey(api, 'holder', ['write'])
  const goes = await makeKey(api, 'goes', ['read', 'write'])
  await sendWith(api, holder.secret, ask)
  const waiting = sendWith(api, goes.secret, { ...ask, payload: { ...mine, process_id: 'q', wait_seconds: 30 } })
  await eventually('it waits', async () => ((await api.store.reads.countWaiters({ prefix: '' })) === 1 ? true : undefined))
  const port = await api.listen()
  const looking = sendWith(api, goes.secret, longLook)
  const socket = connect(port, '127.0.0.1')
  socket.write(`GET /locks/watch HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer ${goes.secret}\r\n\r\n`)
  await once(socket, 'data')
  await api.store.keys.revoke(goes.id)
  await api.keys.refresh()
  for (const sent of [waiting, looking]) t.match(await sent, { status: 401, body: { code: 'UNAUTHORIZED' } })
  await text(socket)
  t.pass('the stream ended')
  t.equal(await api.store.reads.countWaiters({ prefix: '' }), 0, 'its place is free')
  await sendWith(api, holder.secret, { method: 'DELETE', url: '/locks/release?resource_name=a&process_id=p' })
  t.match(await sendWith(api, holder.secret, ask), { status: 200 }, 'nothing was left granted')
})

void t.test('waiters and watchers without a key are sent away when the first one is made', async (t) => {
  await using api = await TestApp.open('sqlite')
  await api.send(ask)
  const waiting = api.send({ ...ask, payload: { ...mine, process_id: 'q', wait_seconds: 30, request_id: 'r' } })
  await eventually('it waits', async () => ((await api.store.reads.countWaiters({ prefix: '' })) === 1 ? true : undefined))
  const looking = api.send(longLook)
  const socket = connect(await api.listen(), '127.0.0.1')
  socket.write('GET /locks/watch HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n')
  await once(socket, 'data')
  const { secret } = await makeKey(api, 'first', ['write'])
  for (const sent of [waiting, looking]) t.match(await sent, { status: 401, body: { code: 'UNAUTHORIZED', detail: /needs an API key/ } })
  await text(socket)
  t.pass('the stream ended')
  t.equal(await api.store.reads.countWaiters({ prefix: '' }), 0, 'its place is free')
  t.match(await sendWith(api, secret, { method: 'DELETE', url: '/locks/release?resource_name=a&process_id=p' }), { status: 200 })
  t.match(await sendWith(api, secret, ask), { status: 200 }, 'nothing was left granted')
})

void t.test('figures of all names are not for a key that may see only some', async (t) => {
  await using api = await TestApp.open('sqlite')
  const app = Fastify()
  addErrorHandling(app)
  await app.register(requireKeys, { keys: api.keys, anonymous: true })
  app.get('/metrics', { config: { access: 'read', ofAllNames: true } }, () => 'figures')
  const [all, some, writer] = [await makeKey(api, 'all', ['read']), await makeKey(api, 'some', ['admin'], { prefix: 'a' }), await makeKey(api, 'w', ['write'])]
  for (const [{ secret }, status] of [[all, 200], [some, 403], [writer, 403]] as const) {
    for (const method of ['GET', 'HEAD'] as const) {
      t.equal((await app.inject({ method, url: '/metrics', headers: { authorization: `Bearer ${secret}` } })).statusCode, status)
    }
  }
  await app.close()
})

void t.test('no key and no digest of one is in any log, answer or list', async (t) => {
  const lines: string[] = []
  await using api = await TestApp.open('sqlite', { logger: pino({ level: 'trace' }, { write: (line: string) => lines.push(line) }) })
  const { secret } = await makeKey(api, 'admin', ['admin'])
  const [wrong, answers] = [newSecret(), [] as string[]]
  for (const key of [secret, wrong]) {
    for (const url of ['/locks/status?resource_name=a', '/locks/all-locked', '/locks/history', '/locks/stats', '/health', '/openapi.json', '/nowhere', '/%']) {
      answers.push(JSON.stringify(await sendWith(api, key, { method: 'GET', url })))
    }
    answers.push(JSON.stringify(await sendWith(api, key, { method: 'POST', url: '/locks/force-release-all', payload: { reason: 'why' } })))
  }
  answers.push(JSON.stringify(await api.store.keys.list()))
  t.ok(lines.length > 10)
  t.match(lines.join(''), /"key":"admin"/, 'who took locks away is told by name')
  const { digest } = (await api.store.keys.inUse()).live[0] ?? {}
  for (const hidden of [secret, wrong, String(digest)]) t.notOk([...lines, ...answers].some((one) => one.includes(hidden)))
})
