import t from 'tap'
import type { Command } from '../../src/locks/commands.js'
import { Sweeper } from '../../src/locks/cleanup.js'
import { openStore } from '../../src/storage/index.js'
import { KEEP_ENDED_MS } from '../../src/storage/tables.js'
import { acquire, inspect, kindOrCode, release, sweep } from '../support/commands.js'
import { START } from '../../scripts/database-templates.js'
import { freshDatabase } from '../support/databases.js'
import { Session } from '../support/session.js'

const NAMES = 60

// Another instance's unfinished first request, as this one sees it.
const firstInsert = (name: string): string =>
  `insert into resource_locks (resource_name, id, process_id, locked_at, is_active) values ('${name}', 0, '', 0, false)`

for (const { first, begin, held } of [
  { first: 'a name that was never asked for', begin: firstInsert('a'), held: false },
  { first: 'a name that was locked once', begin: `select from resource_locks where resource_name = 'a' for update`, held: true }
]) {
  void t.test(`${first}: a statement that waited for another session grants from then on, with the largest number`, async (t) => {
    await using database = await freshDatabase('postgres')
    await using store = await openStore({ databaseUrl: database.url })
    await using beside = await openStore({ databaseUrl: database.url })
    if (held) await store.submit(acquire('a', 'before', 1000))
    await database.advance(1000)
    await using session = await Session.open(database.url)
    await session.run('begin')
    await session.run(begin)
    const waiting = store.submit(acquire('a', 'p', 1000))
    await session.untilWaiting()
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
  await session.untilWaiting()
  let over = false
  const settle = (): void => void (over = true)
  stuck.then(settle, settle)
  t.match(await store.submit(acquire('b', 'p')), { kind: 'granted' })
  t.match(await store.submit(inspect('a')), { grant: { processId: 'p' } })
  t.equal(over, false, 'the one that asks for it still waits')
  await session.run('rollback')
  t.match(await stuck, { kind: 'released' })
})

void t.test('opposed batches of two instances that pile up behind one row all get through, without a deadlock', async (t) => {
  await using database = await freshDatabase('postgres')
  await using session = await Session.open(database.url)
  {
    await using one = await openStore({ databaseUrl: database.url })
    await using other = await openStore({ databaseUrl: database.url })
    const opposed = async (names: readonly string[], block: string, command: (name: string, process: string) => Command) => {
      await session.run('begin')
      await session.run(block)
      const outcomes = Promise.all([
        ...names.map((name) => kindOrCode(one.submit(command(name, 'p')))),
        ...names.toReversed().map((name) => kindOrCode(other.submit(command(name, 'p'))))
      ])
      await session.untilWaiting(2)
      await session.run('rollback')
      return (await outcomes).toSorted().join(' ')
    }
    const each = (first: string, second: string) => [...Array<string>(NAMES).fill(first), ...Array<string>(NAMES).fill(second)].join(' ')
    for (let round = 0; round < 4; round += 1) {
      const names = Array.from({ length: NAMES }, (_, index) => `${round}/${index}`)
      const middle = `${round}/${NAMES / 2}`
      const lock = `select from resource_locks where resource_name = '${middle}' for update`
      t.equal(await opposed(names, firstInsert(middle), acquire), each('granted', 'held'), 'names that are new')
      t.equal(await opposed(names, lock, release), each('not-held', 'released'), 'names that are held')
      t.equal(await opposed(names, lock, acquire), each('granted', 'held'), 'names that are free')
    }
  }
  // A session reports what it met when it ends.
  t.match(await session.run('select deadlocks::int from pg_stat_database where datname = current_database()'), [{ deadlocks: 0 }])
})

void t.test('batches that release what the other asks for get through as well, without a deadlock', async (t) => {
  await using database = await freshDatabase('postgres')
  await using session = await Session.open(database.url)
  {
    await using one = await openStore({ databaseUrl: database.url })
    await using other = await openStore({ databaseUrl: database.url })
    for (let round = 0; round < 4; round += 1) {
      // Few enough for one batch on each side.
      const mine = Array.from({ length: 12 }, (_, index) => `${round}/mine/${index}`)
      const yours = Array.from({ length: 12 }, (_, index) => `${round}/yours/${index}`)
      await Promise.all([...mine.map((name) => one.submit(acquire(name, 'p'))), ...yours.map((name) => other.submit(acquire(name, 'q')))])
      await session.run('begin')
      await session.run(`select from resource_locks where resource_name in ('${mine[6]}', '${yours[6]}') for update`)
      const outcomes = Promise.all([
        ...mine.map((name) => kindOrCode(one.submit(release(name, 'p')))),
        ...yours.map((name) => kindOrCode(one.submit(acquire(name, 'p')))),
        ...yours.map((name) => kindOrCode(other.submit(release(name, 'q')))),
        ...mine.map((name) => kindOrCode(other.submit(acquire(name, 'q'))))
      ])
      await session.untilWaiting(2)
      await session.run('rollback')
      const kinds = await outcomes
      t.equal(kinds.filter((kind) => kind === 'released').length, 24)
      t.equal(kinds.filter((kind) => kind === 'held' || kind === 'granted').length, 24)
    }
  }
  t.match(await session.run('select deadlocks::int from pg_stat_database where datname = current_database()'), [{ deadlocks: 0 }])
})

void t.test('the sweeper passes over a row that somebody is busy with', async (t) => {
  await using database = await freshDatabase('postgres')
  await using store = await openStore({ databaseUrl: database.url })
  for (const name of ['a', 'b']) await store.submit(acquire(name, 'p', 1000))
  await database.advance(1000)
  await using session = await Session.open(database.url)
  await session.run('begin')
  await session.run(`select from resource_locks where resource_name = 'a' for update`)
  t.match(await store.submit(sweep), { expired: 1 })
  await session.run('rollback')
  t.match(await store.submit(sweep), { expired: 1 })
})

void t.test('a row that is being renewed survives the sweeper', async (t) => {
  await using database = await freshDatabase('postgres')
  await using store = await openStore({ databaseUrl: database.url })
  await store.submit(acquire('a', 'p', 1000))
  await database.advance(1000)
  await using session = await Session.open(database.url)
  await session.run('begin')
  await session.run(`update resource_locks set expires_at = expires_at + 60000, sweep_at = sweep_at + 60000`)
  t.match(await store.submit(sweep), { expired: 0, removed: 0 })
  await session.run('commit')
  t.match(await store.submit(sweep), { expired: 0, removed: 0 })
  t.match(await store.submit(inspect('a')), { grant: { lockId: 1 } })
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
