import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import openapiTypes, { astToString } from 'openapi-typescript'
import t from 'tap'
import { inProject, temporaryFolder } from '../support/program.js'
import { Service } from '../support/service.js'
import { install, run } from './support.js'

/** Fetched for this test alone, since Spectral and orval bring 450 packages along; the last versions that run on Node 20. */
const TOOLS = {
  '@hey-api/openapi-ts': '0.94.0',
  '@stoplight/spectral-core': '1.24.1',
  '@stoplight/spectral-rulesets': '1.23.1',
  '@types/node': '20.19.43',
  'openapi-fetch': '0.17.0',
  orval: '7.13.2',
  typescript: '5.9.3'
}

const SPECTRAL = `
import core from '@stoplight/spectral-core'
import rulesets from '@stoplight/spectral-rulesets'
import { readFileSync } from 'node:fs'
const spectral = new core.Spectral()
spectral.setRuleset({ extends: [[rulesets.oas, 'recommended']] })
for (const { code, message, path } of await spectral.run(readFileSync('openapi.json', 'utf8'))) console.log(code, message, path.join('/'))
`

const HEY_API = `
import { createClient } from '@hey-api/openapi-ts'
await createClient({
  input: 'openapi.json',
  output: { path: 'hey', importFileExtension: '.js' },
  plugins: ['@hey-api/client-fetch', '@hey-api/typescript', '@hey-api/sdk'],
  logs: { level: 'silent' }
})
`

/** Of its 300 packages this test alone has need. @param url of the service, which the code is generated for. */
const orvalFor = (url: string): string => `
import { generate } from 'orval'
await generate({ input: 'openapi.json', output: { target: 'orval/api.ts', client: 'fetch', baseUrl: '${url}', override: { fetch: { includeHttpResponseReturnType: true } } } })
`

const CONSUMER = `
import createClient from 'openapi-fetch'
import type { components, paths } from './api.js'
import { client } from './hey/client.gen.js'
import { listLocks, releaseLock, requestLock, type Grant, type RequestLockData } from './hey/index.js'
import { requestLock as requestByOrval } from './orval/api.js'

const [baseUrl = ''] = process.argv.slice(2)
const api = createClient<paths>({ baseUrl })
client.setConfig({ baseUrl })

export const smallest: RequestLockData['body'] = { resource_name: 'a', process_id: 'p' }
// @ts-expect-error a process is needed
export const nobody: RequestLockData['body'] = { resource_name: 'a' }
// @ts-expect-error a number is no text
export const coerced: RequestLockData['body'] = { ...smallest, ttl_seconds: '30' }

const granted = await api.POST('/locks/request', { body: { ...smallest, ttl_seconds: 60 } })
const grant: components['schemas']['Grant'] | undefined = granted.data?.data
// @ts-expect-error a lock may never end
export const always: string = grant?.expires_at ?? null

const refused = await api.POST('/locks/request', { body: smallest })
if (refused.error?.code !== 'RESOURCE_LOCKED') throw new Error('not refused')
const holder: string = refused.error.locked_by

const again = await requestLock({ body: smallest })
if (again.error === undefined) throw new Error('not refused')
// @ts-expect-error only a lock that is held has a holder
export const unchecked: string = again.error.locked_by
if (again.error.code !== 'RESOURCE_LOCKED') throw new Error('not refused')
const waiters: number = again.error.waiters

const third = await requestByOrval(smallest)
if (third.status !== 409) throw new Error('not refused')
// @ts-expect-error only a lock that is held has a holder
export const unchecked2: string = third.data.locked_by
if (third.data.code !== 'RESOURCE_LOCKED') throw new Error('not refused')
const heldBy: string = third.data.locked_by

const { data: listed } = await listLocks({ query: { prefix: 'a' } })
const first: Grant | undefined = listed?.data.locks[0]
const invalid = await api.GET('/locks/status', { params: { query: { resource_name: '' } } })
const faults = invalid.error?.code === 'INVALID_REQUEST' ? invalid.error.detail.map(({ type }) => type) : []
const released = await releaseLock({ query: { resource_name: 'a', process_id: 'p' } })
console.log(JSON.stringify([grant?.fencing_token, holder, waiters, heldBy, first?.lock_id, faults, released.data?.success]))
`

void t.test('clients that are generated from the document', async (t) => {
  await using folder = await temporaryFolder()
  await using service = await Service.start()
  const project = folder.path
  const document = await (await fetch(`${service.url}/openapi.json`)).text()
  const files = { 'openapi.json': document, 'spectral.mjs': SPECTRAL, 'hey-api.mjs': HEY_API, 'orval.mjs': orvalFor(service.url), 'consumer.ts': CONSUMER, 'api.ts': astToString(await openapiTypes(document)) }
  for (const [name, text] of Object.entries(files)) await writeFile(join(project, name), text)
  await writeFile(join(project, 'package.json'), JSON.stringify({ name: 'consumer', type: 'module', dependencies: TOOLS }))
  const installing = await install(project)
  t.equal(installing.code, 0, installing.stderr)

  await t.test('Spectral’s rules for OpenAPI find nothing in it', async (t) => {
    const { code, stdout, stderr } = await run(process.execPath, ['spectral.mjs'], project)
    t.strictSame([code, stdout], [0, ''], stderr)
  })

  await t.test('openapi-typescript with openapi-fetch, hey-api and orval name things well and narrow a 409 by its code', async (t) => {
    for (const generator of ['hey-api.mjs', 'orval.mjs']) {
      const generating = await run(process.execPath, [generator], project)
      t.equal(generating.code, 0, generating.stdout + generating.stderr)
    }
    const options = ['--target', 'ES2022', '--module', 'NodeNext', '--lib', 'ES2022,DOM,DOM.Iterable', '--types', 'node', '--strict', '--skipLibCheck']
    const compiling = await run(process.execPath, [inProject('node_modules/typescript/bin/tsc'), ...options, 'consumer.ts'], project)
    t.equal(compiling.code, 0, compiling.stdout)
    const { stdout, stderr } = await run(process.execPath, ['consumer.js', service.url], project)
    t.equal(stdout.trim(), JSON.stringify([1, 'p', 0, 'p', 1, ['string_too_short'], true]), stderr)
  })
})
