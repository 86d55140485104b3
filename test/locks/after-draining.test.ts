import { setImmediate } from 'node:timers/promises'
import t from 'tap'
import { freshDatabase } from '../support/databases.js'
import { Instance } from '../support/store.js'

const timers = (): number => process.getActiveResourcesInfo().filter((resource) => resource === 'Timeout').length

void t.test('a lock that is given back when all is closed starts no timer that nobody would stop', async (t) => {
  await using database = await freshDatabase('sqlite')
  const instance = await Instance.start(database)
  const gone = new AbortController()
  await instance.ask('a', 'p', { signal: gone.signal })
  await instance[Symbol.asyncDispose]()
  const before = timers()
  gone.abort()
  await setImmediate()
  t.equal(timers(), before)
})
