import pg from 'pg'
import t from 'tap'
import { LockError } from '../../src/locks/errors.js'
import type { Command } from '../../src/locks/commands.js'
import { isConnectionLost, isOfDatabase, toLockError } from '../../src/storage/postgres/connection.js'
import type { SqlLockStore } from '../../src/storage/sql-store.js'
import { acquire, everything, inspect, release, renew } from '../support/commands.js'
import { besideService, DATABASES } from '../support/databases.js'
import { onEachStore } from '../support/store.js'

/** What became of commands that share a batch: an outcome's kind, a LockError's code, or `bug` for an error that shows JSON in its stack. */
async function resultsOf(store: SqlLockStore, ...commands: readonly Command[]): Promise<string[]> {
  const results = await Promise.allSettled(commands.map((command) => store.submit(command)))
  return results.map((result) => {
    if (result.status === 'fulfilled') return result.value.kind
    const error: unknown = result.reason
    if (error instanceof LockError) return error.code
    return error instanceof Error && error.stack?.includes('JSON') === true ? 'bug' : String(error)
  })
}

for (const kind of DATABASES) {
  const onStore = onEachStore(t, kind)

  void onStore(`metadata that cannot be read fails its own commands as a bug, and none beside them: ${kind}`, async (t, store, database) => {
    for (const name of ['bad', 'good', 'ends']) await store.submit({ ...acquire(name, 'p'), metadata: { a: 1 } })
    await besideService(database, `update resource_locks set metadata = '{' where resource_name = 'bad'`)
    t.same(await resultsOf(store, acquire('bad', 'q'), acquire('good', 'q'), acquire('free', 'q')), ['bug', 'held', 'granted'])
    t.same(await resultsOf(store, inspect('bad'), inspect('good')), ['bug', 'inspected'])
    t.same(await resultsOf(store, renew('bad', 'q'), renew('none', 'q'), renew('good', 'p', 1000)), ['bug', 'not-held', 'renewed'])
    t.same(await resultsOf(store, renew('bad', 'p'), renew('ends', 'p')), ['bug', 'renewed'])
    t.same(await resultsOf(store, release('bad', 'q'), release('ends', 'p'), release('good', 'q')), ['bug', 'released', 'not-held'])
    t.same(await resultsOf(store, { kind: 'release-many', releases: [release('bad', 'p')] }, acquire('other', 'p')), ['bug', 'granted'])
    await besideService(database, `update resource_locks set metadata = '{' where resource_name = 'good'`)
    const fault: unknown = await store.reads.list(everything).catch((error: unknown) => error)
    t.notOk(fault instanceof LockError)
    t.match((fault as Error).stack, /JSON/, 'with the stack of where it happened')
  })

  void onStore(`a remembered request that cannot be read fails its own repetition, and none beside it: ${kind}`, async (t, store, database) => {
    const [bad, good] = ['bad', 'good'].map((name) => acquire(name, 'p', null, { id: `request-${name}`, fingerprint: 'f' })) as [Command, Command]
    t.same(await resultsOf(store, bad, good), ['granted', 'granted'])
    await besideService(database, `update lock_requests set grants = '[' where request_id = 'request-bad'`)
    t.same(await resultsOf(store, bad, good, acquire('free', 'q')), ['bug', 'granted', 'granted'])
  })
}

void t.test('an error of the program is not reported as a fault of the database', (t) => {
  for (const bug of [new TypeError('x is undefined'), new SyntaxError('JSON'), new RangeError('y')]) {
    t.equal(toLockError(bug, true), bug)
    t.equal(isConnectionLost(bug), false)
    t.equal(isOfDatabase(bug), false)
  }
  t.match(toLockError(new Error('Connection terminated unexpectedly'), true), { code: 'OUTCOME_UNKNOWN' })
  for (const code of ['25P03', '25P04']) {
    const ended = Object.assign(new pg.DatabaseError('terminating connection due to a time limit', 1, 'error'), { code })
    t.equal(isConnectionLost(ended), true)
    t.match(toLockError(ended, true), { code: 'OUTCOME_UNKNOWN' })
    t.match(toLockError(ended, false), { code: 'STORAGE_UNAVAILABLE' })
  }
  t.end()
})
