import Database from 'better-sqlite3'
import t from 'tap'
import { Batcher } from '../../src/storage/batcher.js'
import { openStore } from '../../src/storage/index.js'
import { SqliteExecutor } from '../../src/storage/sqlite/executor.js'
import { openSqlite } from '../../src/storage/sqlite/connection.js'
import { acquire, inspect, kindOrCode, release } from '../support/commands.js'
import { fileOf, freshDatabase } from '../support/databases.js'
import { Service, type Answer } from '../support/service.js'
import { TinyDisk } from '../support/tiny-disk.js'

void t.test('a full disk: 507 for requests, releases go on, and nothing is lost, not even by kill -9', async (t) => {
  await using disk = await TinyDisk.make()
  if (disk === undefined) {
    t.comment('no mount namespaces here: only the page limit below plays a full disk')
    return
  }
  const options = { cwd: '/', under: disk.under, settings: { DATABASE_URL: `sqlite:${disk.path}/x.db` } }
  const held: string[] = []
  {
    await using service = await Service.start(options)
    t.match(await service.call('GET', '/readyz'), { status: 200 })
    for (let taken = 0; taken < 80; taken += 1) t.match(await take(service, held), { status: 200 })
    await disk.fill()
    t.match(await takeUntilRefused(service, held), { status: 507, body: { code: 'STORAGE_FULL' } })
    t.match(await service.call('GET', '/readyz'), { status: 503 })
    t.match(await service.health(), { status: 503, body: { status: 'unhealthy' } })
    t.match(await service.call('GET', '/livez'), { status: 200 })
    t.match(await service.request('r0', 'q'), { status: 409, body: { locked_by: 'p' } })
    // More than the space kept back has room for.
    for (const name of held.splice(0, 75)) t.match(await service.release(name, 'p'), { status: 200 }, `${name} is released`)
    t.match(await service.call('GET', '/readyz'), { status: 503 }, 'the disk is as full as before')
    await service.kill()
  }
  await using service = await Service.start(options)
  const { total_locks } = (await service.call('GET', '/locks/all-locked')).body.data ?? {}
  t.equal(total_locks, held.length, 'what was acknowledged is there, and nothing else')
  for (const name of held) t.match(await service.release(name, 'p'), { status: 200 }, `${name} is released`)
  await disk.empty()
  t.match(await service.call('GET', '/readyz'), { status: 200 })
  const { status, body } = await service.request('r0', 'q')
  t.ok(status === 200 && Number(body.data?.['lock_id']) > 80)
})

void t.test('a database that may not grow: a batch fails where it must, and numbers go on', async (t) => {
  await using database = await freshDatabase('sqlite')
  await (await openStore({ databaseUrl: database.url }))[Symbol.asyncDispose]()
  using opened = openSqlite(fileOf(database.url))
  const executor = new SqliteExecutor(opened.database, opened.db, { keepHistoryMs: 0, reserve: undefined, onWakeup: () => undefined })
  const batcher = new Batcher(
    { concurrency: 1, sequential: true, minEarlyBatch: Infinity, execute: (commands) => executor.execute(commands.map((command) => ({ command, now: database.now() }))) },
    { maxBatch: 256, maxWaiting: 10_000, maxBatchDelayMs: 5 }
  )
  await batcher.submit(acquire('held', 'p'))
  opened.database.pragma(`max_page_count = ${String(opened.database.pragma('page_count', { simple: true }))}`)
  const names = Array.from({ length: 250 }, (_, index) => `a name of some length, so that pages fill up soon: ${index}`)
  const kinds = await Promise.all(names.map((name) => kindOrCode(batcher.submit(acquire(name, 'p')))))
  const granted = names.filter((_, index) => kinds[index] === 'granted')
  t.ok(granted.length > 0 && granted.length < names.length, `${granted.length} had room`)
  t.same(new Set(kinds), new Set(['granted', 'STORAGE_FULL']))
  for (const name of names) {
    const { grant } = await batcher.submit(inspect(name))
    if ((grant !== null) !== granted.includes(name)) t.fail(`${name} is not as it was answered`)
  }
  t.match(await batcher.submit(acquire('held', 'q')), { kind: 'held' })
  t.match(await batcher.submit(release('held', 'p')), { kind: 'released' })
  t.match(await batcher.submit(acquire('held', 'q')), { kind: 'granted', grants: [{ lockId: granted.length + 2 }] })
})

void t.test('another program that has the file for a while is no fault of the service, and does not stall it', async (t) => {
  await using database = await freshDatabase('sqlite')
  await using store = await openStore({ databaseUrl: database.url })
  const other = new Database(fileOf(database.url))
  other.exec('begin immediate')
  const since = Date.now()
  const kinds = await Promise.all(Array.from({ length: 50 }, (_, index) => kindOrCode(store.submit(acquire(`n${index}`, 'p')))))
  t.same(new Set(kinds), new Set(['STORAGE_UNAVAILABLE']))
  const took = Date.now() - since
  t.ok(took < 25_000, `one wait for all of them, where one for each would be 50 s: ${took} ms`)
  other.exec('rollback')
  other.close()
  t.match(await store.submit(acquire('n0', 'p')), { kind: 'granted', grants: [{ lockId: 1 }] })
})

async function take(service: Service, held: string[]): Promise<Answer> {
  const name = `r${held.length}`
  const answer = await service.request(name, 'p')
  if (answer.status === 200) held.push(name)
  return answer
}

async function takeUntilRefused(service: Service, held: string[]): Promise<Answer> {
  for (;;) {
    const answer = await take(service, held)
    if (answer.status !== 200) return answer
  }
}
