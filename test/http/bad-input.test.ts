import type { Test } from 'tap'
import { onEachDatabase, type TestApp } from '../support/app.js'

type Fault = readonly [type: string, loc: readonly (string | number)[], msg: string]

const missing = (name: string): Fault => ['missing', ['body', name], 'Field required']
const noString = (name: string): Fault => ['string_type', ['body', name], 'Input should be a valid string']
const noNumber: Fault = ['float_type', ['body', 'ttl_seconds'], 'Input should be a valid number']
const notPositive: Fault = ['greater_than', ['body', 'ttl_seconds'], 'Input should be greater than 0']
const tooMuch: Fault = ['less_than_equal', ['body', 'ttl_seconds'], 'Input should be less than or equal to 31536000']
const noObject: Fault = ['dict_type', ['body', 'metadata'], 'Input should be a valid object']
const tooLarge: Fault = ['too_long', ['body', 'metadata'], 'Object should take at most 4096 bytes as JSON']
const noBody: Fault = ['dict_type', ['body'], 'Input should be a valid object']
const noJson: Fault = ['json_invalid', ['body'], 'The body is not valid JSON']
const noUtf8: Fault = ['json_invalid', ['body'], 'The body is not valid UTF-8']
const twice: Fault = ['value_error', ['body'], 'The body has a property twice']
const proto: Fault = ['value_error', ['body'], 'The body has a property named __proto__']

const tooShort = (place: string, name: string): Fault => ['string_too_short', [place, name], 'String should have at least 1 character']
const tooLong = (place: string, name: string): Fault => ['string_too_long', [place, name], 'String should have at most 255 characters']
const notNfc = (place: string, name: string): Fault => ['value_error', [place, name], 'Input should be in Unicode normalisation form C (NFC)']
const notWellFormed = (place: string, name: string): Fault => ['value_error', [place, name], 'Input should be well-formed Unicode, encoded in UTF-8']
const control = (place: string, name: string): Fault => ['value_error', [place, name], 'Input should have no control characters']
const noText = (name: string): Fault => ['string_type', ['query', name], 'Input should be a valid string']
const noInteger = (name: string): Fault => ['int_type', ['query', name], 'Input should be a valid integer']
const noCursor: Fault = ['value_error', ['query', 'cursor'], 'Input should be the next_cursor of an earlier page']

const names = '"resource_name":"a","process_id":"p"'
const body = (resourceName: string) => `{"resource_name":"${resourceName}","process_id":"p"}`
const nested = (depth: number) => `{${names},"metadata":{"a":${'['.repeat(depth)}${']'.repeat(depth)}}}`
const bytes = (...codes: number[]) => Buffer.concat([Buffer.from('{"resource_name":"a'), Buffer.from(codes), Buffer.from('","process_id":"p"}')])

const extra = (name: string, meant?: string): Fault => ['extra_forbidden', ['body', name], `Extra inputs are not permitted${meant === undefined ? '' : `; did you mean '${meant}'?`}`]
const noParameter = (name: string, meant?: string): Fault => [extra(name)[0], ['query', name], extra(name, meant)[2]]

/** Numbers that JSON allows and JavaScript would make others of. */
const LOSSY = ['1e400', '-1e400', '1e-400', '9007199254740993', '-9007199254740992', `1${'0'.repeat(400)}`]
const lossy = (number: string): Fault => [
  'value_error',
  ['body'],
  `The body has the number ${number.length > 40 ? `${number.slice(0, 40)}…` : number}, which would not be kept as it is; send it as a string`
]

/** Texts of `POST /locks/request` with their faults, all of them and in order. */
const BODIES: readonly (readonly [text: string | Buffer, ...faults: Fault[]])[] = [
  ['{}', missing('resource_name'), missing('process_id')],
  ['{"resource_name":"a"}', missing('process_id')],
  ['{"process_id":5,"ttl_seconds":0,"metadata":[]}', missing('resource_name'), noString('process_id'), notPositive, noObject],
  ['{"resource_name":null,"process_id":["p"]}', noString('resource_name'), noString('process_id')],
  ['{"resource_name":true,"process_id":{}}', noString('resource_name'), noString('process_id')],
  ...['true', 'false', '[5]', '"30"', '""', '{}', '"NaN"', '"Infinity"'].map(
    (ttl) => [`{${names},"ttl_seconds":${ttl}}`, noNumber] as const
  ),
  ...['0', '-0', '-1', '-0.001', '-1e308'].map((ttl) => [`{${names},"ttl_seconds":${ttl}}`, notPositive] as const),
  ...['1e308', '31536000.001', '31536001'].map((ttl) => [`{${names},"ttl_seconds":${ttl}}`, tooMuch] as const),
  ...['NaN', 'Infinity', '+1', '01', '0x10', '.5', '1_000', 'undefined'].map((ttl) => [`{${names},"ttl_seconds":${ttl}}`, noJson] as const),
  ...['"x"', '[]', '5', 'true', '[{}]'].map((metadata) => [`{${names},"metadata":${metadata}}`, noObject] as const),
  [`{${names},"metadata":{"k":"${'x'.repeat(4089)}"}}`, tooLarge],
  [`{${names},"metadata":{"k":"${'ü'.repeat(2045)}"}}`, tooLarge],
  [nested(5000), tooLarge],
  [nested(30_000), tooLarge],
  ...['null', '[]', '"text"', '5', 'true', `[{${names}}]`].map((text) => [text, noBody] as const),
  ['', ['missing', ['body'], 'Field required']],
  ...['{', '{"a":1,}', "{'a':1}", `{${names}} x`, 'resource_name=a&process_id=p', '\ufeff{}', '\0', '['.repeat(60_000)].map((text) => [text, noJson] as const),
  [bytes(0xff), noUtf8],
  [bytes(0xf0, 0x9f, 0x98), noUtf8],
  [bytes(0xed, 0xa0, 0x80), noUtf8],
  [bytes(0xc0, 0x80), noUtf8],
  [body(''), tooShort('body', 'resource_name')],
  ['{"resource_name":"a","process_id":""}', tooShort('body', 'process_id')],
  [body('x'.repeat(256)), tooLong('body', 'resource_name')],
  [body('😀'.repeat(256)), tooLong('body', 'resource_name')],
  [body('e\u0301'), notNfc('body', 'resource_name')],
  [body('\u212b'), notNfc('body', 'resource_name')],
  [body('\u1100\u1161'), notNfc('body', 'resource_name')],
  [body('\\ud800'), notWellFormed('body', 'resource_name')],
  [body('\\udc00\\ud800'), notWellFormed('body', 'resource_name')],
  ['{"resource_name":"a","process_id":"x\\uDFFF"}', notWellFormed('body', 'process_id')],
  ...['\\u0000', 'a\\u0000b', '\\n', '\\r\\n', '\\t', '\\u001b[2J', '\\u007f', '\\u0085', '\\u009f'].map(
    (name) => [body(name), control('body', 'resource_name')] as const
  ),
  [`{${names},"__proto__":{"x":1}}`, proto],
  [`{${names},"\\u005f_proto__":1}`, proto],
  [`{${names},"metadata":{"deep":[{"__proto__":null}]}}`, proto],
  [`{${names},"resource_name":"b"}`, twice],
  [`{${names},"resource_n\\u0061me":"b"}`, twice],
  [`{${names},"process_id":"p"}`, twice],
  ...LOSSY.flatMap((number) => [
    [`{${names},"ttl_seconds":${number}}`, lossy(number)] as const,
    [`{${names},"metadata":{"deep":[{"n":${number}}]}}`, lossy(number)] as const
  ]),
  [`{${names},"ttl":5}`, extra('ttl', 'ttl_seconds')],
  [`{${names},"ttlSeconds":5,"lockID":5,"resource-names":[],"WAIT":1,"owner":"x","":0}`, extra('ttlSeconds', 'ttl_seconds'), extra('lockID'), extra('resource-names', 'resource_name'), extra('WAIT', 'wait_seconds'), extra('owner'), extra('')],
  [`{${names},"constructor":1,"toString":2}`, extra('constructor'), extra('toString')],
  [`{${names},"unknown":1,"unknown":1}`, twice],
  [`{${names},"metadata":{"a":[{"b":1,"b":2}]}}`, twice],
  [`{${names},"metadata":{"a":1},"metadata":{"a":1}}`, twice],
  [`[{"a":1,"a":2}]`, twice]
]

type QueryRow = readonly [method: 'GET' | 'DELETE', url: string, ...faults: Fault[]]
const status = (query: string, ...faults: Fault[]): QueryRow => ['GET', `/locks/status?${query}`, ...faults]
const list = (query: string, ...faults: Fault[]): QueryRow => ['GET', `/locks/all-locked?${query}`, ...faults]
const release = (query: string, ...faults: Fault[]): QueryRow => ['DELETE', `/locks/release?${query}`, ...faults]

const QUERIES: readonly QueryRow[] = [
  ['GET', '/locks/status', ['missing', ['query', 'resource_name'], 'Field required']],
  release('', ['missing', ['query', 'resource_name'], 'Field required'], ['missing', ['query', 'process_id'], 'Field required']),
  status('resource_name=', tooShort('query', 'resource_name')),
  status('resource_name', tooShort('query', 'resource_name')),
  status(`resource_name=${'x'.repeat(256)}`, tooLong('query', 'resource_name')),
  status(`resource_name=${encodeURIComponent('😀'.repeat(256))}`, tooLong('query', 'resource_name')),
  ...['%ED%A0%80', '%ff', 'a%C0%80', '%F0%9F%98', '%', '%zz', '%u0041'].map(
    (name) => status(`resource_name=${name}`, notWellFormed('query', 'resource_name'))
  ),
  ...['%00', 'a%00b', '%0A', '%7F', '%C2%85'].map((name) => status(`resource_name=${name}`, control('query', 'resource_name'))),
  status('resource_name=e%CC%81', notNfc('query', 'resource_name')),
  status('resource_name=a&resource_name=a', noText('resource_name')),
  status('resource_name[]=a', ['missing', ['query', 'resource_name'], 'Field required'], noParameter('resource_name[]', 'resource_name')),
  status('__proto__=a&constructor=b', ['missing', ['query', 'resource_name'], 'Field required'], noParameter('__proto__'), noParameter('constructor')),
  release('resource_name=held&process_id=p&lockid=1', noParameter('lockid', 'lock_id')),
  ['GET', '/locks/stats?prefix=a', noParameter('prefix')],
  ['GET', '/locks/watch?preifx=a', noParameter('preifx', 'prefix')],
  release('resource_name=a&process_id=p&process_id=q', noText('process_id')),
  release('resource_name=%00&process_id=', control('query', 'resource_name'), tooShort('query', 'process_id')),
  ...['true', '', 'NaN', '1.5', '-1', '1e3', '0x10', '01', '+1', '%201', '99999999999999999999'].flatMap((value) => [
    release(`resource_name=a&process_id=p&lock_id=${value}`, noInteger('lock_id')),
    list(`limit=${value}`, noInteger('limit'))
  ]),
  release('resource_name=a&process_id=p&lock_id=1&lock_id=1', noInteger('lock_id')),
  release('resource_name=a&process_id=p&lock_id=9007199254740992', [
    'less_than_equal',
    ['query', 'lock_id'],
    'Input should be less than or equal to 9007199254740991'
  ]),
  list('limit=0', ['greater_than_equal', ['query', 'limit'], 'Input should be greater than or equal to 1']),
  list('limit=1001', ['less_than_equal', ['query', 'limit'], 'Input should be less than or equal to 1000']),
  list('prefix=%00', control('query', 'prefix')),
  list('prefix=%ED%A0%80', notWellFormed('query', 'prefix')),
  list(`prefix=${'x'.repeat(256)}`, tooLong('query', 'prefix')),
  list('prefix=a&prefix=b', noText('prefix')),
  list('process_id=', tooShort('query', 'process_id')),
  ...['', '*', 'YQ==', 'AA', '_w', '7aCA', 'Zc2B'].map((cursor) => list(`cursor=${cursor}`, noCursor)),
  list(`cursor=${'A'.repeat(2049)}`, ['string_too_long', ['query', 'cursor'], 'String should have at most 2048 characters'])
]

/** Sends each request over a held lock, and checks the answer and that nothing was changed. */
async function refuses(t: Test, api: TestApp, requests: Iterable<readonly [Parameters<TestApp['send']>[0], number, unknown]>): Promise<void> {
  await api.post('/locks/request', { resource_name: 'held', process_id: 'p', metadata: {} })
  const before = await api.contents()
  for (const [request, status, expected] of requests) {
    const answer = await api.send(request)
    const title = JSON.stringify(request).slice(0, 150)
    t.equal(answer.status, status, title)
    t.strictSame(answer.body, expected, title)
    t.strictSame(await api.contents(), before, title)
  }
}

const invalid = (faults: readonly Fault[]) => ({ detail: faults.map(([type, loc, msg]) => ({ type, loc, msg })), code: 'INVALID_REQUEST' })
const json = { 'content-type': 'application/json' }
const post = (payload: string | Buffer, headers: Record<string, string> = json) => ({ method: 'POST', url: '/locks/request', headers, payload }) as const

onEachDatabase('a body with faults is refused with one entry for each, and nothing is coerced', async (t, api) => {
  await refuses(t, api, BODIES.map(([text, ...faults]) => [post(text), 422, invalid(faults)] as const))
})

onEachDatabase('a lock to renew with something unknown in it is refused', async (t, api) => {
  const payload = JSON.stringify({ process_id: 'p', locks: [{ resource_name: 'held', ttl: 5 }, { resource_name: 'held', lockId: 1 }] })
  const faults: Fault[] = [
    ['extra_forbidden', ['body', 'locks', '0', 'ttl'], "Extra inputs are not permitted; did you mean 'ttl_seconds'?"],
    ['extra_forbidden', ['body', 'locks', '1', 'lockId'], "Extra inputs are not permitted; did you mean 'lock_id'?"]
  ]
  await refuses(t, api, [[{ ...post(payload), url: '/locks/renew-many' }, 422, invalid(faults)]])
})

onEachDatabase('a query with faults is refused with one entry for each', async (t, api) => {
  await refuses(t, api, QUERIES.map(([method, url, ...faults]) => [{ method, url }, 422, invalid(faults)] as const))
})

onEachDatabase('a body that is not JSON by name or is too large is refused', async (t, api) => {
  const unsupported = { detail: 'The body must be sent as application/json', code: 'UNSUPPORTED_MEDIA_TYPE' }
  const large = { detail: 'The body is larger than 64 KiB', code: 'PAYLOAD_TOO_LARGE' }
  const types = ['text/plain', 'application/x-www-form-urlencoded', 'multipart/form-data; boundary=x', 'application/xml', 'application/jsonx', 'nonsense', '/']
  await refuses(t, api, [
    [post(body('a'), {}), 415, unsupported],
    ...types.map((type) => [post(body('a'), { 'content-type': type }), 415, unsupported] as const),
    [{ method: 'DELETE', url: '/locks/release?resource_name=held&process_id=p', headers: { 'content-type': 'text/plain' }, payload: 'x' }, 415, unsupported],
    [post(' '.repeat(65_537)), 413, large],
    [post(`{${names},"padding":"${'x'.repeat(70_000)}"}`), 413, large],
    [{ ...post('{}', { 'content-type': 'text/plain' }), url: '/nowhere' }, 404, { detail: 'Not Found', code: 'NOT_FOUND' }]
  ])
})

onEachDatabase('what is at the limit is accepted', async (t, api) => {
  for (const name of ['x'.repeat(255), '😀'.repeat(255), '\u00e9', '\u00a0', '\u200d', '\ufffd', '\ufeff', '__proto__']) {
    t.match(await api.post('/locks/request', { resource_name: name, process_id: name }), { status: 200, body: { data: { resource_name: name } } })
    t.match(await api.delete('/locks/release', { resource_name: name, process_id: name, lock_id: 9_007_199_254_740_991 }), { status: 404 })
    t.match(await api.delete('/locks/release', { resource_name: name, process_id: name }), { status: 200 })
  }
  t.match(await api.send(post(`{${names},"ttl_seconds":31536000}`)), { status: 200 })
  const text = body('full')
  t.match(await api.send(post(text + ' '.repeat(65_536 - text.length))), { status: 200 }, '64 KiB')
  t.match(await api.send(post(nested(2000).replace('"a"', '"deep"'))), { status: 200 }, 'deep metadata')
  t.match(await api.send(post(body('typed'), { 'content-type': 'Application/JSON; charset=utf-8' })), { status: 200 })
  const numbers = { a: 9_007_199_254_740_991, b: -9_007_199_254_740_991, c: 1e308, d: 5e-324, e: 0.1, f: 0, g: 1e21, h: 1_234_567_890.123_456_7 }
  t.match(await api.post('/locks/request', { resource_name: 'numbers', process_id: 'p', metadata: numbers }), { status: 200, body: { data: { metadata: numbers } } })
  t.match(await api.send(post(`{"resource_name":"zero","process_id":"p","metadata":{"n":[0.000000000000000000,-0e400,1.0000000000000000000]}}`)), { status: 200 })
  const colons = { ':': '":', '"a":': ['\\":', { '\\': ':\\' }], nested: { a: { a: { a: ':' } } }, list: [{ a: 1 }, { a: 2 }] }
  t.match(await api.post('/locks/request', { resource_name: '":":', process_id: ':', metadata: colons }), { status: 200 }, 'colons in texts are no properties')
})

onEachDatabase('a content type without content does no harm', async (t, api) => {
  for (const type of ['application/json', 'text/plain']) {
    await api.post('/locks/request', { resource_name: 'a', process_id: 'p' })
    const url = '/locks/release?resource_name=a&process_id=p'
    t.match(await api.send({ method: 'DELETE', url, headers: { 'content-type': type } }), { status: 200 }, type)
  }
})
