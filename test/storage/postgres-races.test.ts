import t from 'tap'
import { Sweeper } from '../../src/locks/sweeper.js'
import { openStore } from '../../src/storage/open-store.js'
import { KEEP_ENDED_MS } from '../../src/storage/rows.js'
import { acquire, inspect, release } from '../support/commands.js'
import { freshDatabase, START } from '../support/databases.js'
import { Session } from '../support/session.js'

// Another instance's unfinished first request, as this one sees it.
const FIRST_INSERT = `insert into resource_locks (resource_name, id, process_id, locked_at, is_active) values ('a', 0, '', 0, false)`

for (const { first, begin, held } of [
  { first: 'a name that was never asked for', begin: FIRST_INSERT, held: false },
  { first: 'a name that was locked once', begin: `select from resource_locks where resource_name = 'a' for update`, held: true }
]) {
  void t.test(`${first}: whoever waited for another session is granted from then on, with the largest number`, async (t) => {
    await using database = await freshDatabase('postgres')
    await using store = await openStore({ databaseUrl: database.url })
    await using beside = await openStore({ databaseUrl: database.url })
    if (held) await store.submit(acquire('a', 'before', 1000))
    await database.advance(1000)
    await using session = await Session.open(database.url)
    await session.run('begin')
    await session.run(begin)
    const waiting = store.submit(acquire('a', 'p', 1000))
    await session.untilWaitedFor()
    await database.advance(60_000)
    const meanwhile = await Promise.all(['b', 'c', 'd'].map((name) => beside.submit(acquire(name, 'p'))))
    await session.run('rollback')
    const outcome = await waiting
    t.match(outcome, { kind: 'granted', grants: [{ lockedAt: START + 61_000, expiresAt: START + 62_000 }] })
    const numberOf = (granted: typeof outcome) => (granted.kind === 'granted' ? (granted.grants[0]?.lockId ?? 0) : 0)
    t.ok(numberOf(outcome) > Math.max(...meanwhile.map(numberOf)), `${numberOf(outcome)} was drawn last`)
    t.match(await beside.submit(acquire('a', 'q')), { kind: 'held', conflicts: [{ processId: 'p' }] })
  })
}

void t.test('one name that somebody sits on delays nobody but those who ask for it', async (t) => {
  await using database = await freshDatabase('postgres')
  await using store = await openStore({ databaseUrl: database.url })
  await store.submit(acquire('a', 'p'))
  await using session = await Session.open(database.url)
  await session.run('begin')
  await session.run(`select from resource_locks where resource_name = 'a' for update`)
  const stuck = store.submit(release('a', 'p'))
  await session.untilWaitedFor()
  const asked = Date.now()
  t.match(await store.submit(acquire('b', 'p')), { kind: 'granted' })
  t.match(await store.submit(inspect('a')), { grant: { processId: 'p' } })
  t.ok(Date.now() - asked < 3000)
  await session.run('rollback')
  t.match(await stuck, { kind: 'released' })
})

void t.test('opposed and overlapping batches of two instances all get through, without a deadlock', async (t) => {
  await using database = await freshDatabase('postgres')
  {
    await using one = await openStore({ databaseUrl: database.url })
    await using other = await openStore({ databaseUrl: database.url })
    let granted = 0
    let released = 0
    for (let round = 0; round < 15; round += 1) {
      // New names in every round, so that the rows are laid in opposition too.
      const names = Array.from({ length: 40 }, (_, index) => `${index < 20 ? round : 'old'}/${index}`)
      const outcomes = await Promise.all([
        ...names.map((name) => one.submit(acquire(name, 'p'))),
        ...names.toReversed().map((name) => other.submit(acquire(name, 'q')))
      ])
      granted += outcomes.filter(({ kind }) => kind === 'granted').length
      const ended = await Promise.all([
        ...names.map((name) => other.submit(release(name, 'p'))),
        ...names.toReversed().map((name) => one.submit(release(name, 'q')))
      ])
      released += ended.filter(({ kind }) => kind === 'released').length
    }
    t.equal(granted, 15 * 40, 'each name had one holder')
    t.equal(released, granted)
  }
  await using session = await Session.open(database.url)
  // A session reports what it met when it ends.
  t.match(await session.run('select deadlocks::int from pg_stat_database where datname = current_database()'), [{ deadlocks: 0 }])
})

void t.test('two instances that sweep all the time break nothing', async (t) => {
  await using database = await freshDatabase('postgres')
  await using one = await openStore({ databaseUrl: database.url })
  await using other = await openStore({ databaseUrl: database.url })
  await one.submit(acquire('kept', 'p'))
  const faults: unknown[] = []
  const options = { intervalMs: 1, onError: (error: unknown) => void faults.push(error) }
  await using first = new Sweeper(one, options)
  await using second = new Sweeper(other, options)
  first.start()
  second.start()
  const last = new Map<string, number>()
  for (let round = 0; round < 40; round += 1) {
    const names = Array.from({ length: 30 }, (_, index) => `n${(round + index) % 40}`)
    const outcomes = await Promise.all([
      ...names.map((name) => one.submit(acquire(name, 'p', 1000))),
      ...names.toReversed().map((name) => other.submit(acquire(name, 'q', 1000)))
    ])
    const grants = outcomes.flatMap((outcome) => (outcome.kind === 'granted' ? outcome.grants : []))
    if (grants.length !== names.length) faults.push(`round ${round}: ${grants.length} grants for ${names.length} names`)
    for (const { resourceName, lockId } of grants) {
      const before = last.get(resourceName) ?? 0
      if (lockId <= before) faults.push(`round ${round}, ${resourceName}: ${lockId} after ${before}`)
      last.set(resourceName, lockId)
    }
    // Some end by themselves, some are let go, and many rows are due to be removed just as they are asked for again.
    await Promise.all(grants.slice(0, 15).map(({ resourceName, processId }) => one.submit(release(resourceName, processId))))
    await database.advance(round % 2 === 0 ? 1000 : KEEP_ENDED_MS)
  }
  t.match(await one.submit(inspect('kept')), { grant: { lockId: 1 } })
  t.same(faults, [])
})
