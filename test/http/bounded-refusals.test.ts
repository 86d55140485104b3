import t from 'tap'
import { nearest } from '../../src/http/validation.js'
import { onEachDatabase } from '../support/app.js'

interface Refusal {
  readonly code: string
  readonly detail: readonly { readonly type: string; readonly loc: readonly unknown[]; readonly msg: string }[]
}

const names = '"resource_name":"a","process_id":"p"'
const many = (count: number, of: (index: number) => string): string => Array.from({ length: count }, (_, index) => of(index)).join(',')
const control = String.raw`\u0001`

/** Bodies with far more to say against them than anybody wants to read. */
const BODIES: readonly (readonly [path: string, body: string])[] = [
  ['/locks/request', `{${names},${many(6000, (index) => `"${index}":1`)}}`],
  ['/locks/request', `{${many(6000, (index) => `"${index}":1`)},${names}}`],
  ['/locks/request', `{${names},${many(30, (index) => `"${control.repeat(200)}${index}":1`)}}`],
  ['/locks/request', `{${many(20, (index) => `"${control.repeat(98)}${10 + index}":1`)}}`],
  ['/locks/request', `{${names},${many(20, (index) => `"${'\\ud800'.repeat(400)}${index}":1`)}}`],
  ['/locks/request', `{${names},"metadata":{${many(20, (index) => `"${control.repeat(400)}${index}":[1]`)}}}`],
  ['/locks/request', `{${names},"${'x'.repeat(60_000)}":1}`],
  ['/locks/request', `{${names},${many(20, (index) => `"${index}":1`)}}`],
  ['/locks/request', `{"resource_name":"${'x'.repeat(60_000)}","process_id":"${control}"}`],
  ['/locks/request-many', `{"process_id":"p","resource_names":[${many(30_000, () => '1')}]}`],
  ['/locks/request-many', `{"process_id":"p","resource_names":[${many(10_000, () => '""')}]}`],
  ['/locks/request-many', `{"process_id":"p","resource_names":[${many(100, () => '1')}]}`],
  ['/locks/release-many', `{"process_id":"p","resource_names":[${many(3000, (index) => `"${control}${index}"`)}]}`],
  ['/locks/renew-all', `[${many(30_000, () => '1')}]`]
]

onEachDatabase('a refusal lists at most 20 faults and is no larger than 16 KiB', async (t, api) => {
  const before = await api.contents()
  for (const [url, payload] of BODIES) {
    const response = await api.app.inject({ method: 'POST', url, headers: { 'content-type': 'application/json' }, payload })
    const title = `${url} ${payload.slice(0, 60)}`
    const { code, detail } = response.json<Refusal>()
    t.strictSame([response.statusCode, code], [422, 'INVALID_REQUEST'], title)
    t.ok(detail.length >= 1 && detail.length <= 20, `${detail.length} faults: ${title}`)
    t.ok(response.rawPayload.length <= 16_384, `${response.rawPayload.length} bytes: ${title}`)
    t.ok(detail.every(({ loc }) => loc[0] === 'body'), title)
  }
  const url = `/locks/status?resource_name=a&${Array.from({ length: 700 }, (_, index) => `%00%01${index}`).join('&')}`
  const response = await api.app.inject({ url })
  t.equal(response.statusCode, 422)
  t.ok(response.rawPayload.length <= 16_384)
  t.strictSame(await api.contents(), before)
})

onEachDatabase('of a long name that a caller made up, the first hundred characters are shown', async (t, api) => {
  for (const [length, shown] of [[100, 'x'.repeat(100)], [101, `${'x'.repeat(100)}…`], [60_000, `${'x'.repeat(100)}…`]] as const) {
    const { body } = await api.post<Refusal>('/locks/request', { resource_name: 'a', process_id: 'p', ['x'.repeat(length)]: 1 })
    t.strictSame(body.detail.map(({ loc }) => loc), [['body', shown]])
  }
})

onEachDatabase('what a call does not read it does not take', async (t, api) => {
  await api.post('/locks/request', { resource_name: 'a', process_id: 'p' })
  const before = await api.contents()
  const release = (payload: string) =>
    api.send<Refusal>({ method: 'DELETE', url: '/locks/release?resource_name=a&process_id=p', headers: { 'content-type': 'application/json' }, payload })
  for (const [payload, ...places] of [
    ['{"lock_id":5}', ['body', 'lock_id']],
    ['{"a":1,"b":2}', ['body', 'a'], ['body', 'b']],
    ['[]', ['body']],
    ['5', ['body']]
  ] as const) {
    const { status, body } = await release(payload)
    t.equal(status, 422, payload)
    t.strictSame(body.detail.map(({ type, loc }) => [type, loc]), places.map((loc) => ['extra_forbidden', loc]), payload)
  }
  t.match(await api.send({ method: 'POST', url: '/locks/request?ttl_seconds=5', payload: { resource_name: 'b', process_id: 'p' } }), { status: 422 })
  t.strictSame(await api.contents(), before)
  t.match(await release('{}'), { status: 200 }, 'nothing is nothing')
})

void t.test('a name that was likely meant is told', (t) => {
  const known = ['resource_name', 'process_id', 'ttl_seconds', 'wait_seconds', 'request_id', 'keep_place', 'metadata', 'lock_id']
  const meant = (name: string) => nearest(name, known)
  for (const name of ['ttl', 'ttlSeconds', 'TTL-Seconds', 'ttl_second', 'tl_seconds']) t.equal(meant(name), 'ttl_seconds', name)
  for (const [name, other] of [['resource', 'resource_name'], ['name', 'resource_name'], ['lockid', 'lock_id'], ['meta', 'metadata'], ['proces_id', 'process_id']]) t.equal(meant(name ?? ''), other)
  for (const name of ['', 'x', 'id', 'owner', '__proto__', 'constructor', 'timeout', 'x'.repeat(60_000), 'seconds']) t.equal(meant(name), undefined, name.slice(0, 20))
  t.end()
})
