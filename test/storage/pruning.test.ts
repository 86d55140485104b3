import { readFileSync } from 'node:fs'
import t from 'tap'
import type { LockEvent } from '../../src/locks/store.js'
import type { SqlLockStore } from '../../src/storage/sql-store.js'
import { acquire, allEvents, enqueue, release, sweep } from '../support/commands.js'
import { besideService, DATABASES, fileOf, freshDatabase, type TestDatabase } from '../support/databases.js'
import { Session } from '../support/session.js'
import { onEachStore, openOn } from '../support/store.js'

const HOUR = 3_600_000
const KEEP = 24 * HOUR
/** More than a sweep looks at. */
const MANY = 2 * sweep.limit + 50

async function sweepAll(store: SqlLockStore): Promise<void> {
  while ((await store.submit(sweep)).more) continue
}

async function events(store: SqlLockStore): Promise<LockEvent[]> {
  return (await store.reads.history(allEvents)).events.toReversed()
}

async function namesLeft(store: SqlLockStore): Promise<string[]> {
  return (await events(store)).map(({ resourceName }) => resourceName)
}

/** Writes events of that date beside the service. */
function write(database: TestDatabase, name: string, count: number, at: number): Promise<void> {
  const numbers = `with recursive n(i) as (select 1 union all select i + 1 from n where i < ${count})`
  return besideService(
    database,
    `insert into lock_events (at, kind, resource_name, lock_id, process_id) ${numbers} select ${at}, 'granted', '${name}', i, 'p' from n`
  )
}

for (const kind of DATABASES) {
  void t.test(`the history is pruned behind events of a clock that was set back (${kind})`, async (t) => {
    const onStore = onEachStore(t, kind, { keepHistoryMs: KEEP })

    await onStore('events dated in the future go with the old ones behind them', async (t, store, database) => {
      await database.advance(HOUR)
      await write(database, 'future', MANY, database.now())
      await database.advance(-HOUR)
      await write(database, 'old', MANY, database.now())
      await sweepAll(store)
      t.equal((await events(store)).length, 2 * MANY, 'nothing is too old yet')
      await database.advance(KEEP)
      await store.submit(acquire('recent', 'p'))
      await sweepAll(store)
      t.equal((await events(store)).length, 2 * MANY + 1, 'to the last millisecond')
      await database.advance(1)
      await sweepAll(store)
      t.same(await namesLeft(store), ['recent'])
    })

    await onStore('also when they lie in the far future', async (t, store, database) => {
      await write(database, 'future', MANY, database.now() + 100 * 365 * KEEP)
      await write(database, 'old', 1, database.now())
      await sweepAll(store)
      await database.advance(KEEP + 1)
      await store.submit(acquire('recent', 'p'))
      await sweepAll(store)
      t.same(await namesLeft(store), ['recent'])
    })

    await onStore('where nothing follows them, they go when they are too old themselves', async (t, store, database) => {
      await write(database, 'future', MANY, database.now() + HOUR)
      await sweepAll(store)
      await database.advance(KEEP + HOUR)
      await sweepAll(store)
      t.equal((await events(store)).length, MANY)
      await database.advance(1)
      await sweepAll(store)
      t.equal((await events(store)).length, 1, 'the newest stays')
      await store.submit(acquire('next', 'p'))
      const [newest, next] = await events(store)
      t.equal(next?.eventId, (newest?.eventId ?? 0) + 1, 'so that ids go on')
    })

    await onStore('one event of a wrong date takes no recent ones with it', async (t, store, database) => {
      await write(database, 'recent', 3, database.now())
      await write(database, 'wrong', 1, 0)
      await write(database, 'recent', 3, database.now())
      await sweepAll(store)
      t.equal((await events(store)).length, 7)
    })
  })

  void t.test(`sweeps that find nothing to do write nothing (${kind})`, async (t) => {
    await using database = await freshDatabase(kind)
    await using store = await openOn(database, { keepHistoryMs: KEEP })
    await write(database, 'future', MANY, database.now() + 2 * KEEP)
    await write(database, 'old', 5, database.now())
    await database.advance(KEEP + 1)
    await write(database, 'future', MANY, database.now() + HOUR)
    await write(database, 'recent', 5, database.now())
    await store.submit(acquire(['held', 'lasting'], 'p', 60_000 * 60, { id: 'x', fingerprint: 'f' }))
    await store.submit(acquire('released', 'p'))
    await store.submit(release('released', 'p'))
    await store.submit(enqueue('held', 'q'))
    await sweepAll(store)
    const before = await traces(database)
    for (let round = 0; round < 3; round += 1) {
      await sweepAll(store)
      await database.advance(1000)
    }
    t.strictSame(await traces(database), before)
  })
}

/** What every write leaves behind: the bytes of SQLite's files, or the transactions that wrote or locked a row of PostgreSQL. */
async function traces(database: TestDatabase): Promise<unknown> {
  if (database.url.startsWith('sqlite')) return ['', '-wal'].map((file) => readFileSync(fileOf(database.url) + file).toString('latin1'))
  await using session = await Session.open(database.url)
  const tables = ['lock_events', 'resource_locks', 'lock_requests', 'lock_waiters', 'lock_instances']
  const rows = tables.map((table) => `select '${table}' as name, ctid::text, xmin::text, xmax::text from ${table}`)
  return await session.run(rows.join(' union all '))
}
