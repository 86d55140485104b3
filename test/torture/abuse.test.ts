import t from 'tap'
import { abuse, growthOf, type Memory } from './abuse.js'
import { DATABASES, freshDatabase } from '../support/databases.js'
import { Service } from '../support/service.js'

/** A little of what `npm run abuse` does a hundred thousand times. */
const REQUESTS = 1000

for (const kind of DATABASES) {
  void t.test(`bad requests are refused, never with 5xx, and change nothing: ${kind}`, async (t) => {
    await using database = await freshDatabase(kind, 'real')
    // The other APIs take more kindly what they are sent; what they do with the rest is for test/compat/random-input.test.ts.
    await using service = await Service.start({ settings: { DATABASE_URL: database.url, COMPAT_APIS: 'none' } })
    await service.request('kept', 'p')
    const seed = Number(process.env['ABUSE_SEED'] ?? 7)
    const { statuses, faults } = await abuse(service.url, { requests: REQUESTS, seed })
    t.strictSame(faults, [], `seed ${seed}`)
    for (const status of [400, 404, 415, 422]) t.ok((statuses.get(status) ?? 0) > 0, `${status} came up`)
    t.match(await service.call('GET', '/locks/all-locked'), { status: 200, body: { data: { total_locks: 1, locks: [{ resource_name: 'kept' }] } } })
    t.notMatch(service.stdout + service.stderr, /"level":[56]0/, 'nothing of it is an error of the service')
  })
}

const over = (heap: (turn: number) => number): Memory[] => Array.from({ length: 100 }, (_, turn) => ({ heapBytes: heap(turn), residentBytes: 0, stallSeconds: 0 }))

void t.test('growth is seen, and the ups and downs of a heap are not taken for it', (t) => {
  t.equal(growthOf(over((turn) => 100 + (turn % 7))).heapBytes, 0)
  t.equal(growthOf(over((turn) => 100 + (turn % 7) + turn)).heapBytes > 30, true)
  t.end()
})
