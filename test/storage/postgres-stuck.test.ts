import t from 'tap'
import { openStore } from '../../src/storage/index.js'
import { acquire, inspect, kindOrCode, release } from '../support/commands.js'
import { freshDatabase } from '../support/databases.js'
import { Session } from '../support/session.js'

// What a forgotten psql session does. The waits are the service's own: 5 seconds for one lock.

void t.test('a row that somebody sits on fails its own command, not those that came with it', async (t) => {
  await using database = await freshDatabase('postgres')
  await using store = await openStore({ databaseUrl: database.url })
  const names = ['a', 'b', 'c', 'd']
  for (const name of names) await store.submit(acquire(name, 'p'))
  await using session = await Session.open(database.url)
  await session.run('begin')
  await session.run(`select from resource_locks where resource_name = 'b' for update`)
  const outcomes = await Promise.all(names.map((name) => kindOrCode(store.submit(release(name, 'p')))))
  t.same(outcomes, ['released', 'STORAGE_UNAVAILABLE', 'released', 'released'])
  await session.run('rollback')
  t.match(await store.submit(inspect('b')), { grant: { processId: 'p' } }, 'nothing was changed')
  t.match(await store.submit(release('b', 'p')), { kind: 'released' })
})

void t.test('a table that somebody sits on fails everything, and one wait is enough for all', async (t) => {
  await using database = await freshDatabase('postgres')
  await using store = await openStore({ databaseUrl: database.url })
  await store.submit(acquire('warm', 'p'))
  await using session = await Session.open(database.url)
  await session.run('begin')
  await session.run('lock table resource_locks')
  const since = Date.now()
  const outcomes = await Promise.all(Array.from({ length: 100 }, (_, index) => kindOrCode(store.submit(acquire(`n${index}`, 'p')))))
  const took = Date.now() - since
  t.same(new Set(outcomes), new Set(['STORAGE_UNAVAILABLE']))
  t.ok(took < 250_000, `after ${took} ms, where a wait for each would be 500 s`)
  await session.run('rollback')
  t.match(await store.submit(acquire('n0', 'p')), { kind: 'granted' })
})
