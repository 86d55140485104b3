import pg from 'pg'
import t from 'tap'
import { LockError } from '../../src/locks/errors.js'
import { isConnectionLost, toLockError } from '../../src/storage/postgres/connection.js'
import { openStore } from '../../src/storage/index.js'
import { acquire, inspect, kindOrCode, release } from '../support/commands.js'
import { onServer } from '../../scripts/database-templates.js'
import { freshDatabase, serverUrl } from '../support/databases.js'
import { eventually } from '../support/eventually.js'
import { Load, Service } from '../support/service.js'
import { PostgresServer } from '../../scripts/postgres-server.js'
import { Proxy } from '../support/proxy.js'
import { Session } from '../support/session.js'

void t.test('PostgreSQL crashes under load: 503 meanwhile, recovery by itself, nothing lost', async (t) => {
  await using server = await PostgresServer.start()
  await using service = await Service.start({ settings: { DATABASE_URL: server.url, SWEEP_INTERVAL_SECONDS: '0.01' } })
  const load = new Load()
  const more = (than: number) => eventually('more grants', () => Promise.resolve(load.acknowledged > than || undefined))
  const stop = new AbortController()
  const working = load.run(service, 8, () => stop.signal.aborted)

  await t.test('the whole server, until somebody starts it again', async (t) => {
    await more(200)
    await server.stop('SIGKILL')
    await eventually('refusals', () => Promise.resolve(load.refused.get('STORAGE_UNAVAILABLE')))
    t.match(await service.health(), { status: 503, body: { status: 'unhealthy', database: 'unavailable' } })
    t.match(await service.call('GET', '/readyz'), { status: 503 })
    t.match(await service.call('GET', '/livez'), { status: 200 })
    for (const path of ['/locks/status?resource_name=a', '/locks/all-locked']) {
      const answer = await service.call('GET', path)
      t.match(answer, { status: 503, body: { code: 'STORAGE_UNAVAILABLE' } })
      t.equal(answer.headers.get('retry-after'), '1')
    }
    const before = load.acknowledged
    await server.boot()
    await more(before)
    await eventually('health', async () => (await service.health()).status === 200 || undefined)
  })

  await t.test('one of its processes, so that it restarts itself', async () => {
    await more(load.acknowledged + 200)
    await using session = await Session.open(server.url)
    const [backend] = await session.run<{ pid: number }>(
      `select pid from pg_stat_activity where application_name = 'resource-lock-manager' order by query_start desc`
    )
    if (backend === undefined) throw new Error('the service has no connection')
    process.kill(backend.pid, 'SIGKILL')
    await more(load.acknowledged + 200)
  })

  stop.abort()
  await working
  await load.check(service)
  t.same(load.faults, [])
  await server.stop('SIGKILL')
  t.match(await service.stop(), { code: 0, stderr: '' }, 'it can be stopped while the database is away')
})

void t.test('a connection that breaks before the batch reached the server leaves the outcome unknown, and nothing done', async (t) => {
  await using database = await freshDatabase('postgres')
  await using proxy = await Proxy.start(Number(new URL(database.url).port))
  await using store = await openStore({ databaseUrl: proxy.through(database.url) })
  await store.submit(inspect('warm'))
  const held = proxy.hold('requests')
  const lost = Promise.all([acquire('a', 'p'), release('b', 'p'), inspect('c')].map((command) => kindOrCode(store.submit(command))))
  await held
  proxy.cut()
  t.same(await lost, ['OUTCOME_UNKNOWN', 'OUTCOME_UNKNOWN', 'STORAGE_UNAVAILABLE'], 'but a read changes nothing')
  t.match(await store.submit(acquire('a', 'q')), { kind: 'granted' }, 'the next batch finds a connection of its own')
})

void t.test('a connection that breaks before the answer arrived leaves the outcome unknown, though all was done', async (t) => {
  await using database = await freshDatabase('postgres')
  await using proxy = await Proxy.start(Number(new URL(database.url).port))
  await using store = await openStore({ databaseUrl: proxy.through(database.url) })
  await using beside = await openStore({ databaseUrl: database.url })
  await store.submit(acquire('b', 'p'))
  const held = proxy.hold('answers')
  const lost = Promise.all([acquire('a', 'p'), release('b', 'p')].map((command) => kindOrCode(store.submit(command))))
  await held
  await eventually('the commit', async () => (await beside.submit(inspect('a'))).grant ?? undefined)
  proxy.cut()
  t.same(await lost, ['OUTCOME_UNKNOWN', 'OUTCOME_UNKNOWN'])
  t.match(await store.submit(acquire('a', 'q')), { kind: 'held', conflicts: [{ processId: 'p' }] })
  t.match(await store.submit(release('b', 'p')), { kind: 'not-held', reason: 'released' })
})

void t.test('a connection that an administrator ends in the middle of a batch leaves the outcome unknown', async (t) => {
  await using database = await freshDatabase('postgres')
  await using store = await openStore({ databaseUrl: database.url })
  await store.submit(acquire('a', 'p'))
  await using session = await Session.open(database.url)
  await session.run('begin')
  await session.run('select from resource_locks for update')
  const releasing = kindOrCode(store.submit(release('a', 'p')))
  await session.untilWaiting()
  await session.run(`select pg_terminate_backend(pid) from pg_stat_activity where pg_backend_pid() = any(pg_blocking_pids(pid))`)
  t.equal(await releasing, 'OUTCOME_UNKNOWN')
  await session.run('rollback')
  t.match(await store.submit(release('a', 'p')), { kind: 'released' })
})

void t.test('a database that no longer answers is found out by the health check', async (t) => {
  await using database = await freshDatabase('postgres')
  await using proxy = await Proxy.start(Number(new URL(database.url).port))
  await using store = await openStore({ databaseUrl: proxy.through(database.url) })
  await store.ping()
  void proxy.hold('answers')
  await t.rejects(store.ping(), { code: 'STORAGE_UNAVAILABLE' })
  proxy.cut()
  await eventually('health', () => store.ping().then(() => true, () => undefined))
})

void t.test('a database that is gone, or no longer lets the service in, is unavailable', async (t) => {
  await using database = await freshDatabase('postgres')
  await using store = await openStore({ databaseUrl: database.url })
  await store.submit(acquire('a', 'p'))
  await onServer(serverUrl(), `drop database ${new URL(database.url).pathname.slice(1)} with (force)`)
  await eventually('its connections are gone', async () => {
    const fault = await store.submit(inspect('a')).catch((error: unknown) => error)
    return fault instanceof LockError && fault.cause instanceof pg.DatabaseError && fault.cause.code === '3D000' ? fault : undefined
  })
  await t.rejects(store.submit(acquire('a', 'q')), { code: 'STORAGE_UNAVAILABLE' })
  await t.rejects(store.ping(), { code: 'STORAGE_UNAVAILABLE' })
  await t.rejects(store.reads.list({ prefix: '', processId: null, after: null, limit: 1 }), { code: 'STORAGE_UNAVAILABLE' })
})

void t.test('a write to a connection whose other end has gone is a lost connection', (t) => {
  const broken = Object.assign(new Error('write EPIPE'), { code: 'EPIPE' })
  t.equal(isConnectionLost(broken), true)
  t.match(toLockError(broken, true), { code: 'OUTCOME_UNKNOWN' })
  t.match(toLockError(broken, false), { code: 'STORAGE_UNAVAILABLE' })
  t.end()
})
