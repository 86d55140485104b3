import { parseArgs } from 'node:util'
import { HttpLocks, LockServiceUnavailableError, type HeldLock } from '../../src/client/index.js'
import { Proxy } from '../support/proxy.js'
import { Service } from '../support/service.js'

/*
 * How long before the end of a lease in the database its holder knows that it may be lost, when the network fails in one of
 * three ways. One real server, and for each run a client and a proxy of its own.
 */

const FAULTS: Readonly<Record<string, (proxy: Proxy) => void>> = {
  'black hole': (proxy) => void proxy.hold('requests'),
  'lost answers': (proxy) => void proxy.hold('answers'),
  cut(proxy) {
    // Nothing listens there.
    proxy.retarget(1)
    proxy.cut()
  }
}

const { values } = parseArgs({ options: { runs: { type: 'string', default: '5' }, ttl: { type: 'string', default: '1,2,5,30' } } })
const runs = Number(values.runs)
const leases = values.ttl.split(',').map(Number)

await using service = await Service.start({ settings: { DATABASE_URL: 'sqlite::memory:' } })

/** How many milliseconds of its lease were left when the holder heard; negative when they were over. */
async function marginOf(ttlSeconds: number, breakIt: (proxy: Proxy) => void, name: string): Promise<number> {
  await using proxy = await Proxy.start(service.port)
  const locks = new HttpLocks({ url: proxy.through('http://127.0.0.1') })
  const lock = await acquire(locks, name, ttlSeconds)
  const lost = new Promise<number>((resolve) => lock.signal.addEventListener('abort', () => resolve(Date.now())))
  // Somewhere in the life of a lock that renews itself.
  await new Promise((resolve) => setTimeout(resolve, (0.5 + Math.random()) * ttlSeconds * 1000))
  breakIt(proxy)
  const lostAt = await lost
  const { body } = await service.status(name)
  // Renewals whose answers were lost have moved the end.
  const end = body.data?.['expires_at'] ?? lock.expiresAt
  return new Date(end as string | Date).getTime() - lostAt
}

/** On a machine that is so busy that a short lease is over before it is heard of, another one is asked for. */
async function acquire(locks: HttpLocks, name: string, ttlSeconds: number): Promise<HeldLock> {
  for (;;) {
    try {
      return await locks.acquire(name, { ttlSeconds })
    } catch (error) {
      if (!(error instanceof LockServiceUnavailableError)) throw error
    }
  }
}

const combinations = leases.flatMap((ttlSeconds) => Object.entries(FAULTS).map(([fault, breakIt]) => ({ ttlSeconds, fault, breakIt })))
const rows = await Promise.all(
  combinations.map(async ({ ttlSeconds, fault, breakIt }) => {
    const margins = await Promise.all(Array.from({ length: runs }, (_, run) => marginOf(ttlSeconds, breakIt, `${ttlSeconds} ${fault} ${run}`)))
    margins.sort((a, b) => a - b)
    return `| ${ttlSeconds} s | ${fault} | ${margins[0]} ms | ${margins[Math.floor(margins.length / 2)]} ms |`
  })
)
process.stdout.write(`| lease | fault | least | median of ${runs} |\n|---|---|---|---|\n${rows.join('\n')}\n`)
