import t, { type Test } from 'tap'
import { eventually } from '../support/eventually.js'
import { DATABASES, type DatabaseName } from '../support/databases.js'
import { Random } from '../support/random.js'
import { faultsOfShares } from '../torture/checker/shares.js'
import { Cluster } from '../torture/cluster.js'
import { readOptions } from '../torture/options.js'
import { Holders, partOf } from './holders.js'

/* Shares, permits and what is kept outlive `kill -9`. `TAP_TIMEOUT=0 CRASH_ROUNDS=50 node dist/test/ha/crashes.ha.js` is the longer proof. */

const ROUNDS = Number(process.env['CRASH_ROUNDS'] ?? 2)
const SEED = Number(process.env['CRASH_SEED'] ?? Math.floor(Math.random() * 2 ** 31))

/** Hurts every instance, one of them or the database, and resolves when all are there again. */
async function hurt({ nodes, victim }: Cluster, random: Random): Promise<string> {
  const part = random.chance(0.4) && 'crash' in victim ? 'the database' : random.chance(0.5) ? 'all instances' : 'an instance'
  if (part === 'the database' && 'crash' in victim) await victim.crash(random.whole(0, 300))
  else {
    const some = part === 'all instances' ? nodes : [random.pick(nodes)]
    await Promise.all(some.map((node) => node.stop('SIGKILL')))
    await Promise.all(some.map((node) => node.start()))
  }
  return part
}

async function oneRound(t: Test, round: number, cluster: Cluster, random: Random, holders: Holders): Promise<void> {
  const name = (what: string): string => `${what} ${round}`
  const [config, pool, company, user, kept, alone] = ['config', 'pool', 'company', 'user', 'kept', 'alone'].map(name) as [string, string, string, string, string, string]
  const readers = await Promise.all(['r1', 'r2', 'r3', 'r4'].map((process) => holders.take(process, { resource_name: config, mode: 'shared', ttl_seconds: null })))
  const heavy = await holders.take('heavy', { resource_name: pool, limit: 4, permits: 2, ttl_seconds: 600 })
  const light = await Promise.all(['l1', 'l2'].map((process) => holders.take(process, { resource_name: pool, limit: 4, ttl_seconds: 600 })))
  const set = await holders.take('set', { resources: [{ resource_name: company, mode: 'shared' }, { resource_name: user }], ttl_seconds: null }, '/locks/request-many')
  const delayed = await holders.take('alone', { resource_name: alone, ttl_seconds: 600, lock_delay_seconds: 1, hold_at_least_seconds: 0.01 })
  for (const grant of await holders.take('before', { resource_name: kept, ttl_seconds: 600 })) await holders.giveBack(grant, '3600')
  const { expires_at: keptUntil } = await holders.statusOf(kept)
  const held = [...readers, heavy, ...light, set, delayed].flat()

  const waiting = [
    holders.use('writer', { resource_name: config }),
    ...['w1', 'w2', 'w3'].map((process, index) => holders.use(process, { resource_name: pool, limit: 4, permits: index + 1 })),
    holders.use('second', { resource_name: alone }),
    holders.use('boss', { resource_name: company })
  ]
  await eventually('they wait', async () => {
    const waiters = await Promise.all([config, pool, company, alone].map((resource) => holders.waitersFor(resource)))
    return waiters.reduce((sum, some) => sum + some) === waiting.length || undefined
  })
  // Asked for just when the parts are killed: whether they take effect is known to nobody at first.
  const unsure = Array.from({ length: 6 }, (_, index) => holders.take(`u${index}`, { resource_name: name('unsure'), limit: 6, ttl_seconds: 600 }))
  const parts = [await hurt(cluster, random), await hurt(cluster, random)]
  const found = (await Promise.all(unsure)).flat()
  t.same(found.flatMap(({ slots = [] }) => slots).toSorted((a, b) => a - b), [1, 2, 3, 4, 5, 6], 'each was granted once')

  for (const resource of [config, pool, company, user, alone, name('unsure')]) {
    const expected = [...held, ...found].filter(({ resource_name }) => resource_name === resource).toSorted((a, b) => a.lock_id - b.lock_id)
    for (const seen of await holders.heldOf(resource)) t.same(seen.map(partOf), expected.map(partOf), `${resource}, after ${parts.join(' and ')}`)
  }
  t.match(await holders.statusOf(kept), { kept: true, locked_by: 'before', expires_at: keptUntil })
  for (const grant of [...held, ...found]) await holders.giveBack(grant)
  await Promise.all(waiting)
}

async function survives(t: Test, kind: DatabaseName): Promise<void> {
  const random = new Random(SEED)
  await using cluster = await Cluster.start(readOptions(['--database', kind, '--instances', '2']), random)
  const holders = new Holders(cluster.nodes.map(({ url }) => url))
  for (let round = 0; round < ROUNDS; round += 1) await oneRound(t, round, cluster, random, holders)
  t.same(faultsOfShares(holders.history), [])
  t.comment(`${holders.history.length} grants, each acknowledged, released, and found meanwhile`)
}

for (const kind of DATABASES) {
  void t.test(`what was acknowledged is held after kill -9, and who waits is served: ${kind}, seed ${SEED}`, { timeout: 0 }, (t) => survives(t, kind))
}
