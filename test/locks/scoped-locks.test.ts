import t from 'tap'
import { ForbiddenError } from '../../src/locks/errors.js'
import { processId, resourceName } from '../../src/locks/lock.js'
import { ScopedLocks } from '../../src/locks/scoped-locks.js'
import { LOCK_READS, type LockReads, type ReadQuery } from '../../src/locks/store.js'
import { Instance, knownKey } from '../support/store.js'
import { freshDatabase } from '../support/databases.js'

void t.test('a key reads nothing outside of its prefix, whichever read it is', async (t) => {
  await using database = await freshDatabase('sqlite')
  await using one = await Instance.start(database)
  await one.now('in/a', 'p')
  await one.now('out', 'p')
  const { reads } = new ScopedLocks(one.service, knownKey('k', 'in/'))
  for (const name of Object.keys(LOCK_READS) as (keyof LockReads)[]) {
    const read = (query: ReadQuery) => (reads[name] as (query: ReadQuery) => Promise<unknown>)(query)
    await t.rejects(read({ resourceName: 'out' }), ForbiddenError, name)
    await t.rejects(read({ prefix: 'out' }), ForbiddenError, name)
    await t.rejects(read({ prefix: 'in/', resourceName: 'out' }), ForbiddenError, name)
    await t.rejects(read({}), ForbiddenError, name)
  }
  const everything = { prefix: '', processId: null }
  t.equal(await reads.count(everything), 1)
  t.match(await reads.list({ ...everything, after: null, limit: 9 }), { grants: [{ resourceName: 'in/a' }], more: false })
  t.match(await reads.history({ ...everything, resourceName: null, before: null, limit: 9 }), { events: [{ resourceName: 'in/a' }], more: false })
  t.match(await reads.queue({ resourceName: resourceName('in/a'), limit: 9 }), { total: 0 })
  t.equal(await reads.releasedAt({ resourceName: resourceName('in/a'), processId: processId('p'), lockId: 1 }), null)
})
