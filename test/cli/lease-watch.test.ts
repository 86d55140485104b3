import t from 'tap'
import { LeaseWatch } from '../../src/cli/hold.js'
import type { LockLostError } from '../../src/client/index.js'
import { onEachClient } from '../support/client.js'
import { eventually } from '../support/eventually.js'

interface Told {
  readonly loss: LockLostError | undefined
  readonly leftMs: number
}

const LEASE_SECONDS = 30
const GRACE_MS = 5000

onEachClient(t, 'a lease that is not renewed is given up while the grace is left', async (t, { locks, clock }) => {
  const lock = await locks.acquire('x', { ttlSeconds: LEASE_SECONDS, autoRenew: false })
  const told: Told[] = []
  using watch = new LeaseWatch(lock, { graceMs: GRACE_MS, onLoss: (loss, leftMs) => void told.push({ loss, leftMs }) })
  // The lock counts its lease as over two seconds early.
  clock.advance(22_900)
  watch.look()
  t.same(told, [])
  clock.advance(200)
  watch.look()
  t.equal(told.length, 1)
  t.equal(told[0]?.loss, undefined)
  t.ok(Number(told[0]?.leftMs) > 0 && Number(told[0]?.leftMs) <= 4900)
  clock.advance(10_000)
  watch.look()
  t.equal(told.length, 1, 'it is said once')
  t.equal(lock.held, false)
})

onEachClient(t, 'a lock that was taken away leaves the grace, one whose lease is over does not', async (t, { api, locks, advance }) => {
  for (const [name, lose, reason, leftMs] of [
    ['taken', () => locks.forceRelease('taken', 'a test'), 'released', GRACE_MS],
    // The database's clock was set forward: the client believes that there is time.
    ['over', () => api.advance(LEASE_SECONDS * 1000), 'expired', 0]
  ] as const) {
    const lock = await locks.acquire(name, { ttlSeconds: LEASE_SECONDS })
    const told: Told[] = []
    using watch = new LeaseWatch(lock, { graceMs: GRACE_MS, onLoss: (loss, left) => void told.push({ loss, leftMs: left }) })
    watch.look()
    await lose()
    await advance(LEASE_SECONDS * 400)
    await eventually('the loss is told', () => Promise.resolve(told.length > 0 || undefined))
    t.match(told, [{ loss: { reason }, leftMs }])
  }
})

onEachClient(t, 'a lock that is released is not lost', async (t, { locks, advance }) => {
  const lock = await locks.acquire('x', { ttlSeconds: LEASE_SECONDS })
  const told: Told[] = []
  const watch = new LeaseWatch(lock, { graceMs: GRACE_MS, onLoss: (loss, leftMs) => void told.push({ loss, leftMs }) })
  watch[Symbol.dispose]()
  await lock.release()
  await advance(LEASE_SECONDS * 1000)
  watch.look()
  t.same(told, [])
})
