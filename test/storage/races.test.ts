import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { Batcher } from '../../src/storage/batcher.js'
import { openStore } from '../../src/storage/index.js'
import { KEEP_REQUEST_MS } from '../../src/storage/tables.js'
import { acquire, allEvents, enqueue, everything, inspect, release, renew } from '../support/commands.js'
import { DATABASES } from '../support/databases.js'
import { eventually } from '../support/eventually.js'
import { PostgresServer } from '../../scripts/postgres-server.js'
import { Session, unconfirmed } from '../support/session.js'
import { onEachStore } from '../support/store.js'

const mark = (id: string) => ({ id, fingerprint: 'same' })

for (const kind of DATABASES) {
  void t.test(`races on ${kind}`, async (t) => {
    const onStore = onEachStore(t, kind)

    await onStore('a fault in the middle of a batch leaves the rest of the batch as it should be', async (t, store) => {
      for (const name of ['held', 'kept']) await store.submit(acquire(name, 'p', 1000))
      // One id for two names cannot be remembered twice.
      const outcomes = await Promise.all([
        store.submit(acquire('x', 'p', null, mark('r1'))),
        store.submit(release('held', 'p')),
        store.submit(acquire('y', 'p', null, { id: 'r1', fingerprint: 'other' })),
        store.submit(renew('kept', 'p', 5000)),
        store.submit(acquire(['u', 'v'], 'p', null, { id: 'r1', fingerprint: 'third' })),
        store.submit(acquire('z', 'p')),
        store.submit(inspect('kept'))
      ])
      const granted = outcomes.filter((outcome) => outcome.kind === 'granted')
      t.equal(granted.length, 2, 'z, and one of those with the id')
      t.equal(outcomes.filter((outcome) => outcome.kind === 'request-id-reused').length, 2)
      t.match(outcomes[1], { kind: 'released' })
      t.match(outcomes[3], { kind: 'renewed' })
      const names = granted.flatMap((outcome) => outcome.grants.map(({ resourceName: name }) => name))
      const { grants } = await store.reads.list(everything)
      t.same(grants.map(({ resourceName: name }) => name), ['kept', ...names].toSorted())
      const { events } = await store.reads.history(allEvents)
      t.equal(events.filter((event) => event.kind === 'granted').length, 2 + names.length, 'each grant is told once')
    })

    await onStore('what is forgotten does not depend on how much the sweeper has to do', async (t, store, database) => {
      const names = Array.from({ length: 7 }, (_, index) => `n${index}`)
      for (const name of names) await store.submit(acquire(name, 'p', 1000, mark(name)))
      await store.submit(acquire('still', 'p', null, mark('still')))
      await database.advance(KEEP_REQUEST_MS)
      await store.submit({ kind: 'sweep', limit: 2 })
      for (const name of names) t.match(await store.submit(acquire(name, 'p', 1000, mark(name))), { kind: 'granted', replayed: false })
      t.match(await store.submit(acquire('still', 'p', null, mark('still'))), { kind: 'granted', replayed: true })
    })
  })
}

void t.test('an executor that throws fails its batch and nothing else', async (t) => {
  let broken = true
  const batcher = new Batcher(
    {
      concurrency: 1,
      minEarlyBatch: Infinity,
      sequential: true,
      execute(commands) {
        if (broken) throw new Error('broken')
        return commands.map(() => ({ kind: 'done', outcome: { kind: 'heartbeat-sent', dequeued: [] } }))
      }
    },
    { maxBatch: 10, maxWaiting: 10, maxBatchDelayMs: 5 }
  )
  await t.rejects(batcher.submit({ kind: 'heartbeat' }), { message: 'broken' })
  broken = false
  t.same(await batcher.submit({ kind: 'heartbeat' }), { kind: 'heartbeat-sent', dequeued: [] })
  await batcher.idle()
})

void t.test('races on one PostgreSQL server', async (t) => {
  await using server = await PostgresServer.start()
  const database = { databaseUrl: server.url }

  await t.test('a grant that was not confirmed is said to be unknown, and a repetition finds it', async (t) => {
    await using store = await openStore(database)
    for (const [names, id] of [['a', 'r1'], [['b', 'c'], 'r2']] as const) {
      {
        await using hindrance = await unconfirmed(server.url)
        const asked = store.submit(acquire(names, 'p', null, mark(id))).catch((error: unknown) => error)
        await hindrance.cut()
        t.match(await asked, { code: 'OUTCOME_UNKNOWN' })
      }
      t.match(await store.submit(acquire(names, 'p', null, mark(id))), { kind: 'granted', replayed: true })
    }
  })

  await t.test('what was committed is answered so, whatever fails afterwards', async (t) => {
    await using store = await openStore(database)
    await store.submit(acquire('d', 'holder'))
    const { ticket } = await store.submit(enqueue('d', 'p'))
    await store.submit(enqueue('d', 'next'))
    t.match(await hindered(server.url, () => store.submit(release('d', 'holder'))), { kind: 'released' })
    t.match(await hindered(server.url, () => store.submit({ ...acquire('d', 'p'), ticket })), { kind: 'granted', grants: [{ processId: 'p' }] })
  })

  await t.test('a held row that cannot be read fails whom it refuses, and not those who were granted something beside it', async (t) => {
    await using store = await openStore({ ...database, concurrency: 1 })
    await using session = await Session.open(server.url)
    await store.submit(acquire('unreadable', 'p'))
    await session.run(`update resource_locks set metadata = '{' where resource_name = 'unreadable'`)
    const [refused, granted] = await Promise.allSettled([store.submit(acquire('unreadable', 'q')), store.submit(acquire('beside', 'q'))])
    t.equal(refused.status, 'rejected')
    t.match(granted, { status: 'fulfilled', value: { kind: 'granted' } })
  })

  await t.test('a set that fails within its transaction leaves nothing of it open', async (t) => {
    await using store = await openStore({ ...database, concurrency: 1 })
    await using session = await Session.open(server.url)
    await store.submit(acquire('odd', 'p'))
    await store.submit(release('odd', 'p'))
    // What a hand in the database may do.
    await session.run(`create function spoil() returns trigger language plpgsql as 'begin raise exception ''spoilt''; end'`)
    await session.run("create trigger spoil before update on resource_locks for each row when (new.resource_name = 'odd' and new.is_active) execute function spoil()")
    const outcome = await store.submit(acquire(['even', 'odd'], 'p')).catch((error: unknown) => error)
    t.type(outcome, Error)
    t.match(await session.run("select count(*)::int as open from pg_stat_activity where state like 'idle in transaction%'"), [{ open: 0 }])
    t.match(await store.submit(acquire('even', 'q')), { kind: 'granted' })
  })

  await t.test('requests and renewals take rows in one order, whatever the sort order of the database', async (t) => {
    await using admin = await Session.open(server.url)
    await admin.run("create database english template template0 encoding 'UTF8' locale_provider icu icu_locale 'en-US'")
    const url = Object.assign(new URL(server.url), { pathname: '/english' }).href
    await using one = await openStore({ databaseUrl: url })
    await using two = await openStore({ databaseUrl: url })
    await using session = await Session.open(url)
    // Bytewise 'B' comes first, in English 'a' does.
    const names = ['a', 'B']
    for (const name of names) await one.submit(acquire(name, 'p', 1))
    await sleep(5)
    // They have expired: a request and a late renewal want the same rows.
    await session.run('begin')
    await session.run("select from resource_locks where resource_name = 'a' for update")
    const requests = names.map((name) => one.submit(acquire(name, 'q')))
    await session.untilWaiting()
    const renewals = names.map((name) => two.submit(renew(name, 'p')))
    await sleep(200)
    await session.run('commit')
    for (const request of requests) t.match(await request, { kind: 'granted' })
    for (const renewal of renewals) t.match(await renewal, { kind: 'not-held' })
    await sleep(100)
    t.match(await session.run('select deadlocks::int from pg_stat_database where datname = current_database()'), [{ deadlocks: 0 }])
  })
})

/** Sends what commits and then meets a table that is locked, so that all it still wants to know fails. */
async function hindered(url: string, send: () => Promise<unknown>): Promise<unknown> {
  const hindrance = await unconfirmed(url)
  const answer = send()
  await using session = await Session.open(url)
  await session.run('begin')
  await hindrance.untilCommitted()
  const locking = session.run('lock table lock_waiters in access exclusive mode')
  await using other = await Session.open(url)
  await eventually('the table is asked for', async () => (await other.run(`select from pg_locks where relation = 'lock_waiters'::regclass and mode = 'AccessExclusiveLock'`))[0])
  await hindrance[Symbol.asyncDispose]()
  await locking
  await session.untilWaiting()
  await session.run("select pg_cancel_backend(pid) from pg_stat_activity where wait_event_type = 'Lock'")
  const settled = await answer.catch((error: unknown) => error)
  await session.run('rollback')
  return settled
}
