import { once } from 'node:events'
import { connect } from 'node:net'
import t, { type Test } from 'tap'
import { TestApp } from '../support/app.js'
import { GARBAGE, rawGet as get, rawPost as post } from '../support/bad-requests.js'

// What happens before a request reaches a route has nothing to do with the database, so one is enough.
const open = () => TestApp.open('sqlite')

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

void t.test('a request that does not arrive in time is answered 408', async (t) => {
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
