import Fastify, { type InjectOptions, type RouteOptions } from 'fastify'
import t from 'tap'
import { newSecret } from '../../src/locks/api-keys.js'
import { requireKeys } from '../../src/http/auth.js'
import { makeKey, onEachDatabase, sendWith, TestApp } from '../support/app.js'
import { acquire } from '../support/commands.js'
import { servedRoutes } from '../support/openapi.js'

/*
 * Scope × route × prefix × owner. Before each call the process p holds `in/owned` and `out/owned` with the key 'owner', and
 * `in/nobodys` without any. Every call names `in/…` where it names anything, and carries a form that is good.
 */
const CALLERS = [
  ['nobody', 'unknown', 'revoked', 'expired'],
  ['reader', 'writer', 'admin', 'owner', 'heir'],
  ['reader in/', 'writer in/', 'admin in/'],
  ['reader out/', 'writer out/', 'admin out/']
].flat()

/** What the process p holds with the key 'owner' beside those, by the names that the other APIs give. */
const OF_OTHER_APIS = ['lock:user:owned', 'lock:contract:owned', 'doc-lock:owned', 'terraform:owned']

const body = (method: 'POST', url: string, payload: object): InjectOptions => ({ method, url, payload })
/** Terraform's own methods, and those by which other callers reach the same. */
const terraform = (method: 'LOCK' | 'UNLOCK' | 'POST', url: string, payload?: object): InjectOptions => ({ method, url, ...(payload === undefined ? {} : { payload }) })
const query = (method: 'GET' | 'DELETE', url: string, fields: Record<string, string> = {}): InjectOptions => ({
  method,
  url: `${url}?${new URLSearchParams(fields).toString()}`
})
const p = { process_id: 'p' }
const owned = { resource_name: 'in/owned' }
const nobodys = { resource_name: 'in/nobodys' }
const reason = { reason: 'why' }

const N = '401 401 401 401'
/** For each route what it is called with, and the status for each caller in turn; more than one where it depends on whose lock it is. */
const ROWS: Readonly<Record<string, readonly (readonly [InjectOptions, string])[]>> = {
  'POST /locks/request': [
    [body('POST', '/locks/request', { resource_name: 'in/free', ...p }), `${N}  403 200 200 200 200  403 200 200  403 403 403`],
    [body('POST', '/locks/request', { ...owned, ...p }), `${N}  403 409 409 409 409  403 409 409  403 403 403`],
    [body('POST', '/locks/request', { ...owned, ...p, steal: true }), `${N}  403 403 200 403 403  403 403 200  403 403 403`]
  ],
  'POST /locks/request-many': [
    [body('POST', '/locks/request-many', { resource_names: ['in/free', 'in/other'], ...p }), `${N}  403 200 200 200 200  403 200 200  403 403 403`],
    [body('POST', '/locks/request-many', { resource_names: ['in/free', 'out/free'], ...p }), `${N}  403 200 200 200 200  403 403 403  403 403 403`],
    [body('POST', '/locks/request-many', { resource_names: ['in/owned'], ...p, steal: true }), `${N}  403 403 200 403 403  403 403 200  403 403 403`]
  ],
  'DELETE /locks/release': [
    [query('DELETE', '/locks/release', { ...owned, ...p }), `${N}  403 404 200 200 200  403 404 200  403 403 403`],
    [query('DELETE', '/locks/release', { ...nobodys, ...p }), `${N}  403 200 200 200 200  403 200 200  403 403 403`]
  ],
  'POST /locks/release-many': [
    [body('POST', '/locks/release-many', { resource_names: ['in/owned'], ...p }), `${N}  403 200 200 200 200  403 200 200  403 403 403`],
    [body('POST', '/locks/release-many', { resource_names: ['in/owned', 'out/owned'], ...p }), `${N}  403 200 200 200 200  403 403 403  403 403 403`]
  ],
  'DELETE /locks/release-all': [[query('DELETE', '/locks/release-all', p), `${N}  403 200 200 200 200  403 200 200  403 200 200`]],
  'POST /locks/renew': [
    [body('POST', '/locks/renew', { ...owned, ...p, ttl_seconds: 5 }), `${N}  403 404 200 200 200  403 404 200  403 403 403`],
    [body('POST', '/locks/renew', { ...nobodys, ...p }), `${N}  403 200 200 200 200  403 200 200  403 403 403`]
  ],
  'POST /locks/renew-many': [
    [body('POST', '/locks/renew-many', { locks: [owned], ...p }), `${N}  403 200 200 200 200  403 200 200  403 403 403`],
    [body('POST', '/locks/renew-many', { locks: [owned, { resource_name: 'out/owned' }], ...p }), `${N}  403 200 200 200 200  403 403 403  403 403 403`]
  ],
  'POST /locks/convert': [
    [body('POST', '/locks/convert', { ...owned, ...p, mode: 'exclusive' }), `${N}  403 404 200 200 200  403 404 200  403 403 403`],
    [body('POST', '/locks/convert', { ...nobodys, ...p, mode: 'exclusive' }), `${N}  403 200 200 200 200  403 200 200  403 403 403`]
  ],
  'POST /locks/renew-all': [[body('POST', '/locks/renew-all', p), `${N}  403 200 200 200 200  403 200 200  403 200 200`]],
  'GET /locks/status': [[query('GET', '/locks/status', owned), `${N}  200 403 200 403 403  200 403 200  403 403 403`]],
  'GET /locks/all-locked': [
    [query('GET', '/locks/all-locked'), `${N}  200 403 200 403 403  200 403 200  200 403 200`],
    [query('GET', '/locks/all-locked', { prefix: 'in/' }), `${N}  200 403 200 403 403  200 403 200  403 403 403`]
  ],
  'GET /locks/history': [
    [query('GET', '/locks/history'), `${N}  200 403 200 403 403  200 403 200  200 403 200`],
    [query('GET', '/locks/history', owned), `${N}  200 403 200 403 403  200 403 200  403 403 403`]
  ],
  'GET /locks/watch': [
    [query('GET', '/locks/watch'), `${N}  200 403 200 403 403  200 403 200  200 403 200`],
    [query('GET', '/locks/watch', { prefix: 'in/o' }), `${N}  200 403 200 403 403  200 403 200  403 403 403`]
  ],
  'GET /locks/stats': [[query('GET', '/locks/stats'), `${N}  200 403 200 403 403  200 403 200  200 403 200`]],
  'POST /locks/revoke': [
    [body('POST', '/locks/revoke', { ...owned, ...reason, grace_seconds: 9 }), `${N}  403 403 200 403 403  403 403 200  403 403 403`]
  ],
  'POST /locks/force-release': [
    [body('POST', '/locks/force-release', { ...owned, ...reason }), `${N}  403 403 200 403 403  403 403 200  403 403 403`]
  ],
  'POST /locks/force-release-all': [
    [body('POST', '/locks/force-release-all', reason), `${N}  403 403 200 403 403  403 403 200  403 403 200`],
    [body('POST', '/locks/force-release-all', { prefix: 'in/', ...reason }), `${N}  403 403 200 403 403  403 403 200  403 403 403`]
  ],
  // The names of the other APIs' resources begin with `lock:`, `doc-lock:`, `seat_lock:` and `terraform:`, which neither prefix covers.
  ...Object.fromEntries(
    ['user', 'contract'].flatMap((kind) => [
      [
        `POST /lock/${kind}/{id}`,
        [
          [body('POST', `/lock/${kind}/free`, { processId: 'p' }), `${N}  403 200 200 200 200  403 403 403  403 403 403`],
          [body('POST', `/lock/${kind}/owned`, { processId: 'p' }), `${N}  403 409 409 409 409  403 403 403  403 403 403`]
        ]
      ],
      [`POST /unlock/${kind}/{id}`, [[body('POST', `/unlock/${kind}/owned`, { processId: 'p' }), `${N}  403 403 200 200 200  403 403 403  403 403 403`]]],
      [`GET /lock/${kind}/{id}`, [[query('GET', `/lock/${kind}/1`), `${N}  200 403 200 403 403  403 403 403  403 403 403`]]]
    ])
  ),
  'POST /lock/company/{id}': [
    [body('POST', '/lock/company/free', { processId: 'p', userIds: ['free'] }), `${N}  403 200 200 200 200  403 403 403  403 403 403`]
  ],
  'POST /unlock/company/{id}': [
    [body('POST', '/unlock/company/free', { processId: 'p', userIds: ['owned'] }), `${N}  403 200 200 200 200  403 403 403  403 403 403`]
  ],
  'GET /lock/company/{id}': [[query('GET', '/lock/company/1'), `${N}  200 403 200 403 403  403 403 403  403 403 403`]],
  // With another key, the same user is another holder.
  'POST /api/lock/acquire': [
    [body('POST', '/api/lock/acquire', { docId: 'owned', userId: 'p' }), `${N}  403 409 200 200 200  403 403 403  403 403 403`],
    [body('POST', '/api/lock/acquire', { docId: 'free', userId: 'p' }), `${N}  403 200 200 200 200  403 403 403  403 403 403`]
  ],
  'POST /api/lock/extend': [
    [body('POST', '/api/lock/extend', { docId: 'owned', userId: 'p' }), `${N}  403 400 200 200 200  403 403 403  403 403 403`]
  ],
  'GET /api/lock/status/{docId}': [[query('GET', '/api/lock/status/1'), `${N}  200 403 200 403 403  403 403 403  403 403 403`]],
  'POST /api/lock/release': [
    [body('POST', '/api/lock/release', { docId: 'owned', userId: 'p' }), `${N}  403 403 200 200 200  403 403 403  403 403 403`]
  ],
  'POST /api/lock/force-release': [
    [body('POST', '/api/lock/force-release', { docId: '1', adminUserId: 'a' }), `${N}  403 403 200 403 403  403 403 403  403 403 403`]
  ],
  'GET /api/lock/all': [[query('GET', '/api/lock/all'), `${N}  403 403 200 403 403  403 403 403  403 403 403`]],
  'POST /api/lock/clear-all': [[body('POST', '/api/lock/clear-all', {}), `${N}  403 403 200 403 403  403 403 403  403 403 403`]],
  'POST /api/book': [[body('POST', '/api/book', { seat_number: 'A1' }), `${N}  403 200 200 200 200  403 403 403  403 403 403`]],
  ...Object.fromEntries(
    [['LOCK', 'UNLOCK', ''] as const, ['POST', 'POST', 'lock'] as const].flatMap(([lock, unlock, path], index) => {
      const at = (name: string, call: string): string => `/terraform/${name}${path && `/${call}`}`
      return [
        [
          `${lock} ${at('{name}', 'lock')}`,
          [
            // For a key of the same name, the ID is one that was used before.
            [terraform(lock, at(`free${index}`, 'lock'), { ID: 'p' }), `${N}  403 200 200 200 400  403 403 403  403 403 403`],
            [terraform(lock, at('owned', 'lock'), { ID: 'q' }), `${N}  403 423 423 423 423  403 403 403  403 403 403`]
          ]
        ],
        [
          `${unlock} ${at('{name}', 'unlock')}`,
          [
            [terraform(unlock, at('owned', 'unlock'), { ID: 'p' }), `${N}  403 409 200 200 200  403 403 403  403 403 403`],
            [terraform(unlock, at('owned', 'unlock')), `${N}  403 403 200 403 403  403 403 403  403 403 403`]
          ]
        ]
      ]
    })
  ),
  'OPTIONS /api/book': [[{ method: 'OPTIONS', url: '/api/book' }, CALLERS.map(() => 204).join(' ')]],

  'GET /metrics': [[query('GET', '/metrics'), `${N}  200 403 200 403 403  403 403 403  403 403 403`]],
  'GET /locks/queue': [
    [query('GET', '/locks/queue', owned), `${N}  200 403 200 403 403  200 403 200  403 403 403`],
    [query('GET', '/locks/queue', { prefix: '' }), `${N}  200 403 200 403 403  200 403 200  200 403 200`],
    [query('GET', '/locks/queue', { prefix: 'in/' }), `${N}  200 403 200 403 403  200 403 200  403 403 403`]
  ],
  'GET /': [[query('GET', '/'), CALLERS.map(() => 404).join(' ')]],
  'GET /health': [[query('GET', '/health'), CALLERS.map(() => 200).join(' ')]],
  'GET /livez': [[query('GET', '/livez'), CALLERS.map(() => 200).join(' ')]],
  'GET /readyz': [[query('GET', '/readyz'), CALLERS.map(() => 200).join(' ')]],
  'GET /openapi.json': [[query('GET', '/openapi.json'), CALLERS.map(() => 200).join(' ')]]
}

/** Pages for people, which show nothing without a key of their reader's. */
const PAGES = /^GET \/(?:docs|redoc|dashboard)\b/

void t.test('every route has a row, and every row a route', async (t) => {
  await using api = await TestApp.open('sqlite')
  const served = servedRoutes(api)
  t.strictSame(served.filter((route) => !PAGES.test(route)).toSorted(), Object.keys(ROWS).toSorted())
  await makeKey(api, 'reader', ['read'])
  for (const route of served.filter((one) => PAGES.test(one))) t.ok([200, 302, 404].includes(await statusOf(api, query('GET', route.slice('GET '.length)), undefined)), route)
})

void t.test('a route that does not say which scope it takes cannot be registered', async (t) => {
  const app = Fastify()
  await app.register(requireKeys, { anonymous: true })
  const route = (methods: readonly string[], url: string, config?: RouteOptions['config']) => (): unknown =>
    app.route({ method: [...methods], url, ...(config === undefined ? {} : { config }), handler: () => null })
  for (const [url, ...methods] of [['/locks/new', 'GET'], ['/docs/new', 'POST'], ['/locks/new', 'OPTIONS'], ['/docsnew', 'GET'], ['/docs/new', 'GET', 'POST']] as const) {
    for (const config of [undefined, { keyAsPassword: true }]) t.throws(route(methods, url, config), { message: /says nowhere which scope it takes/ }, `${methods.join(', ')} ${url}`)
  }
  t.doesNotThrow(route(['GET'], '/docs/new'))
  t.doesNotThrow(route(['POST'], '/locks/new', { access: 'write' }))
  await app.close()
})

onEachDatabase('the status of every call for every caller', async (t, api) => {
  const secrets = await makeCallers(api)
  let changed = true
  for (const [route, calls] of Object.entries(ROWS)) {
    for (const [request, row] of calls) {
      const statuses: number[] = []
      for (const caller of CALLERS) {
        if (changed) await hold(api, secrets, OF_OTHER_APIS)
        const status = await statusOf(api, request, secrets[caller])
        changed = request.method !== 'GET' && status < 300
        statuses.push(status)
      }
      const told = (all: readonly (number | string)[]) => CALLERS.map((caller, index) => `${caller}: ${all[index]}`)
      t.strictSame(told(statuses), told(row.split(/\s+/)), `${route} ${JSON.stringify(request.payload ?? request.url)}`)
    }
  }
})

interface Data {
  readonly data: Readonly<Record<string, unknown>> & { readonly locks?: readonly Named[]; readonly events?: readonly Named[]; readonly released?: readonly Named[] }
}
interface Named {
  readonly resource_name: string
}
const names = (list: readonly Named[] | undefined): string => [...new Set(list?.map((one) => one.resource_name))].toSorted().join(' ')

const ALL = 'in/nobodys in/owned out/owned'
/** What calls about many locks touch or show, for each caller that may send them. */
const REACH: readonly (readonly [InjectOptions, (answer: Data) => unknown, Readonly<Record<string, unknown>>])[] = [
  [
    query('DELETE', '/locks/release-all', p),
    ({ data }) => names(data.locks),
    { writer: 'in/nobodys', admin: ALL, owner: ALL, heir: ALL, 'writer in/': 'in/nobodys', 'admin in/': 'in/nobodys in/owned', 'writer out/': '', 'admin out/': 'out/owned' }
  ],
  [
    body('POST', '/locks/renew-all', p),
    ({ data }) => names(data.locks),
    { writer: 'in/nobodys', admin: ALL, owner: ALL, heir: ALL, 'writer in/': 'in/nobodys', 'admin in/': 'in/nobodys in/owned', 'writer out/': '', 'admin out/': 'out/owned' }
  ],
  [
    body('POST', '/locks/renew-many', { locks: [owned, nobodys], ...p }),
    ({ data }) => names(data['renewed'] as typeof data.locks),
    { writer: 'in/nobodys', admin: 'in/nobodys in/owned', owner: 'in/nobodys in/owned', 'writer in/': 'in/nobodys', 'admin in/': 'in/nobodys in/owned' }
  ],
  [
    body('POST', '/locks/release-many', { resource_names: ['in/owned', 'in/nobodys'], ...p }),
    ({ data }) => names(data.released),
    { writer: 'in/nobodys', admin: 'in/nobodys in/owned', owner: 'in/nobodys in/owned', 'writer in/': 'in/nobodys', 'admin in/': 'in/nobodys in/owned' }
  ],
  [body('POST', '/locks/force-release-all', reason), ({ data }) => data['total_released'], { admin: 3, 'admin in/': 2, 'admin out/': 1 }],
  [body('POST', '/locks/force-release-all', { prefix: 'i', ...reason }), ({ data }) => data['total_released'], { admin: 2, 'admin in/': 2 }],
]

/** What is shown of it. */
const SEEN: typeof REACH = [
  [query('GET', '/locks/all-locked'), ({ data }) => names(data.locks), { reader: ALL, admin: ALL, 'reader in/': 'in/nobodys in/owned', 'reader out/': 'out/owned' }],
  [query('GET', '/locks/all-locked', { limit: '1' }), ({ data }) => data['total_locks'], { reader: 3, 'reader in/': 2, 'reader out/': 1 }],
  [query('GET', '/locks/history', { limit: '3' }), ({ data }) => names(data.events), { reader: ALL, 'reader in/': 'in/nobodys in/owned', 'reader out/': 'out/owned' }],
  [query('GET', '/locks/history', p), ({ data }) => names(data.events), { reader: ALL, 'reader in/': 'in/nobodys in/owned', 'reader out/': 'out/owned' }],
]

/** The figures, while somebody waits for `in/owned` and somebody for `out/owned`. */
const FIGURES: typeof REACH = [
  [
    query('GET', '/locks/queue', { prefix: '' }),
    ({ data }) => names(data['waiters'] as Named[]),
    { reader: 'in/owned out/owned', 'reader in/': 'in/owned', 'reader out/': 'out/owned' }
  ],
  [query('GET', '/locks/stats'), ({ data }) => data['held'], { reader: 3, 'reader in/': 2, 'reader out/': 1 }],
  [query('GET', '/locks/stats'), ({ data }) => (data['key'] as { readonly prefix?: string }).prefix, { reader: '', admin: '', 'reader in/': 'in/', 'reader out/': 'out/' }],
  [query('GET', '/locks/stats'), ({ data }) => data['waiters'], { reader: 2, 'reader in/': 1, 'reader out/': 1 }],
  [query('GET', '/locks/stats'), ({ data }) => typeof data['grants'], { reader: 'number', admin: 'number', 'reader in/': 'object' }],
  [
    query('GET', '/locks/stats'),
    ({ data }) => names(data['top_contended'] as Named[]),
    { reader: 'in/owned out/owned', 'reader in/': 'in/owned', 'reader out/': 'out/owned' }
  ]
]

onEachDatabase('what every caller can reach', async (t, api) => {
  const secrets = await makeCallers(api)
  const send = async ([request, look, reached]: (typeof REACH)[number]): Promise<void> => {
    for (const [caller, expected] of Object.entries(reached)) {
      if (request.method !== 'GET') await hold(api, secrets)
      const answer = await sendWith<Data>(api, secrets[caller], request)
      const what = `${caller}: ${JSON.stringify(request)}`
      t.equal(answer.status, 200, what)
      t.strictSame(look(answer.body), expected, what)
    }
  }
  for (const row of REACH) await send(row)
  await hold(api, secrets)
  for (const row of SEEN) await send(row)
  for (const name of ['in/owned', 'out/owned']) {
    const waits = body('POST', '/locks/request', { resource_name: name, process_id: 'q', wait_seconds: 0.01, request_id: name })
    t.equal((await sendWith(api, secrets['admin'], waits)).status, 409)
  }
  for (const row of FIGURES) await send(row)
})

async function makeCallers(api: TestApp): Promise<Readonly<Record<string, string | undefined>>> {
  const secrets: Record<string, string | undefined> = { nobody: undefined, unknown: newSecret() }
  for (const name of ['owner', 'writer', 'reader', 'admin'] as const) {
    const scope = name === 'owner' ? 'write' : name === 'writer' ? 'write' : name === 'reader' ? 'read' : 'admin'
    secrets[name] = (await makeKey(api, name, [scope])).secret
    for (const prefix of ['in/', 'out/']) secrets[`${name} ${prefix}`] = (await makeKey(api, `${name}-${prefix.slice(0, -1)}`, [scope], { prefix })).secret
  }
  // The next key of the same name, as when keys are rotated.
  secrets['heir'] = (await makeKey(api, 'owner', ['write'])).secret
  const revoked = await makeKey(api, 'revoked', ['admin'])
  await api.store.keys.revoke(revoked.id)
  const expired = await makeKey(api, 'expired', ['admin'], { validForMs: 1000 })
  await api.advance(1000)
  await api.keys.refresh()
  return { ...secrets, revoked: revoked.secret, expired: expired.secret }
}

/** Everything is as the tables expect it. */
async function hold(api: TestApp, secrets: Readonly<Record<string, string | undefined>>, more: readonly string[] = []): Promise<void> {
  await sendWith(api, secrets['admin'], body('POST', '/locks/force-release-all', reason))
  await sendWith(api, secrets['owner'], body('POST', '/locks/request-many', { resource_names: ['in/owned', 'out/owned', ...more], ...p }))
  await api.store.submit(acquire('in/nobodys', 'p'))
}

/** A stream is left as soon as it begins. */
async function statusOf({ app }: TestApp, request: InjectOptions, secret: string | undefined): Promise<number> {
  const headers = secret === undefined ? {} : { authorization: `Bearer ${secret}` }
  const response = await app.inject({ ...request, headers, payloadAsStream: true })
  response.stream().destroy()
  return response.statusCode
}
