import { pino } from 'pino'
import t from 'tap'
import { TestApp } from '../support/app.js'

/** Names that are allowed, and would do harm where texts are put together by hand. */
const NAMES = [
  '","level":60,"msg":"forged',
  '{"level":60}',
  '\\n{"level":60}',
  'a\u2028data: forged\u2029',
  'data: forged',
  'Retry-After: 0',
  '<script>alert(1)</script>',
  "'; drop table resource_locks; --",
  '${process.exit(1)}',
  '%0d%0aSet-Cookie: a=b',
  '__proto__',
  'constructor'
]

const LINE_BREAKS = ['\r', '\n', '\r\n', '\v', '\f', '\u0085', '\0', '\u001b[2J']

void t.test('no name forges a line of the log, a header or an event', async (t) => {
  let log = ''
  const logger = pino({ level: 'trace' }, { write: (text: string) => (log += text) })
  await using api = await TestApp.open('sqlite', { logger })
  for (const [index, name] of NAMES.entries()) {
    const mine = { resource_name: name, process_id: name }
    const granted = await api.post('/locks/request', { ...mine, request_id: name, ttl_seconds: 60, metadata: { [name === '__proto__' ? 'x' : name]: name } })
    t.match(granted, { status: 200, body: { data: mine } }, `name ${index}`)
    const refused = await api.post('/locks/request', mine)
    t.match(refused, { status: 409, headers: { 'retry-after': '60' }, body: { locked_by: name } })
    t.strictSame(Object.keys(refused.headers).toSorted(), ['connection', 'content-length', 'content-security-policy', 'content-type', 'date', 'retry-after', 'x-content-type-options', 'x-request-id'], 'no header of the caller’s making')
    log = ''
    t.match(await api.post('/locks/force-release', { resource_name: name, reason: name }), { status: 200, body: { data: { reason: name } } })
    const told = log.split('\n').filter((line) => line.includes('force-released'))
    t.equal(told.length, 1, 'one line')
    t.match(JSON.parse(told[0] ?? ''), { level: 40, msg: 'lock force-released', resource_name: name, process_id: name, reason: name })
  }
  t.equal(Object.getPrototypeOf({}), Object.prototype)
  t.notOk('level' in {})

  const { body } = await fetch(`http://127.0.0.1:${await api.listen()}/locks/watch`, { headers: { 'last-event-id': '0' } })
  let stream = ''
  const decoder = new TextDecoder()
  for await (const bytes of body ?? new ReadableStream<Uint8Array>()) {
    stream += decoder.decode(bytes, { stream: true })
    if (eventsIn(stream).length === NAMES.length * 2) break
  }
  const events = eventsIn(stream)
  t.equal(events.length, NAMES.length * 2)
  for (const [index, event] of events.entries()) {
    const lines = event.split(/\r\n|\r|\n/)
    t.strictSame(lines.map((line) => line.slice(0, line.indexOf(':'))), ['id', 'event', 'data'])
    t.match(JSON.parse(lines[2]?.slice('data: '.length) ?? ''), { resource_name: NAMES[Math.floor(index / 2)] })
  }
})

const eventsIn = (stream: string): string[] => stream.slice(0, stream.lastIndexOf('\n\n') + 2).split('\n\n').filter((text) => text.startsWith('id: '))

void t.test('nothing that breaks a line gets in, by whichever way', async (t) => {
  let log = ''
  const logger = pino({ level: 'info' }, { write: (text: string) => (log += text) })
  await using api = await TestApp.open('sqlite', { logger })
  await api.post('/locks/request', { resource_name: 'a', process_id: 'p' })
  for (const line of LINE_BREAKS) {
    const bad = `a${line}b`
    const title = JSON.stringify(line)
    for (const [url, payload] of [
      ['/locks/request', { resource_name: bad, process_id: 'p' }],
      ['/locks/request', { resource_name: 'b', process_id: bad }],
      ['/locks/request', { resource_name: 'b', process_id: 'p', request_id: bad }],
      ['/locks/request-many', { resource_names: ['b', bad], process_id: 'p' }],
      ['/locks/force-release', { resource_name: 'a', reason: bad }],
      ['/locks/force-release-all', { prefix: bad, reason: 'r' }]
    ] as const) {
      t.match(await api.post(url, payload), { status: 422 }, `${url} ${title}`)
    }
    for (const query of ['prefix', 'process_id', 'cursor']) t.match(await api.get('/locks/all-locked', { [query]: bad }), { status: 422 }, `${query} ${title}`)
    for (const query of ['resource_name', 'process_id', 'cursor']) t.match(await api.get('/locks/history', { [query]: bad }), { status: 422 })
  }
  t.match(await api.send({ url: '/locks/watch', headers: { 'last-event-id': '1, 2' } }), { status: 422 }, 'a header that came twice')
  t.equal(log, '', 'and nothing of it is logged')
})
