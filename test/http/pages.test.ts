import t from 'tap'
import { TestApp } from '../support/app.js'
import { servedRoutes } from '../support/openapi.js'

const origin = 'https://app.example.com'
const ask = (api: TestApp, from: string) => api.send({ url: '/locks/status?resource_name=a', headers: { origin: from } })
const preflight = (api: TestApp, from: string) =>
  api.send({ method: 'OPTIONS', url: '/locks/request', headers: { origin: from, 'access-control-request-method': 'POST' } })

void t.test('every page says what it may load, and nothing turns it away from plain http', async (t) => {
  await using api = await TestApp.open('sqlite')
  let pages = 0
  for (const route of servedRoutes(api)) {
    const [method, path = ''] = route.split(' ')
    if (method !== 'GET' || path === '/locks/watch') continue
    const { headers } = await api.get(path.replace(/\/\*$/, '/index.html'))
    if (!String(headers['content-type']).startsWith('text/html')) continue
    pages += 1
    const policy = String(headers['content-security-policy'])
    t.match(policy, /default-src 'none'.*frame-ancestors 'none'/, path)
    t.notMatch(policy, /upgrade-insecure-requests|script-src[^;]*'unsafe|\*/, path)
    t.equal(headers['strict-transport-security'], undefined)
  }
  t.ok(pages >= 2, `${pages} pages`)
})

void t.test('pages of other origins are let in only where that is set', async (t) => {
  await t.test('by default no page', async (t) => {
    await using api = await TestApp.open('sqlite')
    for (const answer of [await ask(api, origin), await preflight(api, origin)]) {
      t.strictSame(Object.keys(answer.headers).filter((name) => name.startsWith('access-control')), [])
    }
    t.match(await preflight(api, origin), { status: 405 })
  })

  await t.test('those of a listed origin', async (t) => {
    await using api = await TestApp.open('sqlite', { corsOrigins: ['http://localhost:3000', origin] })
    t.match(await ask(api, origin), { status: 200, headers: { 'access-control-allow-origin': origin, vary: /^origin$/i } })
    t.match(await preflight(api, origin), {
      status: 204,
      headers: { 'access-control-allow-origin': origin, 'access-control-allow-methods': /DELETE/, 'access-control-allow-headers': /authorization/ }
    })
    for (const stranger of ['https://example.com', `${origin}.evil.example`, 'null', `${origin}/`]) {
      const answer = await ask(api, stranger)
      t.equal(answer.headers['access-control-allow-origin'], undefined, stranger)
      t.match(answer.headers['vary'], /^origin$/i)
      t.equal((await preflight(api, stranger)).headers['access-control-allow-origin'], undefined, stranger)
    }
    t.equal((await api.get('/livez')).headers['access-control-allow-origin'], undefined, 'who names no origin needs none')
    t.match(await api.send({ method: 'POST', url: '/locks/request', headers: { origin }, payload: {} }), {
      status: 422,
      headers: { 'access-control-allow-origin': origin }
    }, 'refusals can be read too')
  })

  await t.test('all of them', async (t) => {
    await using api = await TestApp.open('sqlite', { corsOrigins: ['*'] })
    const { headers } = await ask(api, origin)
    t.equal(headers['access-control-allow-origin'], '*')
    t.equal(headers['access-control-allow-credentials'], undefined, 'nobody’s credentials are ever let through')
  })
})
