import type { Test } from 'tap'
import { openStore, type StoreOptions } from '../../src/storage/index.js'
import type { SqlLockStore } from '../../src/storage/sql-store.js'
import { freshDatabase, type DatabaseName, type TestDatabase } from './databases.js'

/** A store on that database, by its clock. */
export function openOn(database: TestDatabase, options: Partial<StoreOptions> = {}): Promise<SqlLockStore> {
  return openStore({ databaseUrl: database.url, clock: database.now, ...options })
}

type Body = (t: Test, store: SqlLockStore, database: TestDatabase) => Promise<void>

/** Makes subtests that each have a store on a fresh database of that kind. */
export function onEachStore(t: Test, kind: DatabaseName, options: Partial<StoreOptions> = {}) {
  return (name: string, body: Body) =>
    t.test(name, async (t) => {
      await using database = await freshDatabase(kind)
      await using store = await openOn(database, options)
      await body(t, store, database)
    })
}

/** The instances that may share one database: two on PostgreSQL, the one there is on SQLite. `at` takes turns among them. */
export async function instances(kind: DatabaseName, store: SqlLockStore, database: TestDatabase) {
  const other = kind === 'postgres' ? await openOn(database) : undefined
  return {
    at: (turn: number): SqlLockStore => (turn % 2 === 1 && other !== undefined ? other : store),
    [Symbol.asyncDispose]: async () => other?.[Symbol.asyncDispose]()
  }
}
