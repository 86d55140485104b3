import t from 'tap'
import { onEachDatabase, TestApp } from '../support/app.js'
import { besideService } from '../support/databases.js'
import { eventually } from '../support/eventually.js'
import { Scrape } from '../support/metrics.js'

const mine = { resource_name: 'secret-resource', process_id: 'secret-process' }

onEachDatabase('the figures tell what happened, and never to what', async (t, api) => {
  const fresh = await Scrape.of(api)
  t.equal(fresh.value('rlm_requests_total', { call: 'request', outcome: 'granted' }), 0, 'a series is there before anything happened')
  t.equal(fresh.value('rlm_database_up'), 1)

  await api.post('/locks/request', { ...mine, request_id: 'secret-id', metadata: { secret: 'metadata' } })
  await api.post('/locks/request', { ...mine, request_id: 'secret-id', metadata: { secret: 'metadata' } })
  await api.post('/locks/request', { ...mine, request_id: 'secret-id' })
  await api.post('/locks/request', mine)
  await api.post('/locks/request-many', { resource_names: ['secret-b', 'secret-c'], process_id: 'p' })
  await api.post('/locks/renew', mine)
  await api.post('/locks/renew', { ...mine, process_id: 'q' })
  await api.post('/locks/renew-many', { process_id: 'p', locks: [{ resource_name: 'secret-b' }, { resource_name: 'secret-x' }] })
  await api.advance(90_000)
  await api.delete('/locks/release', mine)
  await api.delete('/locks/release', mine)
  await api.post('/locks/release-many', { resource_names: ['secret-b', 'secret-x'], process_id: 'p' })
  await api.post('/locks/force-release', { resource_name: 'secret-c', reason: 'secret-reason' })
  await api.post('/locks/request', {})
  await api.get('/nowhere')

  const scrape = await Scrape.of(api)
  const calls = (call: string, outcome: string) => scrape.value('rlm_requests_total', { call, outcome })
  t.strictSame(
    [['granted', 2], ['replayed', 1], ['request_id_reused', 1], ['held', 1], ['waited_in_vain', 0]].map(([outcome]) => [outcome, calls('request', String(outcome))]),
    [['granted', 2], ['replayed', 1], ['request_id_reused', 1], ['held', 1], ['waited_in_vain', 0]]
  )
  t.strictSame([calls('release', 'released'), calls('release', 'not_held')], [2, 2])
  t.strictSame([calls('renew', 'renewed'), calls('renew', 'not_held')], [2, 2])
  t.strictSame([calls('force_release', 'released'), calls('force_release', 'not_held')], [1, 0])
  t.strictSame(['granted', 'replayed', 'request_id_reused', 'held'].map((outcome) => scrape.value('rlm_request_seconds_count', { outcome })), [2, 1, 1, 1])
  t.equal(scrape.value('rlm_locks_granted_total'), 3)
  t.strictSame(['INVALID_REQUEST', 'NOT_FOUND', 'INTERNAL'].map((code) => scrape.value('rlm_errors_total', { code })), [1, 1, 0])
  t.equal(scrape.value('rlm_hold_seconds_count'), 3)
  t.equal(scrape.value('rlm_hold_seconds_sum'), 270, 'by the database’s clock')
  t.strictSame(['60', '300', '+Inf'].map((le) => scrape.value('rlm_hold_seconds_bucket', { le })), [0, 3, 3], 'a bucket holds all up to its end')
  t.equal(scrape.value('rlm_locks_held', { mode: 'exclusive' }), 0)
  t.ok((scrape.value('rlm_batch_commands_sum') ?? 0) >= 11)
  t.ok((scrape.value('rlm_batch_seconds_sum') ?? 0) > 0)
  t.notMatch(scrape.text, /secret/)
})

onEachDatabase('waiting is measured, and the present shown', async (t, api) => {
  t.match(await api.get('/locks/stats'), { body: { data: { wait_seconds_p50: null, wait_seconds_p95: null } } }, 'unknown, not 0')
  await api.post('/locks/request', { resource_name: 'a', process_id: 'p' })
  await api.post('/locks/request', { resource_name: 'a', process_id: 'q', wait_seconds: 0.05 })
  const waiting = api.post('/locks/request', { resource_name: 'a', process_id: 'r', wait_seconds: 30 })
  await eventually('it waits', async () => (await Scrape.of(api)).value('rlm_waiting_requests') === 1 || undefined)
  const before = await Scrape.of(api)
  t.equal(before.value('rlm_waiters'), 1)
  await api.advance(5000)
  await eventually('it has waited for five seconds by the database’s clock', async () => {
    return ((await Scrape.of(api)).value('rlm_oldest_waiter_seconds') ?? 0) >= 5 || undefined
  })
  t.equal(before.value('rlm_locks_held', { mode: 'exclusive' }), 1)
  t.equal(before.value('rlm_locks_held', { mode: 'shared' }), 0)
  t.equal(before.value('rlm_wait_seconds_count', { outcome: 'in_vain' }), 1)
  t.equal(before.value('rlm_requests_total', { call: 'request', outcome: 'waited_in_vain' }), 1)
  await api.delete('/locks/release', { resource_name: 'a', process_id: 'p' })
  t.match(await waiting, { status: 200 })
  const after = await Scrape.of(api)
  t.equal(after.value('rlm_wait_seconds_count', { outcome: 'granted' }), 1)
  t.equal(after.value('rlm_waiting_requests'), 0)
  t.equal(after.value('rlm_oldest_waiter_seconds'), 0)
  const { data } = (await api.get<{ data: Record<'wait_seconds_p50' | 'wait_seconds_p95', number> }>('/locks/stats')).body
  t.ok(data.wait_seconds_p50 > 0 && data.wait_seconds_p95 >= 0.04, JSON.stringify(data))
})

onEachDatabase('what has expired is not held, swept or not', async (t, api) => {
  await api.post('/locks/request', { resource_name: 'a', process_id: 'p', ttl_seconds: 1 })
  await api.advance(2000)
  t.equal((await Scrape.of(api)).value('rlm_locks_held', { mode: 'exclusive' }), 0)
})

onEachDatabase('what a database that is away cannot tell is left out', async (t, api) => {
  await besideService(api.database, 'drop table lock_waiters')
  const scrape = await Scrape.of(api)
  t.equal(scrape.value('rlm_database_up'), 0)
  for (const name of ['rlm_locks_held', 'rlm_waiters', 'rlm_oldest_waiter_seconds']) t.equal(scrape.samples.find((sample) => sample.name === name), undefined, `${name} is unknown, not 0`)
})

void t.test('the process tells about itself, and PostgreSQL’s connections are counted', async (t) => {
  await using sqlite = await TestApp.open('sqlite')
  const process = await Scrape.of(sqlite)
  for (const name of ['nodejs_eventloop_lag_p99_seconds', 'process_resident_memory_bytes', 'process_cpu_seconds_total', 'nodejs_heap_size_used_bytes']) {
    t.not(process.value(name), undefined, name)
  }
  t.match((await sqlite.get('/metrics')).headers, { 'content-type': 'text/plain; version=0.0.4; charset=utf-8' })
  t.equal(process.value('rlm_pool_waiting'), undefined, 'SQLite has no pool')
  await using postgres = await TestApp.open('postgres')
  await postgres.post('/locks/request', mine)
  const pool = await Scrape.of(postgres)
  for (const name of ['batches', 'queries']) {
    t.ok((pool.value('rlm_pool_connections', { pool: name, state: 'idle' }) ?? 0) + (pool.value('rlm_pool_connections', { pool: name, state: 'busy' }) ?? 0) >= 1, name)
    t.equal(pool.value('rlm_pool_waiting', { pool: name }), 0)
  }
})
