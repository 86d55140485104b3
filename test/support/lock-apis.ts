import { HttpLocks } from '../../src/client/index.js'
import { createLocks, InMemoryLock, type LockApi } from '../../src/embedded/index.js'
import { TestApp } from './app.js'
import { DATABASES, freshDatabase, START } from './databases.js'

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
      return { api, advance: (ms: number) => app.advance(ms), [Symbol.asyncDispose]: () => app[Symbol.asyncDispose]() }
    }
  }))
]
