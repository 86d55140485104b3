import t from 'tap'
import { openStore } from '../../src/storage/index.js'
import { acquire, inspect, release, renew, sweep } from '../support/commands.js'
import { onServer, START } from '../../scripts/database-templates.js'
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

/** From now on the clock of the database goes on by that much with each reading. */
const ticking = (ms: number) => `
  create sequence moved.readings minvalue 0;
  create or replace function moved.clock_timestamp() returns timestamptz language sql volatile as
    'select to_timestamp((${START} + ${ms} * nextval(''moved.readings'')) / 1000.0)'`

void t.test('a statement that is paused between two readings of its clock ends or renews no grant after its end', async (t) => {
  const TTL_MS = 1000
  const TICK_MS = 10
  await using database = await freshDatabase('postgres')
  await using store = await openStore({ databaseUrl: database.url, clock: database.now })
  await onServer(database.url, ticking(TICK_MS))
  const seen = new Set<string>()
  // The end of the lease falls between each two of the readings of a statement: it begins a reading later each time.
  for (let late = 0; late < 20; late += 1) {
    for (const command of ['release', 'renew', 'acquire'] as const) {
      const name = `${command} ${late}`
      const granted = await store.submit(acquire(name, 'p', TTL_MS))
      const end = (granted.kind === 'granted' ? granted.grants[0]?.expiresAt : undefined) ?? 0
      await onServer(database.url, `select setval('moved.readings', (${end} - ${START}) / ${TICK_MS} - ${late})`)
      const outcome = await store.submit(command === 'release' ? release(name, 'p') : command === 'renew' ? renew(name, 'p', TTL_MS) : acquire(name, 'q'))
      seen.add(outcome.kind)
      if (outcome.kind === 'released') t.ok(outcome.releasedAt < end, `${name}: ${outcome.releasedAt - end}`)
      if (outcome.kind === 'renewed') t.ok(outcome.renewedAt < end, `${name}: ${outcome.renewedAt - end}`)
      if (outcome.kind === 'held') t.ok(outcome.at < end, `${name}: ${outcome.at - end}`)
    }
  }
  t.same([...seen].toSorted(), ['granted', 'held', 'not-held', 'released', 'renewed'])
})
