import { monitorEventLoopDelay } from 'node:perf_hooks'
import { parseArgs } from 'node:util'
import { abuse, growthOf } from './abuse.js'
import { runCommand, temporaryFolder } from '../support/program.js'
import { Service } from '../support/service.js'

/**
 * `npm run abuse -- [--requests 100000] [--seed 1]` starts a service without keys and then one with them, sends each half of so
 * many bad requests, and ends with 1 when one of them was answered 5xx, was taken for a good one, ended the service or made
 * its memory grow. DATABASE_URL chooses the database, a fresh SQLite file if it is not set. The other APIs are off: they take
 * more kindly what they are sent, and have test/compat/random-input.test.ts of their own.
 */

const MIB = 2 ** 20
/** A leak of 200 bytes for each request would show. */
const MOST_HEAP_GROWTH = 10 * MIB
const MOST_RESIDENT_GROWTH = 64 * MIB

const { values } = parseArgs({ options: { requests: { type: 'string', default: '100000' }, seed: { type: 'string', default: '1' } } })

async function attacked(withKeys: boolean): Promise<boolean> {
  await using folder = await temporaryFolder()
  const { DATABASE_URL = `sqlite:${folder.path}/locks.db` } = process.env
  const secret = withKeys ? (await runCommand('keys', { settings: { DATABASE_URL }, args: ['create', `abuse-${Date.now()}`, '--scopes', 'admin'] })).stdout.trim() : undefined
  // A small heap is tidied up often: what is read of it then has remained.
  await using service = await Service.start({ settings: { DATABASE_URL, COMPAT_APIS: 'none', NODE_OPTIONS: '--max-old-space-size=96' } })
  const began = performance.now()
  // How late this process is, which has little to do, is what the machine makes of it.
  const own = monitorEventLoopDelay({ resolution: 10 })
  own.enable()
  const { statuses, faults, memory } = await abuse(service.url, {
    requests: Number(values.requests) / 2,
    seed: Number(values.seed),
    secret,
    onProgress: (done) => process.stderr.write(`\r${done}`)
  })
  const seconds = (performance.now() - began) / 1000
  const growth = growthOf(memory)
  const health = await service.health()
  const stalls = memory.map(({ stallSeconds }) => stallSeconds * 1000).toSorted((a, b) => a - b)

  const counts = [...statuses].toSorted(([a], [b]) => a - b).map(([status, count]) => `${status === 0 ? 'closed or unread' : status}: ${count}`)
  process.stdout.write(`\n${withKeys ? 'with' : 'without'} keys, seed ${values.seed}, ${Math.round(seconds)} s; ${counts.join(', ')}\n`)
  process.stdout.write(`memory grew by ${(growth.heapBytes / MIB).toFixed(1)} MiB on the heap, ${(growth.residentBytes / MIB).toFixed(1)} MiB in all\n`)
  process.stdout.write(
    `the event loop was held up for ${(stalls.at(-1) ?? 0).toFixed(0)} ms at most, in half of the looks for less than ${(stalls[stalls.length >> 1] ?? 0).toFixed(0)} ms; ` +
      `that of the attacker for ${(own.max / 1e6).toFixed(0)} ms\n`
  )
  for (const fault of faults) process.stdout.write(`FAULT ${fault}\n`)
  return faults.length === 0 && service.alive && health.status === 200 && growth.heapBytes < MOST_HEAP_GROWTH && growth.residentBytes < MOST_RESIDENT_GROWTH
}

const fine = [await attacked(false), await attacked(true)].every(Boolean)
process.stdout.write(fine ? 'Every one was refused, and nothing remained.\n' : 'FAILED\n')
if (!fine) process.exitCode = 1
