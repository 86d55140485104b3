import Database from 'better-sqlite3'
import { Kysely, Migrator, SqliteDialect } from 'kysely'
import t from 'tap'
import { migrationsFor } from '../../migrations/index.js'
import type { HistoryQuery, LockEvent } from '../../src/locks/store.js'
import type { SqlLockStore } from '../../src/storage/sql-store.js'
import type { Tables } from '../../src/storage/tables.js'
import { acquire, allEvents, release, sweep } from '../support/commands.js'
import { emptyDatabase, fileOf, freshDatabase, type TestDatabase } from '../support/databases.js'
import { openOn } from '../support/store.js'

const PER_BUCKET = 1024
const INDEXES = ['lock_events_by_resource_name', 'lock_events_by_process_id']

/** Makes that many events: `n0` to `n6` are taken and given back in turn by `p0` to `p4`. */
async function make(store: SqlLockStore, events: number): Promise<void> {
  for (let pair = 0; pair < events / 2; pair += 1) {
    const [name, process] = [`n${pair % 7}`, `p${pair % 5}`]
    await store.submit(acquire(name, process))
    await store.submit(release(name, process))
  }
}

async function whole(store: SqlLockStore, query: Partial<HistoryQuery> = {}): Promise<LockEvent[]> {
  const found: LockEvent[] = []
  for (let more = true; more; ) {
    const page = await store.reads.history({ ...allEvents, before: found.at(-1)?.eventId ?? null, limit: 100, ...query })
    found.push(...page.events)
    ;({ more } = page)
  }
  return found
}

interface Filed {
  readonly entries: number
  readonly buckets: readonly number[]
}

const inBoth = (filed: Filed): Filed[] => INDEXES.map(() => filed)

/** How many events each index has, and the buckets that they are in. */
function filed(database: TestDatabase): Filed[] {
  const file = new Database(fileOf(database.url), { readonly: true })
  try {
    return INDEXES.map((table) => ({
      entries: file.prepare(`select count(*) from ${table}`).pluck().get() as number,
      buckets: file.prepare(`select distinct bucket from ${table} order by bucket`).pluck().all() as number[]
    }))
  } finally {
    file.close()
  }
}

void t.test('a history of several buckets is read by name, process and prefix, wherever the events are filed', async (t) => {
  await using database = await freshDatabase('sqlite')
  await using store = await openOn(database)
  await make(store, 2.5 * PER_BUCKET)
  // The first event has the id 1.
  t.same(filed(database), inBoth({ entries: 2 * PER_BUCKET - 1, buckets: [0, 1] }), 'what is full is filed')
  const all = await whole(store)
  t.equal(all.length, 2.5 * PER_BUCKET)
  for (const query of [{ resourceName: 'n3' }, { processId: 'p4' }, { resourceName: 'n3', processId: 'p4' }, { prefix: 'n' }, { prefix: 'n6' }, { prefix: 'n', processId: 'p0' }]) {
    const { resourceName = null, processId = null, prefix = '' } = query as Partial<HistoryQuery>
    const wanted = all.filter(
      (event) =>
        (resourceName ?? event.resourceName) === event.resourceName && (processId ?? event.processId) === event.processId && event.resourceName.startsWith(prefix)
    )
    t.ok(wanted.length > 50)
    t.strictSame(await whole(store, query), wanted, JSON.stringify(query))
  }
  t.same(await whole(store, { resourceName: 'n' }), [])
})

void t.test('what is forgotten leaves the indexes too', async (t) => {
  await using database = await freshDatabase('sqlite')
  await using store = await openOn(database, { keepHistoryMs: 1000 })
  await make(store, 2 * PER_BUCKET)
  await database.advance(1001)
  await make(store, PER_BUCKET)
  while ((await store.submit(sweep)).more) continue
  const left = await whole(store)
  t.equal(left.length, PER_BUCKET)
  t.same(filed(database), inBoth({ entries: PER_BUCKET, buckets: [2] }))
  t.strictSame(
    await whole(store, { resourceName: 'n1' }),
    left.filter(({ resourceName }) => resourceName === 'n1')
  )
})

void t.test('the events of a database from before are filed when it is opened', async (t) => {
  await using database = await emptyDatabase('sqlite')
  await migrateUpTo(database, '0009-claimed-requests')
  const file = new Database(fileOf(database.url))
  const add = file.prepare(`insert into lock_events (at, kind, resource_name, lock_id, process_id) values (0, 'granted', ?, 1, 'p')`)
  file.transaction(() => {
    for (let event = 1; event < 2 * PER_BUCKET; event += 1) add.run(`n${event % 10}`)
  })()
  file.close()
  await using store = await openOn(database)
  t.same(filed(database), inBoth({ entries: 2 * PER_BUCKET - 1, buckets: [0, 1] }), 'the second bucket has just become full')
  const all = await whole(store)
  t.equal(all.length, 2 * PER_BUCKET - 1)
  t.strictSame(
    await whole(store, { resourceName: 'n4' }),
    all.filter(({ resourceName }) => resourceName === 'n4')
  )
})

async function migrateUpTo(database: TestDatabase, name: string): Promise<void> {
  const db = new Kysely<Tables>({ dialect: new SqliteDialect({ database: new Database(fileOf(database.url)) }) })
  const migrator = new Migrator({ db, provider: { getMigrations: () => Promise.resolve(migrationsFor('sqlite')) } })
  const { error } = await migrator.migrateTo(name)
  await db.destroy()
  if (error !== undefined) throw error
}
