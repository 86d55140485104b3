import { pino } from 'pino'
import t from 'tap'
import { onEachDatabase, TestApp } from '../support/app.js'
import { answersTo, type Call } from '../support/openapi.js'
import { besideService, DATABASES } from '../support/databases.js'
import { duringOutage } from '../support/session.js'

const P = { processId: 'p' }
const DOC = { docId: 'd', userId: 'u' }
const LONG_TTL = 'ttl should be a number of seconds, greater than 0 and at most 31536000'
const LONG = 'x'.repeat(300)
const FRAMED = { success: false }
const BROKEN_TTLS = [0, -1, '0', '-5', 'abc', '', ' 30', '1e3', '0x10', true, null, [30], {}, 31_536_001, '1'.repeat(400)]

type Payload = Call[1]
/** What is said of each of some bodies. */
type Fault = readonly [error: string, ...bodies: Payload[]]

/** Those faults at each of those paths. */
function refusals(frame: object, calls: readonly string[], faults: readonly Fault[]): Call[] {
  return calls.flatMap((call) => faults.flatMap(([error, ...bodies]) => bodies.map((body): Call => [call, body, 400, { ...frame, error }])))
}

/** A thing that is not there, in each of the ways in which it can be missing. */
const without = (field: string): Payload[] => [null, 'null', '"text"', [], {}, { [field]: '' }, { [field]: null }, { [field]: 0 }, { [field]: false }]
/** A body that is good otherwise, with each of some values in one field. */
const each = (field: string, values: readonly unknown[], rest: object): Payload[] => values.map((value) => Object.assign({}, rest, { [field]: value }))
const wrongIds = (field: string, rest: object): Payload[] => each(field, [true, ['p'], {}, 2 ** 53], rest)
const wrongTtls = (rest: object): Payload[] => each('ttl', BROKEN_TTLS, rest)

const UNDECODABLE: Fault = ['The id in the path should be percent-encoded UTF-8', P]
const NO_PROCESS: readonly Fault[] = [
  ['processId is required', ...without('processId'), '[{"processId":"p"}]', { userIds: 'x', ttl: 0 }],
  ['processId should be a string', ...wrongIds('processId', {})],
  ['processId should have no control characters', { processId: 'a\nb' }],
  ['processId should have at most 255 characters', { processId: LONG }]
]

const WRITTEN_SINGLES = ['POST /lock/user', 'POST /unlock/user', 'POST /lock/contract', 'POST /unlock/contract']
const SINGLES: readonly Call[] = [
  ...refusals({}, WRITTEN_SINGLES.map((call) => `${call}/1`), NO_PROCESS),
  ...refusals({}, ['POST /lock/user/1', 'POST /lock/contract/1'], [[LONG_TTL, ...wrongTtls(P)]]),
  ...refusals({}, ['POST /lock/user/%00', 'POST /unlock/user/%0A', 'GET /lock/user/%1f'], [['userId should have no control characters', P]]),
  ...refusals({}, ['POST /lock/contract/e%CC%81'], [['contractId should be in Unicode normalisation form C (NFC)', P]]),
  ...refusals({}, [`GET /lock/user/${LONG}`], [['userId should have at most 245 characters', null]]),
  ...refusals({}, ['GET /lock/user/%ff', 'POST /unlock/contract/%C0%80?x', 'GET /lock/company/%'], [UNDECODABLE])
]

const withUsers = (...userIds: unknown[]): Payload => ({ ...P, userIds })
const COMPANIES: readonly Call[] = [
  ...refusals({}, ['POST /lock/company/1', 'POST /unlock/company/1'], [
    ...NO_PROCESS,
    ['userIds array is required', P, ...each('userIds', [null, 'u', { 0: 'u' }, 5], { ...P, ttl: 0 })],
    ['userIds[1] should be a string', withUsers('a', null)],
    ['userIds[0] should be a string', withUsers([])],
    ['userIds[0] should have at least 1 character', withUsers('')],
    ['userIds[1] should have no control characters', withUsers('a', 'b\0')],
    ['userIds[0] should have at most 245 characters', withUsers('x'.repeat(246))],
    ['userIds should have at most 1000 items', withUsers(...Array.from({ length: 1001 }, () => 'u'))]
  ]),
  ...refusals({}, ['POST /lock/company/1'], [[LONG_TTL, ...wrongTtls({ ...P, userIds: ['u'] })]]),
  ...refusals({}, ['POST /lock/company/%07', 'POST /unlock/company/%07', 'GET /lock/company/%01'], [
    ['companyId should have no control characters', withUsers()]
  ])
]

const ACQUIRE = 'POST /api/lock/acquire'
const EXTEND = 'POST /api/lock/extend'
const DOCUMENTS: readonly Call[] = [
  ...refusals(FRAMED, [ACQUIRE, EXTEND, 'POST /api/lock/release'], [
    ['docId and userId are required', ...without('docId'), { docId: 'd' }, { userId: 'u' }, { ...DOC, userId: null }, { ...DOC, docId: 0 }],
    ['docId should be a string', ...wrongIds('docId', DOC)],
    ['userId should be a string', ...wrongIds('userId', DOC)],
    ['docId should have no control characters', { ...DOC, docId: 'a\t' }],
    ['docId should have at most 246 characters', { ...DOC, docId: 'x'.repeat(247) }],
    ['userId should be well-formed Unicode, encoded in UTF-8', '{"docId":"d","userId":"\\ud800"}']
  ]),
  ...refusals(FRAMED, [ACQUIRE, EXTEND], [[LONG_TTL, ...wrongTtls(DOC)]]),
  ...refusals(FRAMED, [ACQUIRE], [
    ['username should be a string', { ...DOC, username: 5 }],
    ['username should have no control characters', { ...DOC, username: 'a\0' }],
    ['username should have at most 255 characters', { ...DOC, username: LONG }]
  ]),
  ...refusals(FRAMED, ['POST /api/lock/force-release'], [
    ['docId and adminUserId are required', ...without('docId'), { docId: 'd' }, { adminUserId: 'a' }],
    ['docId should be a string', ...wrongIds('docId', { adminUserId: 'a' })],
    ['adminUserId should be a string', ...wrongIds('adminUserId', { docId: 'd' })]
  ]),
  ...refusals(FRAMED, ['GET /api/lock/status/a%0Ab'], [['docId should have no control characters', null]]),
  ...refusals(FRAMED, ['GET /api/lock/status/%ff'], [UNDECODABLE])
]

const BOOKINGS = refusals(FRAMED, ['POST /api/book'], [
  ['seat_number is required', ...without('seat_number')],
  ['seat_number should be a string', ...wrongIds('seat_number', {}), '{"seat_number":1e400}'],
  ['seat_number should have no control characters', { seat_number: '\u007f' }],
  ['seat_number should have at most 245 characters', { seat_number: LONG }]
])

const INFO = { ID: 'run 1' }
const STATES: readonly Call[] = [
  ...refusals({}, ['POST /terraform/1/lock', 'POST /terraform/1/unlock'], [
    ['ID is required', 'null', '"text"', [], {}, { ID: '' }, { ID: null }, { ID: 0 }],
    ['ID should be a string', ...wrongIds('ID', {})],
    ['ID should have no control characters', { ID: 'a\nb' }],
    ['ID should have at most 255 characters', { ID: LONG }],
    ['The fields should take at most 4096 bytes as JSON', { ...INFO, Info: 'ü'.repeat(2100) }]
  ]),
  ...refusals({}, ['POST /terraform/%07/lock', 'POST /terraform/%07/unlock'], [['The name of the state should have no control characters', INFO]]),
  ...refusals({}, [`POST /terraform/${LONG}/lock`], [['The name of the state should have at most 245 characters', INFO]]),
  ...refusals({}, ['POST /terraform/1/lock?ttl_seconds=0', 'POST /terraform/1/lock?ttl_seconds=1e3', 'POST /terraform/1/lock?ttl_seconds=1&ttl_seconds=1'], [
    ['ttl_seconds should be a number of seconds, greater than 0 and at most 31536000', INFO]
  ]),
  ...refusals({}, ['POST /terraform/1/lock?ttl=60'], [['The only parameter is ttl_seconds', INFO]]),
  ...refusals({}, ['POST /terraform/%ff/lock', 'POST /terraform/%ff/unlock'], [UNDECODABLE])
]

/** One call of each API that writes, with what it answers its faults with. */
const WRITES = [
  ['/lock/user/1', P, {}],
  ['/lock/company/1', { ...P, userIds: ['u'] }, {}],
  ['/unlock/company/1', { ...P, userIds: ['u'] }, {}],
  ['/api/lock/acquire', DOC, FRAMED],
  ['/api/lock/clear-all', {}, FRAMED],
  ['/api/book', { seat_number: 'A1' }, FRAMED],
  ['/terraform/1/lock', INFO, {}],
  ['/terraform/1/unlock', INFO, {}]
] as const
const READS = [['/lock/contract/1', {}], ['/lock/company/1', {}], ['/api/lock/status/d', FRAMED], ['/api/lock/all', FRAMED]] as const

onEachDatabase('a fault of form is refused in the words of its API, and changes nothing', async (t, api) => {
  await api.post('/lock/user/1', P)
  const before = await api.contents()
  await answersTo(t, api, [...SINGLES, ...COMPANIES, ...DOCUMENTS, ...BOOKINGS, ...STATES])
  t.strictSame(await api.contents(), before)
})

onEachDatabase('a body that cannot be read is refused in the shape of its API', async (t, api) => {
  for (const [url, , frame] of WRITES) {
    const json = { 'content-type': 'application/json' }
    for (const [headers, payload, status, error] of [
      [json, '{', 400, 'The body is not valid JSON'],
      [json, Buffer.from([0x22, 0xff, 0x22]), 400, 'The body is not valid UTF-8'],
      [json, '{"__proto__":1}', 400, 'The body has a property named __proto__'],
      [json, JSON.stringify({ x: 'x'.repeat(70_000) }), 413, 'The body is larger than 64 KiB'],
      [{ 'content-type': 'text/plain' }, 'text', 415, 'The body must be sent as application/json'],
      [{ 'content-type': 'application/x-www-form-urlencoded' }, 'processId=p', 415, 'The body must be sent as application/json']
    ] as const) {
      const answer = await api.send({ method: 'POST', url, headers, payload })
      t.equal(answer.status, status, url)
      t.strictSame(answer.body, { ...frame, error }, url)
    }
  }
})

onEachDatabase('the longest lease is the one that the settings allow', async (t, api) => {
  t.match(await api.post('/lock/user/1', { ...P, ttl: 20 }), { status: 200 })
  t.match(await api.post('/lock/user/2', { ...P, ttl: '20.001' }), { status: 400 })
  t.match(await api.post('/api/lock/acquire', { ...DOC, ttl: 21 }), { status: 400, body: { error: /at most 20$/ } })
  t.match(await api.post('/terraform/1/lock?ttl_seconds=21', INFO), { status: 400, body: { error: /at most 20$/ } })
  t.match(await api.post('/lock/user/2', P), { status: 200 }, 'the lease of an API by itself is not asked for')
}, { maxTtlSeconds: 20 })

onEachDatabase('ids may be as long as names are, in any script', async (t, api) => {
  for (const id of ['😀'.repeat(245), 'ü&=?#+% /\\"\'', '日本語']) {
    t.match(await api.post(`/lock/user/${encodeURIComponent(id)}`, P), { status: 200, body: { message: `User ${id} locked by process p` } })
    t.match(await api.get(`/lock/user/${encodeURIComponent(id)}`), { status: 200, body: { userId: id, holder: 'p' } })
  }
})

onEachDatabase('a path that is no call of an API is nobody’s', async (t, api) => {
  for (const url of ['/lock/planet/1', '/lock/user', '/lock/user/1/2', '/api/lock', '/lock/planet/%ff', '/api/%ff']) {
    const answer = await api.get(url)
    t.equal(answer.status, 404, url)
    t.strictSame(answer.body, { detail: 'Not Found', code: 'NOT_FOUND' }, url)
  }
})

onEachDatabase('what an API never looked at it still does not look at', async (t, api) => {
  const headers = { 'content-type': 'application/json' }
  const payload = '{"seat_number":"A1","unknown":9007199254740993,"huge":1e400}'
  t.match(await api.send({ method: 'POST', url: '/api/book?unknown=1', headers, payload }), { status: 200 })
})

onEachDatabase('a method that a path does not answer is refused in the shape of the API', async (t, api) => {
  for (const [url, frame, allow] of [
    ['/unlock/user/1', {}, 'POST'],
    ['/api/lock/acquire', { success: false }, 'POST'],
    ['/api/book', { success: false }, 'OPTIONS, POST'],
    ['/terraform/1', {}, 'LOCK, UNLOCK'],
    ['/terraform/1/lock', {}, 'POST']
  ] as const) {
    const { status, headers, body } = await api.get(url)
    t.match({ status, allow: headers['allow'] }, { status: 405, allow }, url)
    t.strictSame(body, { ...frame, error: `This path does not answer GET; it answers ${allow}` })
  }
})

for (const kind of DATABASES) {
  void t.test(`a bug is 500 in the shape of the API, and told to the log alone (${kind})`, async (t) => {
    const lines: string[] = []
    await using api = await TestApp.open(kind, { logger: pino({ level: 'error' }, { write: (line: string) => lines.push(line) }) })
    await besideService(api.database, 'drop table resource_locks')
    for (const [url, body, frame] of WRITES) {
      const answer = await api.post(url, body)
      t.equal(answer.status, 500, url)
      t.strictSame(answer.body, { ...frame, error: 'Internal server error' }, url)
      t.match(lines.pop(), /resource_locks.*stack|stack.*resource_locks/)
    }
    t.strictSame(lines, [], 'one line each')
  })
}

void t.test('a database that is away is 503, never locked and never free', async (t) => {
  await using api = await TestApp.open('postgres')
  for (const [url, body] of WRITES) t.match(await api.post(url, body), { status: 200 })
  await duringOutage(api.database, async () => {
    // Whatever was still under way on the broken connections.
    await api.get('/lock/user/1')
    for (const [answer, frame] of [
      ...(await Promise.all(WRITES.map(async ([url, body, frame]) => [await api.post(url, body), frame] as const))),
      ...(await Promise.all(READS.map(async ([url, frame]) => [await api.get(url), frame] as const)))
    ]) {
      t.equal(answer.status, 503)
      t.match(answer.headers, { 'retry-after': '1' })
      t.strictSame(answer.body, { ...frame, error: 'The database is not available; nothing was changed' })
    }
  })
  t.match(await api.get('/lock/user/1'), { status: 200, body: { locked: true } })
})
