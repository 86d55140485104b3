import fc from 'fast-check'
import { onEachDatabase } from '../support/app.js'

const anyText = fc.oneof(
  fc.string({ unit: 'grapheme', maxLength: 300 }),
  fc.string({ unit: 'binary', maxLength: 20 }),
  fc.array(fc.integer({ min: 0, max: 0xffff }), { maxLength: 8 }).map((units) => String.fromCharCode(...units))
)
const anyNumber = fc.oneof(fc.double(), fc.integer(), fc.constantFrom(0, -0, 1e308, 5e-324, 31_536_000, 2 ** 53))
const anyValue = fc.oneof({ weight: 2, arbitrary: anyText }, { weight: 2, arbitrary: anyNumber }, { weight: 1, arbitrary: fc.jsonValue() })
const anyId = fc.oneof({ weight: 3, arbitrary: fc.constantFrom('a', 'b', 1) }, { weight: 1, arbitrary: anyValue })
const anyBody = fc.oneof(
  { weight: 1, arbitrary: fc.jsonValue() },
  {
    weight: 5,
    arbitrary: fc.record(
      {
        processId: anyId,
        userIds: fc.oneof(anyValue, fc.array(anyId, { maxLength: 4 })),
        ttl: anyValue,
        docId: anyId,
        userId: anyId,
        adminUserId: anyId,
        username: anyValue,
        seat_number: anyId,
        ID: anyId
      },
      { requiredKeys: [] }
    )
  }
)
const anyCall = fc.constantFrom(
  ...['lock', 'unlock'].flatMap((verb) => ['user', 'contract', 'company'].map((kind) => `/${verb}/${kind}/`)),
  ...['acquire', 'release', 'extend', 'force-release', 'clear-all'].map((verb) => `/api/lock/${verb}`),
  '/api/book',
  '/terraform/a/lock',
  '/terraform/a/unlock'
)

/** What any of these calls may answer to a body that can be read. */
const EXPECTED = new Set([200, 400, 403, 409, 423])

onEachDatabase('no body and no id is a fault of the service, and each refusal of form has its sentence', async (t, api) => {
  await fc.assert(
    fc.asyncProperty(anyCall, anyText, anyBody, async (path, id, body) => {
      // A dot by itself would be taken out of the path before it is sent.
      const url = path.endsWith('/') ? path + (id.isWellFormed() && !/^\.*$/.test(id) ? encodeURIComponent(id) : 'x') : path
      const request = { method: 'POST', url, headers: { 'content-type': 'application/json' }, payload: JSON.stringify(body) } as const
      const { status, body: said } = await api.send<{ readonly error?: unknown }>(request)
      if (!EXPECTED.has(status) || (status === 400 && typeof said.error !== 'string')) throw new Error(`${url} ${status} ${JSON.stringify(said)}`)
    }),
    { numRuns: 200, interruptAfterTimeLimit: 8000 }
  )
  t.match(await api.get('/health'), { status: 200 })
})
