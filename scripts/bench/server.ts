import { monitorEventLoopDelay } from 'node:perf_hooks'
import { pino } from 'pino'
import { buildApp } from '../../src/app.js'
import { readConfig } from '../../src/config.js'
import { LockService } from '../../src/locks/lock-service.js'
import type { LockStore } from '../../src/locks/store.js'
import { Sweeper } from '../../src/locks/cleanup.js'
import { openStore } from '../../src/storage/index.js'
import { bareApp } from './bare-app.js'
import { MapStore } from './map-store.js'
import type { Order, Report, ServerSpec } from './messages.js'
import { openNaive } from './naive-store.js'
import { PlainStore } from './plain-store.js'
import { behindHttp, openRedis } from './redis-store.js'

/** One server under test, in a process of its own: the service's own app over whichever store it was told to open, or a bare one. */

const spec = JSON.parse(process.argv[2] ?? '{}') as ServerSpec
const defaults = readConfig({})
const store = await openStoreOf(spec)
const locks = new LockService(store, { defaultTtlMs: null })
const sweeper = new Sweeper(store, {
  intervalMs: defaults.SWEEP_INTERVAL_SECONDS * 1000,
  onError: (error) => process.stderr.write(`${String(error)}\n`)
})
// The same logger at the same level for all: what is logged (faults only) goes nowhere.
const logger = pino({ level: defaults.LOG_LEVEL }, { write: () => undefined })
const app =
  spec.kind === 'fastify' ? bareApp() : await buildApp({ locks, maxTtlSeconds: defaults.MAX_TTL_SECONDS, maxWaitSeconds: defaults.MAX_WAIT_SECONDS, hosts: [], logger })
await app.listen({ host: '127.0.0.1', port: 0 })
if (spec.sweeps) sweeper.start()

const histogram = monitorEventLoopDelay({ resolution: 1 })
histogram.enable()
let cpuBefore = process.cpuUsage()

process.on('message', (order: Order) => {
  void carryOut(order).then((answer) => process.send?.(answer))
})
// The orchestrator is gone: so is the reason to be here.
process.on('disconnect', () => process.exit())
const address = app.server.address()
send({ port: typeof address === 'object' ? (address?.port ?? 0) : 0 })

async function openStoreOf({ kind, databaseUrl = '', redisPort = 0, keepsHistory = true }: ServerSpec): Promise<LockStore> {
  switch (kind) {
    case 'map':
    case 'fastify':
      return new MapStore()
    case 'service':
      return openStore({ databaseUrl, keepHistoryMs: keepsHistory ? defaults.HISTORY_RETENTION_DAYS * 86_400_000 : 0 })
    case 'naive':
      return new PlainStore(await openNaive(databaseUrl))
    case 'redis':
      return new PlainStore(behindHttp(await openRedis(redisPort)))
  }
}

async function carryOut(order: Order): Promise<Report> {
  switch (order) {
    case 'reset':
      histogram.reset()
      cpuBefore = process.cpuUsage()
      return {}
    case 'usage': {
      const { user, system } = process.cpuUsage(cpuBefore)
      // The histogram counts the time between two turns of a 1 ms timer, the millisecond itself included.
      return { usage: { heldUpMs: Math.max(0, histogram.max / 1e6 - 1), cpuMicros: user + system } }
    }
    case 'sweep': {
      const from = performance.now()
      await sweeper.sweep()
      return { sweptInMs: performance.now() - from }
    }
    case 'stop':
      await app.close()
      await sweeper[Symbol.asyncDispose]()
      await store[Symbol.asyncDispose]()
      setImmediate(() => process.exit())
      return {}
  }
}

function send(report: Report): void {
  process.send?.(report)
}
