import { once } from 'node:events'
import { connect } from 'node:net'
import t, { type Test } from 'tap'
import { TestApp } from '../support/app.js'

// What happens before a request reaches a route has nothing to do with the database, so one is enough.
const open = () => TestApp.open('sqlite')

const post = (headers: string, body: string) => `POST /locks/request HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n${headers}\r\n\r\n${body}`
const get = (url: string, ...headers: string[]) => [`GET ${url} HTTP/1.1`, 'Host: x', ...headers, '', ''].join('\r\n')

/** Bytes that are no request of this service, with the status that answers them. */
const GARBAGE: readonly (readonly [status: number, text: string, code?: string])[] = [
  [400, 'garbage\r\n\r\n', 'BAD_REQUEST'],
  [400, '\0\x01\x02\x03\r\n\r\n', 'BAD_REQUEST'],
  [400, '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03', 'BAD_REQUEST'],
  [400, 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 'BAD_REQUEST'],
  [400, 'GET / HTTP/9.9\r\n\r\n', 'BAD_REQUEST'],
  [400, 'BREW /locks/status HTTP/1.1\r\nHost: x\r\n\r\n', 'BAD_REQUEST'],
  [400, 'GET /health HTTP/1.1\r\n\r\n'],
  [400, get('/locks/status?resource_name=\xc3\xbc'), 'BAD_REQUEST'],
  [400, get('/locks/status?resource_name=a\0b'), 'BAD_REQUEST'],
  [400, get('/health', 'no colon'), 'BAD_REQUEST'],
  [400, get('/health', 'X: a\0b'), 'BAD_REQUEST'],
  [404, get('http://[bad/'), 'NOT_FOUND'],
  [404, get('*'), 'NOT_FOUND'],
  [417, get('/health', 'Expect: nonsense')],
  [431, get('/health', `X: ${'x'.repeat(20_000)}`), 'HEADERS_TOO_LARGE'],
  [431, get(`/${'x'.repeat(20_000)}`), 'HEADERS_TOO_LARGE'],
  [400, post('Content-Length: -1', '{}'), 'BAD_REQUEST'],
  [400, post('Content-Length: 2\r\nContent-Length: 3', '{}'), 'BAD_REQUEST'],
  [400, post('Content-Length: 2\r\nTransfer-Encoding: chunked', '0\r\n\r\n'), 'BAD_REQUEST'],
  [400, post('Transfer-Encoding: chunked', 'zz\r\n{}\r\n0\r\n\r\n'), 'BAD_REQUEST'],
  [400, post('Transfer-Encoding: chunked, identity', '{}'), 'BAD_REQUEST'],
  [413, post('Content-Length: 65537', ''), 'PAYLOAD_TOO_LARGE'],
  [413, post('Transfer-Encoding: chunked', `11000\r\n${'x'.repeat(0x11000)}\r\n0\r\n\r\n`), 'PAYLOAD_TOO_LARGE'],
  [422, post('Transfer-Encoding: chunked', '2\r\n{}\r\n0\r\n\r\n'), 'INVALID_REQUEST'],
  [422, post('Content-Length: 0', ''), 'INVALID_REQUEST'],
  [422, post('X: y', ''), 'INVALID_REQUEST'],
  [422, post('Content-Length: 4\r\nContent-Encoding: gzip', '\x1f\x8b\x08\x00'), 'INVALID_REQUEST']
]

void t.test('garbage on the socket is answered 4xx, and the server lives', async (t) => {
  await using api = await open()
  const port = await api.listen()
  const before = await api.contents()
  for (const [status, text, code] of GARBAGE) {
    const title = JSON.stringify(text.slice(0, 100))
    const answer = await exchange(port, text)
    t.match(answer, new RegExp(`^HTTP/1\\.1 ${status} `), title)
    if (code !== undefined) t.match(JSON.parse(answer.slice(answer.indexOf('\r\n\r\n'))), { code, detail: /.+|\[/ }, title)
    t.notMatch(answer, /\n\s+at |node_modules|\/src\//, 'no stack and no path')
  }
  await t.test('CONNECT is only hung up on', async (t) => t.equal(await exchange(port, 'CONNECT a:1 HTTP/1.1\r\nHost: x\r\n\r\n'), ''))
  t.strictSame(await api.contents(), before)
  await lives(t, port)
})

void t.test('garbage behind a request ends the connection', async (t) => {
  await using api = await open()
  const port = await api.listen()
  const answer = await exchange(port, `${get('/locks/status?resource_name=a')}garbage\r\n\r\n`, 400)
  t.equal(statusesOf(answer).at(-1), 400)
  await lives(t, port)
})

void t.test('pipelined requests are answered in order', async (t) => {
  await using api = await open()
  const port = await api.listen()
  const body = '{"resource_name":"a","process_id":"p"}'
  const request = post(`Content-Length: ${body.length}`, body)
  t.strictSame(statusesOf(await exchange(port, `${request}${request}${get('/nowhere', 'Connection: close')}`, 404)), [200, 409, 404])
})

void t.test('a request that does not arrive in time is answered 408', { timeout: 10_000 }, async (t) => {
  await using api = await open()
  t.equal(api.app.server.headersTimeout, 5000)
  t.equal(api.app.server.requestTimeout, 10_000)
  Object.assign(api.app.server, { headersTimeout: 200, requestTimeout: 300 })
  const port = await api.listen()
  const slow = ['GET /health HTTP/1.1\r\nHost: x\r\nX: ', post('Content-Length: 100', '{"resource_'), post('Transfer-Encoding: chunked', '2\r\n')]
  for (const answer of await Promise.all(slow.map((start) => exchange(port, start)))) {
    t.match(answer, /^HTTP\/1\.1 408 /)
    t.match(answer, '{"detail":"The request took too long to arrive","code":"REQUEST_TIMEOUT"}')
  }
  await lives(t, port)
})

void t.test('clients that hang up in the middle do no harm', async (t) => {
  await using api = await open()
  const port = await api.listen()
  for (const start of ['GET /hea', post('Content-Length: 100', '{"resource_'), post('Transfer-Encoding: chunked', '5\r\n{'), get('/health')]) {
    for (const cut of ['end', 'resetAndDestroy'] as const) {
      const socket = connect(port, '127.0.0.1').on('error', () => undefined)
      await once(socket, 'connect')
      await new Promise((resolve) => socket.write(start, resolve))
      socket[cut]()
      socket.resume()
      await once(socket, 'close')
    }
  }
  await lives(t, port)
})

/** Sends the bytes and resolves to what came back once the server has hung up, or once an answer with that status is there. */
async function exchange(port: number, text: string, until?: number): Promise<string> {
  const socket = connect(port, '127.0.0.1')
  let answer = ''
  socket.setEncoding('latin1').on('data', (chunk: string) => {
    answer += chunk
    const last = statusesOf(answer).at(-1)
    // Answers on a connection that stays open are complete when their JSON is.
    const complete = until === undefined ? /\r\n\r\n(?:.*\}|0\r\n\r\n)$/s.test(answer) : last === until && answer.endsWith('}')
    if (complete) socket.destroy()
  })
  // A server that hangs up on what it has not read resets the connection; what it answered counts.
  socket.on('error', () => undefined)
  const closed = once(socket, 'close')
  socket.write(Buffer.from(text, 'latin1'))
  await closed
  return answer
}

function statusesOf(answer: string): number[] {
  return Array.from(answer.matchAll(/HTTP\/1\.1 (\d{3}) /g), ([, status]) => Number(status))
}

async function lives(t: Test, port: number): Promise<void> {
  t.match(await exchange(port, get('/health', 'Connection: close')), /^HTTP\/1\.1 200 OK/, 'the server lives')
}
