import t from 'tap'
import { processId, resourceName, type Grant, type ResourceName, type Sharing } from '../../src/locks/lock.js'
import { DATABASES, freshDatabase } from '../support/databases.js'
import { Random } from '../support/random.js'
import { Instance } from '../support/store.js'
import { faultsOfShares, type HeldGrant } from './checker/shares.js'

const NAMES = ['a', 'b'].map(resourceName)
const CLIENTS = 12
const ROUNDS = 25
const SHARES: readonly (Sharing | null)[] = [null, null, { limit: null, permits: 1 }, { limit: null, permits: 1 }, { limit: 3, permits: 1 }, { limit: 3, permits: 2 }, { limit: 2, permits: 1 }, { limit: 5, permits: 3 }]

const grantOf = (process: string, lockId: number, sharing: Sharing | null, slots: readonly number[], from: number, until: number): HeldGrant => ({ resource: 'a', process, lockId, sharing, slots, from, until })

void t.test('the checker finds each kind of fault', (t) => {
  const one = { limit: 1, permits: 1 }
  const reader = { limit: null, permits: 1 }
  const good = [grantOf('p', 1, reader, [], 0, 10), grantOf('q', 2, reader, [], 5, 12), grantOf('w', 3, null, [], 12, 20), grantOf('p', 4, one, [1], 20, 30), grantOf('q', 5, one, [1], 30, 31)]
  t.same(faultsOfShares(good), [])
  t.match(faultsOfShares([...good, grantOf('x', 6, reader, [], 30, 33)]), [/2 permits of 1 are held/])
  t.match(faultsOfShares([grantOf('p', 1, reader, [], 0, 10), grantOf('w', 2, null, [], 9, 10)]), [/2 permits of 1 are held/])
  t.match(faultsOfShares([grantOf('p', 1, { limit: 3, permits: 2 }, [1, 2], 0, 9), grantOf('q', 2, { limit: 3, permits: 1 }, [2], 1, 9)]), [/a slot of it is held by another/])
  t.match(faultsOfShares([grantOf('p', 2, reader, [], 0, 9), grantOf('q', 1, reader, [], 1, 9)]), [/its number is not above/])
  t.match(faultsOfShares([grantOf('p', 1, reader, [], 0, 9), grantOf('p', 2, reader, [], 1, 9)]), [/its process holds another grant/])
  t.match(faultsOfShares([grantOf('p', 1, { limit: 2, permits: 1 }, [3], 0, 9)]), [/a slot is above its limit/])
  t.end()
})

/** One client that asks, waits, renews, converts and releases; what it held is noted. */
async function client(index: number, instance: Instance, grants: HeldGrant[]): Promise<void> {
  const random = new Random(index + 1)
  const process = processId(`p${index}`)
  const note = ({ resourceName: resource, lockId, share, lockedAt }: Grant, until: number): void => {
    const sharing = share === undefined ? null : { limit: share.limit, permits: share.permits }
    grants.push({ resource, process, lockId, sharing, slots: share?.slots ?? [], from: lockedAt, until })
  }
  for (let round = 0; round < ROUNDS; round += 1) {
    const names: readonly ResourceName[] = random.chance(0.2) ? NAMES : [random.pick(NAMES)]
    const sharing = names.map(() => random.pick(SHARES))
    const ttlMs = random.pick([30_000, 30_000, 40])
    const outcome = await instance.service.request({ resourceNames: names, processId: process, ttlMs, sharing: sharing.every((one) => one === null) ? undefined : sharing }, { waitMs: random.pick([0, 300, 2000]) })
    if (outcome.kind !== 'granted') continue
    for (const granted of outcome.grants) {
      let grant = granted
      if (random.chance(0.3)) {
        const renewed = await instance.service.renew({ resourceName: grant.resourceName, processId: process, lockId: grant.lockId, ttlMs })
        if (renewed.kind === 'renewed') grant = renewed.grant
      }
      if (random.chance(0.3)) {
        const converted = await instance.service.convert({ resourceName: grant.resourceName, processId: process, lockId: grant.lockId }, random.pick(SHARES))
        if (converted.kind === 'converted') {
          // The earlier statement held until then; a downgrade keeps its number and is looked at as what it became.
          if (converted.grant.lockId !== grant.lockId) note(grant, converted.grant.lockedAt)
          grant = converted.grant
        }
      }
      const released = await instance.service.release({ resourceName: grant.resourceName, processId: process, lockId: grant.lockId })
      note(grant, released.kind === 'released' ? released.releasedAt : (grant.expiresAt ?? Infinity))
    }
  }
}

for (const kind of DATABASES) {
  void t.test(`many clients at once hold no more than the rule admits, on ${kind === 'postgres' ? 'three instances' : 'one instance'}: ${kind}`, async (t) => {
    await using database = await freshDatabase(kind, 'real')
    const instances = await Promise.all(Array.from({ length: kind === 'postgres' ? 3 : 1 }, () => Instance.start(database)))
    const grants: HeldGrant[] = []
    const clients = instances.flatMap((instance, first) => Array.from({ length: CLIENTS / instances.length }, (_, index) => client(first + index * instances.length, instance, grants)))
    await Promise.all(clients)
    t.ok(grants.length > CLIENTS, `${grants.length} grants`)
    t.same(faultsOfShares(grants), [])
    const { grants: left } = await instances[0]?.service.reads.list({ prefix: '', processId: null, after: null, limit: 100 }) ?? { grants: [] }
    t.same(left.filter(({ expiresAt }) => expiresAt === null || expiresAt > Date.now() + 60), [], 'nothing stays held')
    for (const instance of instances) await instance[Symbol.asyncDispose]()
  })
}
