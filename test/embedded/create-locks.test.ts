import { execFile } from 'node:child_process'
import { setImmediate } from 'node:timers/promises'
import { pathToFileURL } from 'node:url'
import { promisify } from 'node:util'
import t from 'tap'
import { createLocks, InMemoryLock } from '../../src/embedded/index.js'
import { processId, resourceName } from '../../src/locks/lock.js'
import { cuttableLocks } from '../support/lock-apis.js'
import { START } from '../../scripts/database-templates.js'
import { DATABASES, freshDatabase } from '../support/databases.js'
import { inProject } from '../support/program.js'

/** Those that keep this process alive. */
const timers = (): number => process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length

for (const kind of DATABASES) {
  void t.test(`locks of this process on ${kind} keep their numbers, their holder and what was put beside them`, async (t) => {
    await using database = await freshDatabase(kind)
    const tokens: number[] = []
    for (let round = 0; round < 2; round += 1) {
      await using locks = await createLocks({ databaseUrl: database.url, processId: 'worker-7', clock: database.now })
      await using lock = await locks.tryAcquire('a', 30, { host: 'h' })
      t.match(lock, { type: 'lock', metadata: { host: 'h' }, expiresAt: new Date(START + 30_000) })
      t.match(await locks.service.reads.list({ prefix: '', processId: null, after: null, limit: 9 }), { grants: [{ processId: 'worker-7' }] })
      t.match(await locks.documents.acquireLock('d', 'u'), { success: true, lockInfo: { userId: 'u' } })
      tokens.push(lock?.fencingToken ?? 0)
    }
    t.ok((tokens[0] ?? 0) < (tokens[1] ?? 0), 'across a restart')
  })
}

void t.test('a database that is away is said to be away', async (t) => {
  await using cuttable = await cuttableLocks()
  const { locks } = cuttable
  const lock = await locks.tryAcquire('a', 30)
  await cuttable.cut()
  await t.rejects(locks.tryAcquire('b', 30), { name: 'LockServiceUnavailableError' })
  if (lock === undefined) throw new Error('not granted')
  await t.rejects(lock.release(), { name: 'LockServiceUnavailableError' })
})

void t.test('what is given back after the end keeps no process alive', async (t) => {
  const locks = await createLocks({ databaseUrl: 'sqlite::memory:' })
  const gone = new AbortController()
  await locks.service.request({ resourceNames: [resourceName('a')], processId: processId('p') }, { waitMs: 0, signal: gone.signal })
  await locks[Symbol.asyncDispose]()
  const before = timers()
  gone.abort()
  await setImmediate()
  t.equal(timers(), before)
})

for (const kind of DATABASES) {
  void t.test(`a program on ${kind} that forgets to dispose of its locks ends`, async (t) => {
    await using database = await freshDatabase(kind)
    const program = `
      import { createLocks } from ${JSON.stringify(pathToFileURL(inProject('dist/src/embedded/index.js')).href)}
      const locks = await createLocks({ databaseUrl: ${JSON.stringify(database.url)} })
      console.log((await locks.tryAcquire('a', 30)).fencingToken)`
    const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '--eval', program], { timeout: 25_000 })
    t.equal(stdout, '1\n')
  })
}

void t.test('what cannot be opened is refused with one sentence', async (t) => {
  await t.rejects(createLocks({ databaseUrl: 'redis://127.0.0.1' }), { name: 'StartupError' })
  await t.rejects(createLocks({ databaseUrl: 'sqlite::memory:', processId: '' }), RangeError)
})

void t.test('locks in memory do not pile up', async (t) => {
  let now = 0
  const api = new InMemoryLock({ epochMS: () => now })
  for (let index = 0; index < 5000; index += 1) {
    await api.tryAcquire(`key ${index}`, 1)
    now += 10
  }
  t.equal(await api.tryAcquire('key 4999', 1), undefined)
  t.ok(await api.tryAcquire('key 4000', 1))
})
