import Database from 'better-sqlite3'
import { Kysely, Migrator, PostgresDialect, SqliteDialect, sql } from 'kysely'
import pg from 'pg'
import t from 'tap'
import { migrationsFor } from '../../migrations/index.js'
import { migrateDatabase, openStore } from '../../src/storage/index.js'
import { acquire, share } from '../support/commands.js'
import { onServer } from '../../scripts/database-templates.js'
import { besideService, DATABASES, emptyDatabase, fileOf, serverUrl, type DatabaseName, type TestDatabase } from '../support/databases.js'

type Db = Kysely<Record<string, Record<string, unknown>>>

const ignore = (): void => undefined

/** The database may be dropped while the last connection is still being closed. */
function poolOf(connectionString: string): pg.Pool {
  const pool = new pg.Pool({ connectionString })
  return pool.on('error', ignore).on('connect', (client) => client.on('error', ignore))
}

/** Beside the service. */
async function beside<Result>(kind: DatabaseName, url: string, body: (db: Db) => Promise<Result>): Promise<Result> {
  const db: Db = new Kysely({ dialect: kind === 'sqlite' ? new SqliteDialect({ database: new Database(fileOf(url)) }) : new PostgresDialect({ pool: poolOf(url) }) })
  try {
    return await body(db)
  } finally {
    await db.destroy()
  }
}

const tablesOf = (kind: DatabaseName, { url }: TestDatabase): Promise<string[]> =>
  beside(kind, url, async (db) => (await db.introspection.getTables({ withInternalKyselyTables: true })).map(({ name }) => name).filter((name) => /migration/.test(name)))

/** What an earlier version of the service left: Kysely's own names, and not all of the migrations. */
async function earlier(kind: DatabaseName, url: string, last = '0009-claimed-requests'): Promise<string[]> {
  return await beside(kind, url, async (db) => {
    const { error, results = [] } = await new Migrator({ db, provider: { getMigrations: () => Promise.resolve(migrationsFor(kind)) } }).migrateTo(last)
    if (error !== undefined) throw error
    await db
      .insertInto('resource_locks')
      .values({ resource_name: 'old', id: 41, process_id: 'p', locked_at: 1, is_active: kind === 'sqlite' ? 1 : true, told_at: 1 })
      .execute()
    if (kind === 'sqlite') await sql`update lock_numbers set last_value = 41`.execute(db)
    else await sql`select setval('lock_numbers', 41)`.execute(db)
    return results.map(({ migrationName }) => migrationName)
  })
}

const recorded = (kind: DatabaseName, { url }: TestDatabase, table: string): Promise<unknown[]> =>
  beside(kind, url, async (db) => (await db.selectFrom(table).select(['name', 'timestamp']).orderBy('name').execute()).map(({ name, timestamp }) => `${String(name)} ${String(timestamp)}`))

async function grantedBy(url: string, name: string): Promise<number> {
  await using store = await openStore({ databaseUrl: url })
  const outcome = await store.submit(acquire(name, 'q'))
  return outcome.kind === 'granted' ? (outcome.grants[0]?.lockId ?? 0) : 0
}

for (const kind of DATABASES) {
  void t.test(`a database of an earlier version keeps the history of its migrations under the service's own name: ${kind}`, async (t) => {
    await using database = await emptyDatabase(kind)
    const before = await earlier(kind, database.url)
    const history = await recorded(kind, database, 'kysely_migration')
    t.same(await migrateDatabase(database.url), Object.keys(migrationsFor(kind)).slice(before.length))
    t.same((await tablesOf(kind, database)).toSorted(), ['rlm_migration_lock', 'rlm_migrations'])
    t.same((await recorded(kind, database, 'rlm_migrations')).slice(0, before.length), history)
    t.same(await migrateDatabase(database.url), [])
    t.equal(await grantedBy(database.url, 'old'), 0, 'what was held is held')
    t.equal(await grantedBy(database.url, 'new'), 42)
  })

  void t.test(`another application's migrations in the same schema are left alone: ${kind}`, async (t) => {
    await using database = await emptyDatabase(kind)
    await besideService(database, `create table kysely_migration (name varchar(255) primary key, timestamp varchar(255)); insert into kysely_migration values ('0001-shop', '2024'); create table kysely_migration_lock (id varchar(255) primary key, is_locked integer)`)
    t.equal(await grantedBy(database.url, 'a'), 1)
    t.same(await recorded(kind, database, 'kysely_migration'), ['0001-shop 2024'])
    t.equal(await grantedBy(database.url, 'b'), 2, 'nor do they disturb the next start')
    t.same((await tablesOf(kind, database)).toSorted(), ['kysely_migration', 'kysely_migration_lock', 'rlm_migration_lock', 'rlm_migrations'])
  })

  void t.test(`a database that has another application's table where one of the service's belongs is refused and left as it is: ${kind}`, async (t) => {
    await using database = await emptyDatabase(kind)
    await besideService(database, 'create table api_keys (secret text)')
    await t.rejects(openStore({ databaseUrl: database.url }), { name: 'StartupError', message: /^The database already has api_keys, which this service did not make; give it a database.* of its own\.$/ })
    t.same(await tablesOf(kind, database), [])
  })

  void t.test(`a migration that fails leaves nothing of itself: ${kind}`, async (t) => {
    await using database = await emptyDatabase(kind)
    await besideService(database, 'create table resource_locks_sweep_at (in_the_way_of_the_index integer)')
    await t.rejects(openStore({ databaseUrl: database.url }))
    await besideService(database, 'drop table resource_locks_sweep_at')
    t.equal(await grantedBy(database.url, 'a'), 1)
  })
}

void t.test('instances that start at once on a database of an earlier version bring it up to date once: PostgreSQL', async (t) => {
  await using database = await emptyDatabase('postgres')
  const before = await earlier('postgres', database.url)
  const applied = await Promise.all(Array.from({ length: 5 }, () => migrateDatabase(database.url)))
  t.same(applied.flat(), Object.keys(migrationsFor('postgres')).slice(before.length))
  t.equal(await grantedBy(database.url, 'new'), 42)
})

void t.test('only the current schema counts: PostgreSQL', async (t) => {
  await using database = await emptyDatabase('postgres')
  const name = new URL(database.url).pathname.slice(1)
  const inSchema = async (schema: string): Promise<void> => onServer(serverUrl(), `alter database ${name} set search_path = "${schema}", public`)
  await earlier('postgres', database.url)
  await onServer(database.url, 'create schema shop', 'create table shop.kysely_migration (name text, timestamp text)', 'create schema "locks.of ours"')

  await inSchema('locks.of ours')
  t.equal(await grantedBy(database.url, 'old'), 1, 'a schema of its own begins with nothing')
  t.equal(await grantedBy(database.url, 'more'), 2)
  await inSchema('public')
  t.equal(await grantedBy(database.url, 'new'), 42, 'and the other one goes on')
  await inSchema('shop')
  t.equal(await grantedBy(database.url, 'old'), 1, 'nor does a table that has the name of another application')
  await onServer(serverUrl(), `alter database ${name} set search_path = nowhere`)
  await t.rejects(migrateDatabase(database.url), { name: 'StartupError', message: /^The search_path of the PostgreSQL user names no schema/ })
})

for (const kind of DATABASES) {
  void t.test(`what was held and who waited before there were shares keeps a share out: ${kind}`, async (t) => {
    await using database = await emptyDatabase(kind)
    await earlier(kind, database.url, '0012-waiters-key')
    const lease = kind === 'postgres' ? "floor(extract(epoch from clock_timestamp()) * 1000)::bigint + 2990" : '0'
    // Nobody waits in a SQLite file that is being opened.
    const waits = `insert into lock_waiters (resource_name, ticket, process_id, instance) values ('waited for', 1, 'w', 'earlier')`
    if (kind === 'postgres') await besideService(database, `insert into lock_instances (instance, lease_until) values ('earlier', ${lease}); ${waits}`)
    await using store = await openStore({ databaseUrl: database.url })
    if (kind === 'postgres') {
      await besideService(database, `update lock_instances set lease_until = ${lease} where instance = 'earlier'`)
      t.match(await store.submit(share('waited for', 'q')), { kind: 'held', conflicts: [{ processId: 'w', lockId: 0 }] }, 'it waits for all of the resource')
      t.match((await store.reads.queue({ resourceName: null, limit: 10 })).waiters, [{ processId: 'w', sharing: null }])
    }
    t.match(await store.submit(share('old', 'q')), { kind: 'held', conflicts: [{ processId: 'p', lockId: 41 }] })
    const outcome = await store.submit(share('new', 'q'))
    t.ok(outcome.kind === 'granted' && (outcome.grants[0]?.lockId ?? 0) > 41, 'numbers go on')
  })
}
