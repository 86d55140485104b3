import { HttpLocks } from '../../src/client/index.js'
import { createLocks, type EmbeddedLocks, InMemoryLock, type LockApi } from '../../src/embedded/index.js'
import { TestApp } from './app.js'
import { START } from '../../scripts/database-templates.js'
import { DATABASES, freshDatabase } from './databases.js'
import { Proxy } from './proxy.js'

/** One back end on a clock that stands still until the test moves it. */
export interface OpenedApi extends AsyncDisposable {
  readonly api: LockApi
  readonly advance: (ms: number) => Promise<void>
}

export interface LockBackEnd {
  readonly name: string
  readonly open: () => Promise<OpenedApi>
}

const inMemory: LockBackEnd = {
  name: 'in memory',
  open: () => {
    let now = START
    const advance = (ms: number): Promise<void> => {
      now += ms
      return Promise.resolve()
    }
    return Promise.resolve({ api: new InMemoryLock({ epochMS: () => now }), advance, [Symbol.asyncDispose]: () => Promise.resolve() })
  }
}

/** Every back end of LockApi that locks anything. */
export const BACK_ENDS: readonly LockBackEnd[] = [
  inMemory,
  ...DATABASES.map((kind) => ({
    name: `embedded on ${kind}`,
    open: async () => {
      const database = await freshDatabase(kind)
      const api = await createLocks({ databaseUrl: database.url, clock: database.now })
      return {
        api,
        advance: database.advance,
        [Symbol.asyncDispose]: async () => {
          await api[Symbol.asyncDispose]()
          await database[Symbol.asyncDispose]()
        }
      }
    }
  })),
  ...DATABASES.map((kind) => ({
    name: `over HTTP on ${kind}`,
    open: async () => {
      const app = await TestApp.open(kind)
      const api = new HttpLocks({ url: `http://127.0.0.1:${await app.listen()}` })
      return {
        api,
        advance: (ms: number) => app.advance(ms),
        [Symbol.asyncDispose]: async () => {
          // It would go on renewing what a test has left, from a service that is gone.
          await api.releaseAll()
          await app[Symbol.asyncDispose]()
        }
      }
    }
  }))
]

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
