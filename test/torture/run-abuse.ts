import { parseArgs } from 'node:util'
import { abuse, growthOf } from './abuse.js'
import { Service } from '../support/service.js'

/**
 * `npm run abuse -- [--requests 100000] [--seed 1]` starts a service, sends it so many bad requests and ends with 1 when one
 * of them was answered 5xx, was taken for a good one, ended the service or made its memory grow. DATABASE_URL chooses the
 * database, a fresh SQLite file if it is not set. The other APIs are off: they take more kindly what they are sent, and have
 * test/compat/random-input.test.ts of their own.
 */

const MIB = 2 ** 20
/** A leak of 200 bytes for each request would show. */
const MOST_HEAP_GROWTH = 10 * MIB
const MOST_RESIDENT_GROWTH = 64 * MIB

const { values } = parseArgs({ options: { requests: { type: 'string', default: '100000' }, seed: { type: 'string', default: '1' } } })
const { DATABASE_URL } = process.env
await using service = await Service.start({
  // A small heap is tidied up often: what is read of it then has remained.
  settings: { COMPAT_APIS: 'none', NODE_OPTIONS: '--max-old-space-size=96', ...(DATABASE_URL === undefined ? {} : { DATABASE_URL }) }
})

const began = performance.now()
const { statuses, faults, memory } = await abuse(service.url, {
  requests: Number(values.requests),
  seed: Number(values.seed),
  onProgress: (done) => process.stderr.write(`\r${done}`)
})
const seconds = (performance.now() - began) / 1000
const growth = growthOf(memory)
const health = await service.health()

const counts = [...statuses].toSorted(([a], [b]) => a - b).map(([status, count]) => `${status === 0 ? 'closed' : status}: ${count}`)
process.stdout.write(`\nseed ${values.seed}, ${Math.round(seconds)} s; ${counts.join(', ')}\n`)
process.stdout.write(`memory grew by ${(growth.heapBytes / MIB).toFixed(1)} MiB on the heap, ${(growth.residentBytes / MIB).toFixed(1)} MiB in all\n`)
for (const fault of faults) process.stdout.write(`FAULT ${fault}\n`)
const fine = faults.length === 0 && service.alive && health.status === 200 && growth.heapBytes < MOST_HEAP_GROWTH && growth.residentBytes < MOST_RESIDENT_GROWTH
process.stdout.write(fine ? 'Every one was refused, and nothing remained.\n' : 'FAILED\n')
if (!fine) process.exitCode = 1
