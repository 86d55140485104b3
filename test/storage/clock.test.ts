import t from 'tap'
import { openStore } from '../../src/storage/index.js'
import { acquire, inspect, release, sweep } from '../support/commands.js'
import { START } from '../../scripts/database-templates.js'
import { DATABASES, freshDatabase } from '../support/databases.js'

const HOUR_MS = 3_600_000

for (const kind of DATABASES) {
  void t.test(`the clock jumps: leases end early or late, numbers grow all the same: ${kind}`, async (t) => {
    await using database = await freshDatabase(kind)
    await using store = await openStore({ databaseUrl: database.url, clock: database.now })
    t.match(await store.submit(acquire('a', 'p', 60_000)), { kind: 'granted', grants: [{ lockId: 1 }] })
    await database.advance(HOUR_MS)
    t.match(await store.submit(acquire('a', 'q', 60_000)), { kind: 'granted', grants: [{ lockId: 2 }] }, 'early')
    await database.advance(-2 * HOUR_MS)
    t.match(await store.submit(acquire('a', 'r')), { kind: 'held', conflicts: [{ lockId: 2 }] }, 'late')
    t.match(await store.submit(sweep), { expired: 0, removed: 0 })
    t.match(await store.submit(release('a', 'q')), { kind: 'released', releasedAt: START - HOUR_MS })
    t.match(await store.submit(sweep), { expired: 0, removed: 0 })
    t.match(await store.submit(acquire('a', 'r', 60_000)), { kind: 'granted', grants: [{ lockId: 3, lockedAt: START - HOUR_MS }] })
    await database.advance(HOUR_MS)
    t.match(await store.submit(sweep), { expired: 1 })
    await database.advance(-HOUR_MS)
    t.match(await store.submit(inspect('a')), { grant: null }, 'what was ended stays ended')
    t.match(await store.submit(acquire('a', 'p')), { kind: 'granted', grants: [{ lockId: 4 }] })
  })
}
