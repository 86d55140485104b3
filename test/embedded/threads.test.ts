import type { Worker } from 'node:worker_threads'
import t from 'tap'
import { openStore } from '../../src/storage/index.js'
import { acquire } from '../support/commands.js'
import { freshDatabase } from '../support/databases.js'

void t.test('a thread serves one file after another, of which none sees anything of the others', async (t) => {
  const threads: Worker[] = []
  const count = (thread: Worker): void => void threads.push(thread)
  process.on('worker', count)
  t.teardown(() => process.off('worker', count))
  for (const process of ['p', 'q']) {
    await using database = await freshDatabase('sqlite')
    const store = await openStore({ databaseUrl: database.url, clock: database.now })
    t.match(await store.submit(acquire('a', process)), { kind: 'granted', grants: [{ lockId: 1 }] })
    await store[Symbol.asyncDispose]()
    await store[Symbol.asyncDispose]()
    await t.rejects(store.ping(), { code: 'STORAGE_UNAVAILABLE' }, 'closed is closed, whoever has the thread')
  }
  t.equal(threads.length, 1)

  await using database = await freshDatabase('sqlite')
  await using other = await freshDatabase('sqlite')
  await using store = await openStore({ databaseUrl: database.url, clock: database.now })
  await using beside = await openStore({ databaseUrl: other.url, clock: other.now })
  t.equal(threads.length, 2, 'two open files have a thread each')
  await store[Symbol.asyncDispose]()
  await beside[Symbol.asyncDispose]()
  for (const thread of threads) await thread.terminate()
  await using again = await openStore({ databaseUrl: database.url, clock: database.now })
  t.match(await again.submit(acquire('a', 'q')), { kind: 'granted', grants: [{ lockId: 1 }] }, 'a thread that has ended is not taken')
})
