import fc from 'fast-check'
import { faultOfName } from '../../src/locks/lock.js'
import { onEachDatabase } from '../support/app.js'

/** Every UTF-16 unit there is, so that lone surrogates and control characters come up as well. */
const anyText = fc.oneof(
  fc.string({ unit: 'grapheme', maxLength: 300 }),
  fc.string({ unit: 'binary', maxLength: 20 }),
  fc.array(fc.integer({ min: 0, max: 0xffff }), { maxLength: 8 }).map((units) => String.fromCharCode(...units))
)
const anyNumber = fc.oneof(fc.double(), fc.integer(), fc.constantFrom(0, -0, 1e308, 5e-324, 31_536_000, 2 ** 53))
const anyValue = fc.oneof(anyText, anyNumber, fc.jsonValue())
const anyField = fc.constantFrom('resource_name', 'process_id', 'ttl_seconds', 'metadata', '__proto__', 'constructor', 'toString')
const anyBody = fc.oneof(
  { weight: 1, arbitrary: fc.jsonValue() },
  { weight: 3, arbitrary: fc.dictionary(fc.oneof(anyField, anyText), anyValue, { maxKeys: 6 }) },
  {
    weight: 3,
    arbitrary: fc.record({ resource_name: anyText, process_id: anyText, ttl_seconds: anyValue, metadata: anyValue }, { requiredKeys: ['resource_name', 'process_id'] })
  }
)
const RUNS = { numRuns: 200, interruptAfterTimeLimit: 8000 }

interface Refusal {
  readonly code?: string
  readonly detail: readonly { readonly type: unknown; readonly loc: readonly unknown[]; readonly msg: unknown }[]
}

onEachDatabase('no JSON body is a fault of the service, and each refusal of form has its list', async (t, api) => {
  await fc.assert(
    fc.asyncProperty(anyBody, async (body) => {
      const request = { method: 'POST', url: '/locks/request', headers: { 'content-type': 'application/json' }, payload: JSON.stringify(body) } as const
      const answer = await api.send<Refusal>(request)
      if (answer.status === 200 || answer.status === 409) return
      const { code, detail } = answer.body
      const wellFormed = detail.length > 0 && detail.every(({ type, loc, msg }) => typeof type === 'string' && loc[0] === 'body' && typeof msg === 'string')
      if (answer.status !== 422 || code !== 'INVALID_REQUEST' || !wellFormed) throw new Error(`${answer.status} ${JSON.stringify(answer.body)}`)
    }),
    RUNS
  )
  t.match(await api.get('/health'), { status: 200 })
})

onEachDatabase('a name is either refused or stays exactly what it was', async (t, api) => {
  let granted = 0
  await fc.assert(
    fc.asyncProperty(anyText, async (name) => {
      const { status, body } = await api.post<{ data?: { resource_name: string; process_id: string } }>('/locks/request', { resource_name: name, process_id: name })
      const good = faultOfName(name) === undefined
      if (!good && status === 422) return
      if (!good || status !== 200 || body.data?.resource_name !== name || body.data.process_id !== name) throw new Error(`${status} ${JSON.stringify(body)}`)
      granted += 1
      const released = await api.delete('/locks/release', { resource_name: name, process_id: name })
      if (released.status !== 200) throw new Error(`release: ${released.status}`)
    }),
    RUNS
  )
  t.ok(granted > 0)
})

onEachDatabase('no query is a fault of the service', async (t, api) => {
  const anyQuery = fc.array(
    fc.tuple(
      fc.constantFrom('resource_name', 'process_id', 'lock_id', 'limit', 'cursor', 'prefix', '__proto__', ''),
      fc.constantFrom('=', '', '=='),
      fc.oneof(fc.webQueryParameters(), fc.nat().map(String), fc.uint8Array({ maxLength: 6 }).map(percentEncoded), fc.uint8Array().map(base64Url))
    ),
    { maxLength: 5 }
  )
  const anyRoute = fc.constantFrom(...(['GET /locks/status', 'GET /locks/all-locked', 'DELETE /locks/release'] as const))
  await fc.assert(
    fc.asyncProperty(anyRoute, anyQuery, async (route, query) => {
      const [method, path] = route.split(' ') as ['GET' | 'DELETE', string]
      const answer = await api.send({ method, url: `${path}?${query.map((parts) => parts.join('')).join('&')}` })
      if (![200, 404, 422].includes(answer.status)) throw new Error(`${answer.status} ${JSON.stringify(answer.body)}`)
    }),
    RUNS
  )
  t.match(await api.get('/health'), { status: 200 })
})

function percentEncoded(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => `%${byte.toString(16).padStart(2, '0')}`).join('')
}

function base64Url(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('base64url')
}
