import t from 'tap'
import type { Command } from '../../src/locks/commands.js'
import { acquire, kindOrCode, release, renew, renewAll, sweep } from '../support/commands.js'
import { freshDatabase } from '../support/databases.js'
import { eventually } from '../support/eventually.js'
import { Proxy } from '../support/proxy.js'
import { Session } from '../support/session.js'
import { openOn } from '../support/store.js'

/** A store whose instance can be stopped in its tracks: nothing that it sends gets any further. */
async function behindProxy(database: Awaited<ReturnType<typeof freshDatabase>>) {
  const proxy = await Proxy.start(Number(new URL(database.url).port))
  return { proxy, store: await openOn({ ...database, url: proxy.through(database.url) }) }
}

void t.test('an instance that is paused after a request for several locks no row', async (t) => {
  await using database = await freshDatabase('postgres')
  await using rival = await openOn(database)
  const { proxy, store } = await behindProxy(database)
  const statement = /asked as materialized/
  let sent = false
  proxy.intercept((request) => {
    if (sent) return new Promise(() => undefined)
    sent = statement.test(request.toString('latin1'))
    return undefined
  })
  const mark = { id: 'once', fingerprint: 'same' }
  const paused = store.submit(acquire(['a', 'b'], 'p', null, mark))
  await using session = await Session.open(database.url)
  const state = await eventually('the end of the statement', async () => {
    const sessions = await session.run<{ state: string; query: string }>('select state, query from pg_stat_activity where datname = current_database()')
    return sessions.find(({ state, query }) => state !== 'active' && statement.test(query))?.state
  })
  t.equal(state, 'idle', 'not in a transaction')
  t.match(await rival.submit(acquire('b', 'q')), { kind: 'held', conflicts: [{ processId: 'p' }] })
  t.match(await rival.submit(acquire('c', 'q')), { kind: 'granted' })
  t.match(await paused, { kind: 'granted', replayed: false })
  t.match(await rival.submit(acquire(['a', 'b'], 'p', null, mark)), { kind: 'granted', replayed: true })
  proxy.cut()
  await store[Symbol.asyncDispose]()
  await proxy[Symbol.asyncDispose]()
})

void t.test('no command leaves a transaction open while its instance thinks', async (t) => {
  await using database = await freshDatabase('postgres')
  const { proxy, store } = await behindProxy(database)
  let sent = ''
  proxy.intercept((request) => {
    sent += request.toString('latin1')
    return undefined
  })
  const { resourceNames, processId } = acquire('w', 'q')
  const { ticket } = await store.submit({ kind: 'enqueue', resourceNames, processId, idempotencyKey: null, key: null, onlyKept: false })
  const commands: Command[] = [
    acquire('a', 'p'),
    acquire(['b', 'c'], 'p', null, { id: 'i', fingerprint: 'f' }),
    acquire(['c', 'd'], 'q'),
    renew('a', 'p', 1000),
    renewAll('p', 1000),
    release('a', 'p'),
    { kind: 'release-many', releases: [release('b', 'p'), release('x', 'p')] },
    { kind: 'dequeue', tickets: [ticket ?? 0], keepFor: { id: 'w', fingerprint: 'f' } },
    { kind: 'purge-tickets', tickets: [] },
    { kind: 'heartbeat' },
    sweep
  ]
  const outcomes: string[] = []
  for (const command of commands) outcomes.push(await kindOrCode(store.submit(command)))
  t.same(outcomes, ['granted', 'granted', 'held', 'renewed', 'renewed-all', 'released', 'released-many', 'dequeued', 'purged-tickets', 'heartbeat-sent', 'swept'])
  t.notMatch(sent, /\b(?:begin|start transaction)\b/i)
  await store[Symbol.asyncDispose]()
  await proxy[Symbol.asyncDispose]()
})

void t.test('a request for several that loses one of them while its statement waits takes none', async (t) => {
  await using database = await freshDatabase('postgres')
  await using store = await openOn(database)
  await store.submit(acquire('b', 'p'))
  await store.submit(release('b', 'p'))
  await using session = await Session.open(database.url)
  await session.run('begin')
  await session.run(`update resource_locks set is_active = true, process_id = 'rival', id = 99 where resource_name = 'b'`)
  const waiting = store.submit(acquire(['a', 'b', 'c'], 'q', null, { id: 'i', fingerprint: 'f' }))
  await session.untilWaiting()
  await session.run('commit')
  t.match(await waiting, { kind: 'held', conflicts: [{ resourceName: 'b', processId: 'rival', lockId: 99 }] })
  t.same((await session.run('select from lock_requests')).length, 0, 'and is not remembered')
  t.same((await session.run(`select from lock_events where process_id = 'q'`)).length, 0, 'nor told of')
  t.match(await store.submit(acquire(['a', 'c'], 'r')), { kind: 'granted' })
})
