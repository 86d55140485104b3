import { allLocked, answersTo } from '../support/openapi.js'
import { type Answer, makeKey, onEachDatabase, sendWith, type TestApp } from '../support/app.js'

const infoOf = (ID: string) => ({
  ID,
  Operation: 'OperationTypeApply',
  Info: '',
  Who: 'ann@laptop',
  Version: '1.11.4',
  Created: '2026-11-29T02:10:00.123456Z',
  Path: ''
})
const [ANN, BOB] = [infoOf('run-1'), infoOf('run-2')]
const LOST = { error: 'The lock was lost before it was unlocked: another run may have changed the state' }

/** Terraform's own methods. It names the content type also where it sends no content, for `force-unlock`. */
function call(api: TestApp, method: 'LOCK' | 'UNLOCK', state: string, info?: object, secret?: string): Promise<Answer> {
  const headers = { 'content-type': 'application/json', ...(secret === undefined ? {} : { authorization: `Basic ${Buffer.from(`anybody:${secret}`).toString('base64')}` }) }
  return api.send({ method, url: `/terraform/${state}`, headers, ...(info === undefined ? {} : { payload: info }) })
}

onEachDatabase('a state is locked by one run, and the others are told by which', async (t, api) => {
  for (const _ of ['at once', 'again, since the answer was lost']) t.match(await call(api, 'LOCK', 'prod', ANN), { status: 200, body: ANN })
  t.strictSame(await call(api, 'LOCK', 'prod', BOB).then(({ status, body }) => ({ status, body })), { status: 423, body: ANN })
  t.strictSame(await allLocked(api), { 'terraform:prod': 'run-1' })
  t.match(await api.get('/locks/status', { resource_name: 'terraform:prod' }), { body: { data: { expires_at: null, metadata: ANN } } }, 'whatever the default lease is')
  t.match(await call(api, 'LOCK', 'a%2Fb', BOB), { status: 200 }, 'another state is free')
  for (const _ of ['at once', 'again']) t.match(await call(api, 'UNLOCK', 'prod', ANN), { status: 200, body: ANN })
  t.match(await call(api, 'LOCK', 'prod', BOB), { status: 200 }, 'of two states, one run may have both')
  t.match(await call(api, 'UNLOCK', 'prod', ANN), { status: 200 }, 'also when another run has it by now')
  t.strictSame(await allLocked(api), { 'terraform:a/b': 'run-2', 'terraform:prod': 'run-2' })
}, { defaultTtlMs: 1000 })

onEachDatabase('every answer is as documented, by the paths for clients without methods of their own', async (t, api) => {
  await answersTo(t, api, [
    ['POST /terraform/prod/unlock', null, 404, { error: 'The state is not locked' }],
    ['POST /terraform/prod/unlock', ANN, 409, LOST],
    ['POST /terraform/prod/lock?ttl_seconds=60', ANN, 200, ANN],
    ['POST /terraform/prod/lock', BOB, 423, ANN],
    ['POST /terraform/prod/unlock', BOB, 409, LOST],
    ['POST /terraform/prod/unlock', ANN, 200, ANN],
    ['POST /terraform/prod/lock', ANN, 400, { error: 'The ID was used before, for other content or for a lock that has ended since' }],
    ['POST /terraform/prod/lock', BOB, 200, BOB],
    ['POST /terraform/prod/unlock', null, 200, BOB]
  ])
})

onEachDatabase('a run that has lost its lock is told so, and never that it was released', async (t, api) => {
  await call(api, 'LOCK', 'expired?ttl_seconds=60', ANN)
  await call(api, 'LOCK', 'forced', ANN)
  await api.advance(60_000)
  t.match(await call(api, 'UNLOCK', 'forced'), { status: 200, body: ANN })
  for (const state of ['expired', 'forced']) {
    t.match(await call(api, 'UNLOCK', state, ANN), { status: 409, body: LOST }, state)
    t.match(await call(api, 'LOCK', state, BOB), { status: 200 }, state)
    t.match(await call(api, 'UNLOCK', state, ANN), { status: 409, body: LOST }, `${state}, and locked by another`)
  }
  t.match(await api.get('/locks/history', { resource_name: 'terraform:forced', process_id: 'run-1' }), {
    body: { data: { events: [{ event: 'force_released', reason: 'terraform force-unlock' }, {}] } }
  })
})

onEachDatabase('the holder is named also where it is no run of Terraform', async (t, api) => {
  await api.post('/locks/request', { resource_name: 'terraform:prod', process_id: 'migration', ttl_seconds: 60, metadata: { ID: 5 } })
  const { body, ...answer } = await call(api, 'LOCK', 'prod', ANN)
  t.match(answer, { status: 423 })
  t.match(body, { ID: 'migration', Who: 'migration', Path: 'terraform:prod', Created: /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00$/ })
  await api.post('/locks/request', { resource_name: 'terraform:prod', process_id: 'next', wait_seconds: 0.01, request_id: 'r' })
  await api.delete('/locks/release', { resource_name: 'terraform:prod', process_id: 'migration' })
  t.match(await call(api, 'LOCK', 'prod', ANN), { status: 423, body: { ID: 'next' } }, 'the state is kept for who waits for it')
})

onEachDatabase('a key is the password, there and nowhere else', async (t, api) => {
  const { secret } = await makeKey(api, 'ci', ['write'])
  const admin = await makeKey(api, 'ops', ['admin'])
  t.match(await call(api, 'LOCK', 'prod', ANN), { status: 401 })
  t.match(await call(api, 'LOCK', 'prod', ANN, `${secret}x`), { status: 401 })
  t.match(await call(api, 'LOCK', 'prod', ANN, secret), { status: 200 })
  t.match(await api.get('/locks/status', { resource_name: 'terraform:prod' }), { status: 401 })
  t.match(await call(api, 'UNLOCK', 'prod', undefined, secret), { status: 403, body: { error: /scope 'admin'/ } })
  t.match(await call(api, 'UNLOCK', 'prod', undefined, admin.secret), { status: 200, body: ANN })
  const headers = { authorization: `Basic ${Buffer.from(`:${secret}`).toString('base64')}` }
  t.match(await api.send({ method: 'POST', url: '/locks/request', headers, payload: { resource_name: 'a', process_id: 'p' } }), { status: 401 })
  t.match(await sendWith(api, secret, { method: 'POST', url: '/terraform/prod/lock', payload: BOB }), { status: 200 }, 'a bearer is as good')
})
