import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { text } from 'node:stream/consumers'
import { pino } from 'pino'
import t from 'tap'
import { MAX_PIPELINED } from '../../src/http/gate.js'
import { onEachDatabase, TestApp } from '../support/app.js'
import { eventually } from '../support/eventually.js'
import { rawGet, rawPost } from '../support/bad-requests.js'
import { servedRoutes } from '../support/openapi.js'
import { Service } from '../support/service.js'

const mine = { resource_name: 'a', process_id: 'p' }
const foreign = 'https://evil.example'

/** What a browser says of a page of another site, of another port of this machine, over plain http, and of a page without an origin. */
const FOREIGN = [
  { origin: foreign, 'sec-fetch-site': 'cross-site' },
  { origin: 'http://localhost:3000', 'sec-fetch-site': 'same-site' },
  { 'sec-fetch-site': 'cross-site' },
  { origin: foreign },
  { origin: 'http://localhost:8001' },
  { origin: 'null' }
]
const OWN = [{}, { origin: 'http://localhost:80' }, { origin: foreign, 'sec-fetch-site': 'same-origin' }, { 'sec-fetch-site': 'none' }]
/** Every writing call of every API, as a page can send it without asking first. */
const isWrite = (route: string): boolean => /^(?:POST|DELETE) /.test(route)
const requestOf = (route: string, headers: object) => {
  const [method, path] = route.split(' ') as ['POST' | 'DELETE', string]
  return { method, url: path.replaceAll(/\{\w+\}/g, '1'), headers: { host: 'localhost:80', 'content-type': 'text/plain', ...headers }, payload: '{}' }
}

onEachDatabase('no page of another site changes anything', async (t, api) => {
  await api.post('/locks/request', mine)
  await api.post('/api/lock/acquire', { docId: 'd', userId: 'u' })
  const before = await api.contents()
  const writes = servedRoutes(api).filter(isWrite)
  t.ok(writes.length > 15)
  for (const headers of FOREIGN) {
    for (const route of writes.filter((one) => one !== 'POST /api/book')) {
      const { status, body } = await api.send<{ code?: string; detail?: string; error?: string }>(requestOf(route, headers))
      t.equal(status, 403, `${route} ${JSON.stringify(headers)}`)
      if (route.includes(' /locks/')) t.equal(body.code, 'CROSS_SITE')
      t.match(body.detail ?? body.error, /CORS_ORIGIN/)
    }
    t.equal((await api.send({ url: '/locks/status?resource_name=a', headers })).status, 200, 'reading is for the browser to allow')
  }
  t.strictSame(await api.contents(), before)
  for (const headers of OWN) t.not((await api.send(requestOf('DELETE /locks/release', headers))).status, 403, JSON.stringify(headers))
  t.match(await api.send({ method: 'POST', url: '/api/lock/clear-all', headers: { host: 'localhost', origin: 'http://localhost' } }), { status: 200 }, 'its own pages may')
})

const book = (api: TestApp, origin: string) =>
  api.send({ method: 'POST', url: '/api/book', headers: { origin, 'sec-fetch-site': 'cross-site' }, payload: { seat_number: origin } })

void t.test('any page may book a seat, unless the operator says which', async (t) => {
  await using any = await TestApp.open('sqlite')
  t.match(await book(any, foreign), { status: 200, headers: { 'access-control-allow-origin': '*' } })
  await using some = await TestApp.open('sqlite', { corsOrigins: ['https://app.example'] })
  t.match(await book(some, foreign), { status: 403, headers: { 'access-control-allow-origin': undefined } })
  t.match(await book(some, 'https://app.example'), { status: 200, headers: { 'access-control-allow-origin': 'https://app.example' } })
  t.match(await some.send({ ...requestOf('POST /locks/request', { origin: 'https://app.example', 'sec-fetch-site': 'cross-site' }) }), { status: 415 })
  await using all = await TestApp.open('sqlite', { corsOrigins: ['*'] })
  t.match(await all.send(requestOf('POST /locks/request', { origin: foreign, 'sec-fetch-site': 'cross-site' })), { status: 415 })
})

void t.test('every answer bears a request id, and forbids frames and guessing its type', async (t) => {
  await using api = await TestApp.open('sqlite', { corsOrigins: ['https://app.example'], hosts: [] })
  const gets = servedRoutes(api).filter((route) => route.startsWith('GET ') && !route.endsWith('/watch')).map((route) => route.slice(4).replace('*', 'static/swagger-ui.css'))
  const requests = [
    ...[...gets, '/nowhere', '/%', '/lock/user/%ff', '/docs/static/nothing', '/locks/status'].map((url) => ({ url })),
    { method: 'POST', url: '/locks/request', payload: {} },
    { method: 'POST', url: '/locks/request', payload: 'text' },
    { method: 'POST', url: '/api/book', headers: { origin: foreign } },
    { method: 'PUT', url: '/locks/request' },
    { method: 'OPTIONS', url: '/locks/request', headers: { origin: 'https://app.example', 'access-control-request-method': 'POST' } },
    { url: '/livez', headers: { host: 'evil.example' } }
  ] as const
  const seen = new Set<unknown>()
  for (const request of requests) {
    const { headers } = await api.send(request)
    const what = JSON.stringify(request)
    t.match(headers['x-request-id'], /^req-[0-9a-f]{12}-[0-9a-z]+$/, what)
    t.equal(headers['x-content-type-options'], 'nosniff', what)
    t.match(headers['content-security-policy'], /frame-ancestors 'none'/, what)
    seen.add(headers['x-request-id'])
  }
  t.equal(seen.size, requests.length, 'each an id of its own')
})

void t.test('the caller’s request id comes back and is logged, unless it is malformed', async (t) => {
  const lines: Record<string, unknown>[] = []
  const logger = pino({ level: 'debug' }, { write: (line: string) => lines.push(JSON.parse(line) as Record<string, unknown>) })
  await using api = await TestApp.open('sqlite', { logger })
  const send = async (id: string) => (await api.send({ url: '/livez', headers: { 'x-request-id': id } })).headers['x-request-id']
  for (const id of ['a', 'x'.repeat(128), '4bf92f35-77b3+4d:a6/a3_ce.92~9=']) {
    t.equal(await send(id), id)
    t.equal(lines.pop()?.['reqId'], id)
  }
  for (const id of ['', 'x'.repeat(129), 'a b', 'a,b', '<script>', 'a"b', 'ü', '{}']) t.match(await send(id), /^req-/, id)
  await api.post('/locks/request', mine)
  lines.length = 0
  const { headers } = await api.post('/locks/force-release', { resource_name: 'a', reason: 'why' })
  t.equal(lines.find(({ msg }) => msg === 'lock force-released')?.['reqId'], headers['x-request-id'])
})

void t.test('a path that is served at all refuses other methods with those that it answers', async (t) => {
  await using api = await TestApp.open('sqlite')
  const served = new Map<string, string[]>()
  for (const route of servedRoutes(api)) {
    const [method = '', path = ''] = route.split(' ')
    served.set(path, [...(served.get(path) ?? []), method, ...(method === 'GET' ? ['HEAD'] : [])])
  }
  for (const [path, methods] of served) {
    // Every file of the page is served alike.
    if (path.includes('.js')) continue
    const url = path.replaceAll(/\{\w+\}/g, 'x%2fy').replace('*', 'static/any')
    const wrong = (['GET', 'POST', 'PUT', 'DELETE', 'OPTIONS', 'PROPFIND'] as const).filter((method) => !methods.includes(method))
    const answers = await Promise.all(wrong.map((method) => api.send<{ code?: string; error?: string }>({ method, url: `${url}?a=b` })))
    const told = answers.map(({ status, headers, body }) => [status, String(headers['allow']).split(', ').toSorted(), body.error === undefined ? body.code : 'its own words'])
    t.strictSame(told, wrong.map(() => [405, methods.toSorted(), /^\/(?:un)?lock\/|^\/api\/|^\/terraform\//.test(path) ? 'its own words' : 'METHOD_NOT_ALLOWED']), url)
  }
  t.match(await api.send({ method: 'PUT', url: '/nowhere' }), { status: 404 })
})

void t.test('a browser that asks for the root is sent to the dashboard, and nobody else', async (t) => {
  await using api = await TestApp.open('sqlite')
  const answer = await api.send({ url: '/', headers: { accept: 'text/html,application/xhtml+xml;q=0.9,*/*;q=0.8' } })
  t.equal(answer.status, 302)
  t.equal(new URL(String(answer.headers['location']), 'http://localhost/').pathname, '/dashboard')
  for (const accept of ['*/*', 'application/json']) t.match(await api.send({ url: '/', headers: { accept } }), { status: 404, body: { code: 'NOT_FOUND' } })
})

void t.test('a connection that reads no answers is owed no more than so many', async (t) => {
  await using api = await TestApp.open('sqlite')
  await api.post('/locks/request', mine)
  const socket = connect(await api.listen(), '127.0.0.1')
  const waits = JSON.stringify({ ...mine, process_id: 'q', wait_seconds: 60 })
  const late = JSON.stringify({ resource_name: 'late', process_id: 'p' })
  let answers = ''
  socket.setEncoding('latin1').on('data', (text: string) => (answers += text))
  const closed = once(socket, 'close')
  socket.write(rawPost(`Content-Length: ${waits.length}`, waits) + rawGet('/openapi.json').repeat(1300) + rawPost(`Content-Length: ${late.length}`, late))
  await eventually('it waits', async () => ((await api.store.reads.countWaiters({ prefix: '' })) === 1 ? true : undefined))
  await api.delete('/locks/release', mine)
  await closed
  const statuses = Array.from(answers.matchAll(/HTTP\/1\.1 (\d{3}) /g), ([, status]) => Number(status))
  t.strictSame(statuses, [...Array<number>(1 + MAX_PIPELINED).fill(200), 429])
  t.match(answers.slice(answers.lastIndexOf('HTTP/1.1')), /connection: close.*"code":"TOO_MANY_REQUESTS"/is)
  t.match(await api.get('/locks/status', { resource_name: 'late' }), { body: { data: { is_locked: false } } }, 'nothing after it was done')
})

void t.test('a process with a small heap outlives connections that ask for the document and read nothing', async (t) => {
  await using service = await Service.start({ settings: { NODE_OPTIONS: '--max-old-space-size=64' } })
  const connections = Array.from({ length: 20 }, () => connect(service.port, '127.0.0.1').on('error', () => undefined))
  // Nothing is read of a socket that nobody listens to.
  await Promise.all(connections.map((socket) => new Promise((resolve) => socket.write(rawGet('/openapi.json').repeat(1300), resolve))))
  t.match(await service.health(), { status: 200 })
  t.match((await text(connections[0] as Socket)).slice(-300), /"code":"TOO_MANY_REQUESTS"/)
  for (const socket of connections) socket.destroy()
  t.match(await service.stop(), { code: 0, stderr: '' })
})
