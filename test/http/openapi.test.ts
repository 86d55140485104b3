import { validate } from '@readme/openapi-parser'
import { createConfig, lintFromString } from '@redocly/openapi-core'
import t from 'tap'
import { makeKey, onEachDatabase, sendWith, TestApp } from '../support/app.js'
import { documentOf, type OpenApi, operationsOf, schemaOf, SchemaChecker, servedRoutes } from '../support/openapi.js'

/** Pages for people, the document itself, what browsers ask by themselves, and methods that OpenAPI has no name for. */
const NOT_DOCUMENTED = /^(?:GET \/(?:$|(?:docs|redoc|openapi\.json|dashboard)\b)|(?:OPTIONS|LOCK|UNLOCK) )/
/** The document as it is, with its references. */
type Named = OpenApi & {
  readonly servers: unknown
  readonly components: { readonly schemas: Readonly<Record<string, { readonly required: readonly string[]; readonly properties: Readonly<Record<string, { readonly enum: readonly string[] }>> }>> }
}
interface Alternatives {
  readonly $ref?: string
  readonly oneOf?: readonly { readonly $ref: string }[]
  readonly discriminator?: unknown
}
/** The fields that depend on the request, by the name of the refusal. */
const NOT_ALWAYS: Readonly<Record<string, readonly string[]>> = {
  ResourceLocked: ['kept', 'holders', 'used', 'limit', 'queue_position'],
  ResourcesLocked: ['kept', 'holders', 'used', 'limit', 'queue_position'],
  LockNotReleased: ['released_at']
}
const LOCK_CALLS = [
  'convertLock',
  'forceReleaseAllLocks',
  'forceReleaseLock',
  'getLockHistory',
  'getLockQueue',
  'getLockStats',
  'getLockStatus',
  'listLocks',
  'releaseAllLocks',
  'releaseLock',
  'releaseManyLocks',
  'renewAllLocks',
  'renewLock',
  'renewManyLocks',
  'requestLock',
  'requestManyLocks',
  'revokeLock', 'watchLocks'
]
/** The other APIs, which report a fault of form as they always have. */
const COMPAT = /^\/(?:lock|unlock|api|terraform)\//

void t.test('the document is valid OpenAPI 3.1', async (t) => {
  await using api = await TestApp.open('sqlite')
  const { body } = await api.get<Exclude<Parameters<typeof validate>[0], string>>('/openapi.json')
  t.match(body, { openapi: /^3\.1\./ })
  t.match(await validate(body), { valid: true, warnings: [] })
})

void t.test('the document is written once, however often it is read', async (t) => {
  await using api = await TestApp.open('sqlite')
  const documented = api.app as unknown as { swagger: () => object }
  const { swagger } = documented
  let writings = 0
  documented.swagger = () => {
    writings += 1
    return swagger()
  }
  const answers = await Promise.all(['/openapi.json', '/docs/json', '/openapi.json'].map((url) => api.app.inject({ url })))
  t.equal(new Set(answers.map(({ payload }) => payload)).size, 1)
  t.equal(writings, 1)
})

void t.test('Redocly’s recommended rules find nothing', async (t) => {
  await using api = await TestApp.open('sqlite')
  const { body } = await api.get('/openapi.json')
  const problems = await lintFromString({
    source: JSON.stringify(body),
    absoluteRef: '/openapi.json',
    config: await createConfig({ extends: ['recommended'] })
  })
  t.strictSame(problems.map(({ ruleId, message, location }) => [ruleId, message, location[0]?.pointer]), [])
})

void t.test('every call has a name that stays, and what recurs is named', async (t) => {
  await using api = await TestApp.open('sqlite')
  const { body } = await api.get<Named>('/openapi.json')
  const names = operationsOf(body).map(({ path, operation: { operationId = '' } }) => [path, operationId] as const)
  t.strictSame(names.filter(([, name]) => !/^[a-z]+(?:[A-Z][a-z]+)*$/.test(name)), [])
  t.equal(new Set(names.map(([, name]) => name)).size, names.length, 'no name twice')
  t.strictSame(names.filter(([path]) => path.startsWith('/locks/')).map(([, name]) => name).toSorted(), LOCK_CALLS)
  for (const name of ['Grant', 'Conflict', 'Waiter', 'LockEvent', 'ListedLock', 'LockStatus']) t.ok(body.components.schemas[name], name)
  t.strictSame(body.servers, [{ url: '/' }])
})

void t.test('a refusal is one named schema, or several told apart by their code, with all that is promised required', async (t) => {
  await using api = await TestApp.open('sqlite')
  const { body } = await api.get<Named>('/openapi.json')
  for (const { name, path, operation } of operationsOf(body)) {
    for (const [status, { content = {} }] of path.startsWith('/locks/') ? Object.entries(operation.responses) : []) {
      const { $ref, oneOf = [], discriminator } = (content['application/json']?.schema ?? {}) as Alternatives
      const refs = $ref === undefined ? oneOf.map((one) => one.$ref) : [$ref]
      if (status === '200') continue
      t.not(refs.length, 0, `${name} ${status}`)
      const codes = refs.map((ref) => {
        const { required, properties } = body.components.schemas[ref.replace('#/components/schemas/', '')] ?? { required: [], properties: {} }
        t.strictSame(Object.keys(properties).filter((field) => !required.includes(field)), NOT_ALWAYS[ref.split('/').at(-1) ?? ''] ?? [], ref)
        t.ok(['detail', 'code'].every((field) => required.includes(field)), ref)
        return [properties['code']?.enum[0] ?? '', ref]
      })
      if ($ref === undefined) t.strictSame(discriminator, { propertyName: 'code', mapping: Object.fromEntries(codes) as unknown }, `${name} ${status}`)
    }
  }
})

void t.test('the headers of an answer are declared', async (t) => {
  await using api = await TestApp.open('sqlite')
  for (const { name, path, operation } of operationsOf(await documentOf(api)).filter(({ path }) => path.startsWith('/locks/'))) {
    const headers = (status: number): string[] => Object.keys(operation.responses[status]?.headers ?? {})
    t.ok(headers(401).includes('WWW-Authenticate'), name)
    for (const status of [429, 503]) t.ok(headers(status).includes('Retry-After'), `${name} ${status}`)
    for (const status of Object.keys(operation.responses)) t.ok(headers(Number(status)).includes('X-Request-Id'), `${name} ${status}`)
    if (path.startsWith('/locks/request')) t.ok(headers(409).includes('Retry-After'), name)
  }
})

void t.test('the document has every route that is served, and no other', async (t) => {
  await using api = await TestApp.open('sqlite')
  const documented = operationsOf(await documentOf(api)).map((call) => call.name)
  const served = servedRoutes(api).filter((route) => !NOT_DOCUMENTED.test(route))
  t.ok(served.includes('POST /locks/request'))
  t.strictSame(documented.toSorted(), served.toSorted())
})

void t.test('every call has a summary, and an example for each body that fits its schema', async (t) => {
  await using api = await TestApp.open('sqlite')
  await using checker = new SchemaChecker()
  for (const { name, operation } of operationsOf(await documentOf(api))) {
    t.ok(operation.summary, `${name} has a summary`)
    t.ok(operation.tags?.length, `${name} has a tag`)
    for (const parameter of operation.parameters ?? []) t.ok(parameter.description, `${name} describes ${parameter.name}`)
    const bodies = [['body', operation.requestBody] as const, ...Object.entries(operation.responses)]
    for (const [place, described] of bodies) {
      for (const { schema, example } of Object.values(described?.content ?? {})) {
        t.not(example, undefined, `${name} ${place} has an example`)
        t.strictSame(await checker.faults(schema, example), [], `${name} ${place}`)
      }
    }
  }
})

void t.test('every call documents each status that it can answer', async (t) => {
  await using api = await TestApp.open('sqlite')
  for (const { name, method, path, operation } of operationsOf(await documentOf(api))) {
    const statuses = ['200']
    if (operation.parameters !== undefined || operation.requestBody !== undefined) statuses.push(COMPAT.test(path) ? '400' : '422')
    if (method !== 'GET') statuses.push('413', '415')
    if (path.startsWith('/locks/') || COMPAT.test(path)) statuses.push('401', '403', '500', '503', '507')
    t.strictSame(statuses.filter((status) => !(status in operation.responses)), [], name)
    for (const [status, { description }] of Object.entries(operation.responses)) t.ok(description, `${name} describes ${status}`)
  }
})

void t.test('the document says which calls take a key, and with which scope', async (t) => {
  await using api = await TestApp.open('sqlite')
  const document = await documentOf(api)
  t.match(document, { components: { securitySchemes: { ApiKey: { type: 'http', scheme: 'bearer' } } } })
  const secrets = [['read', (await makeKey(api, 'reader', ['read'])).secret], ['write', (await makeKey(api, 'writer', ['write'])).secret]] as const
  for (const { name, method, path, operation } of operationsOf(document)) {
    const scope = operation['x-required-scope']
    const isOpen = (await sendWith(api, undefined, { method, url: path })).status !== 401
    t.equal(scope === undefined, isOpen, name)
    t.strictSame(operation.security, isOpen ? [] : [{ ApiKey: [] }], name)
    t.strictSame(['401', '403'].filter((status) => status in operation.responses), isOpen ? [] : ['401', '403'], name)
    for (const [own, secret] of secrets) if (!isOpen && own !== scope) t.equal((await sendWith(api, secret, { method, url: path })).status, 403, `${name} with a key that may only ${own}`)
  }
})

void t.test('refusals for want of a key are what the document says', async (t) => {
  await using api = await TestApp.open('sqlite')
  await using checker = new SchemaChecker()
  const { secret } = await makeKey(api, 'reader', ['read'])
  for (const { name, method, path, operation } of operationsOf(await documentOf(api))) {
    for (const [key, status] of [[undefined, 401], [secret, 403]] as const) {
      // A key for reading may read.
      if (!(status in operation.responses) || (status === 403 && operation['x-required-scope'] === 'read')) continue
      const answer = await sendWith(api, key, { method, url: path })
      t.equal(answer.status, status, `${name} ${status}`)
      const media = operation.responses[status]?.content?.['application/json']
      t.strictSame(await checker.faults(media?.schema ?? { not: {} }, answer.body), [], `${name} ${status}`)
    }
  }
})

const mine = { resource_name: 'a', process_id: 'p' }
const query = 'resource_name=a&process_id=p'
/** Calls in an order in which each answers that status. */
const CALLS = [
  ['POST', '/locks/request', 200, { ...mine, ttl_seconds: 5, metadata: { any: [1] } }],
  ['POST', '/locks/request', 409, mine],
  ['POST', '/locks/request', 413, { ...mine, more: 'x'.repeat(70_000) }],
  ['POST', '/locks/request', 415, 'text'],
  ['POST', '/locks/request', 422, {}],
  ['GET', '/locks/status?resource_name=a', 200],
  ['GET', '/locks/status?resource_name=free', 200],
  ['GET', '/locks/status', 422],
  ['GET', '/locks/queue?resource_name=a', 200],
  ['GET', '/locks/queue?resource_name=a&limit=0', 422],
  ['GET', '/locks/queue?prefix=a', 200],
  ['GET', '/locks/queue', 422],
  ['GET', '/locks/all-locked?limit=1', 200],
  ['GET', '/locks/all-locked?limit=0', 422],
  ['DELETE', `/locks/release?${query}`, 415, 'text'],
  ['DELETE', `/locks/release?${query}`, 200],
  ['DELETE', `/locks/release?${query}`, 404],
  ['DELETE', `/locks/release?${query}&lock_id=1`, 404],
  ['DELETE', '/locks/release', 422],
  ['POST', '/locks/request', 200, { ...mine, request_id: 'r1' }],
  ['POST', '/locks/request', 200, { ...mine, request_id: 'r1' }],
  ['POST', '/locks/request', 409, { ...mine, request_id: 'r1', ttl_seconds: 1 }],
  ['POST', '/locks/request', 409, { ...mine, wait_seconds: 0.01 }],
  ['POST', '/locks/request-many', 409, { process_id: 'p', resource_names: ['b', 'a'] }],
  ['POST', '/locks/request-many', 200, { process_id: 'p', resource_names: ['c', 'b'], request_id: 'r2' }],
  ['POST', '/locks/request-many', 200, { process_id: 'p', resource_names: ['c', 'b'], request_id: 'r2' }],
  ['POST', '/locks/request-many', 422, { process_id: 'p', resource_names: ['c', 'c'] }],
  ['POST', '/locks/renew', 200, { ...mine, ttl_seconds: 9 }],
  ['POST', '/locks/renew', 404, { ...mine, lock_id: 999 }],
  ['POST', '/locks/renew-many', 200, { process_id: 'p', locks: [{ resource_name: 'b', lock_id: 999 }, { resource_name: 'c', ttl_seconds: 9 }] }],
  ['POST', '/locks/renew-many', 422, { process_id: 'p', locks: [] }],
  ['POST', '/locks/renew-all', 200, { process_id: 'p' }],
  ['POST', '/locks/release-many', 200, { process_id: 'p', resource_names: ['b', 'x'] }],
  ['POST', '/locks/request', 200, { ...mine, resource_name: 'c', steal: true }],
  ['POST', '/locks/request-many', 200, { process_id: 'p', resource_names: ['c', 'd'], steal: true }],
  ['POST', '/locks/request', 200, { resource_name: 's', process_id: 'p', limit: 3, permits: 2 }],
  ['POST', '/locks/request', 409, { resource_name: 's', process_id: 'q', limit: 3, permits: 2, wait_seconds: 0.01, request_id: 's' }],
  ['GET', '/locks/status?resource_name=s', 200],
  ['GET', '/locks/queue?resource_name=s', 200],
  ['GET', '/locks/all-locked?resource_name=s', 200],
  ['POST', '/locks/request-many', 409, { process_id: 'q', resources: [{ resource_name: 's' }, { resource_name: 't', mode: 'shared' }] }],
  ['POST', '/locks/request-many', 200, { process_id: 'q', resources: [{ resource_name: 't', mode: 'shared' }, { resource_name: 'u' }] }],
  ['POST', '/locks/convert', 200, { resource_name: 's', process_id: 'p', mode: 'exclusive' }],
  ['POST', '/locks/convert', 200, { resource_name: 's', process_id: 'p', mode: 'shared' }],
  ['POST', '/locks/convert', 404, { resource_name: 's', process_id: 'q', mode: 'shared' }],
  ['POST', '/locks/convert', 422, { resource_name: 's', process_id: 'q' }],
  ['DELETE', '/locks/release-all?process_id=q', 200],
  ['POST', '/locks/request', 200, { resource_name: 's', process_id: 'r', mode: 'shared' }],
  ['POST', '/locks/convert', 409, { resource_name: 's', process_id: 'p', mode: 'exclusive' }],
  ['POST', '/locks/revoke', 200, { resource_name: 's', reason: 'why', grace_seconds: 60 }],
  ['POST', '/locks/revoke', 200, { resource_name: 'c', reason: 'why', grace_seconds: 60 }],
  ['POST', '/locks/renew', 200, { resource_name: 'c', process_id: 'p' }],
  ['POST', '/locks/revoke', 409, { resource_name: 'c', reason: 'why', grace_seconds: 60, lock_id: 1 }],
  ['POST', '/locks/revoke', 404, { resource_name: 'free', reason: 'why', grace_seconds: 60 }],
  ['POST', '/locks/revoke', 422, { resource_name: 'c' }],
  ['POST', '/locks/request', 200, { resource_name: 'k', process_id: 'k', ttl_seconds: 60, hold_at_least_seconds: 30, lock_delay_seconds: 5 }],
  ['DELETE', '/locks/release?resource_name=k&process_id=k&keep_seconds=60', 200],
  ['POST', '/locks/request-many', 409, { process_id: 'q', resource_names: ['k'] }],
  ['GET', '/locks/status?resource_name=k', 200],
  ['POST', '/locks/force-release', 200, { resource_name: 's', reason: 'why' }],
  ['POST', '/locks/force-release', 409, { resource_name: 'c', reason: 'why', lock_id: 1 }],
  ['POST', '/locks/force-release', 200, { resource_name: 'c', reason: 'why' }],
  ['POST', '/locks/force-release', 404, { resource_name: 'c', reason: 'why' }],
  ['POST', '/locks/force-release', 422, { resource_name: 'c' }],
  ['DELETE', '/locks/release-all?process_id=p', 200],
  ['POST', '/locks/force-release-all', 200, { reason: 'why', prefix: 'a' }],
  ['GET', '/locks/history?limit=2', 200],
  ['GET', '/locks/history?cursor=x', 422],
  ['GET', '/locks/stats', 200],
  ['GET', '/locks/watch?prefix=%00', 422],
  ['GET', '/health', 200],
  ['GET', '/livez', 200],
  ['GET', '/readyz', 200]
] as const

onEachDatabase('answers are what the document says', async (t, api) => {
  await using checker = new SchemaChecker()
  const document = await documentOf(api)
  for (const [method, url, status, payload] of CALLS) {
    const answer = await api.send({ method, url, ...(payload === undefined ? {} : { payload }) })
    const title = `${method} ${url} ${status}`
    t.equal(answer.status, status, title)
    t.strictSame(await checker.faults(schemaOf(document, method, url, status), answer.body), [], title)
  }
})
