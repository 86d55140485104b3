import { createLocks, type EmbeddedLocks } from '../../src/embedded/index.js'
import { freshDatabase } from './databases.js'
import { Proxy } from './proxy.js'

/** Locks of this process on PostgreSQL, whose database goes away when a test says so. */
export async function cuttableLocks(): Promise<AsyncDisposable & { readonly locks: EmbeddedLocks; readonly cut: () => Promise<void> }> {
  const database = await freshDatabase('postgres')
  const proxy = await Proxy.start(Number(new URL(database.url).port))
  const locks = await createLocks({ databaseUrl: proxy.through(database.url) })
  let cutting: Promise<void> | undefined
  const cut = (): Promise<void> => (cutting ??= proxy[Symbol.asyncDispose]())
  return {
    locks,
    cut,
    [Symbol.asyncDispose]: async () => {
      await locks[Symbol.asyncDispose]()
      await cut()
      await database[Symbol.asyncDispose]()
    }
  }
}
