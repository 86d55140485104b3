import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { openStore } from '../../src/storage/index.js'
import { eventually } from '../support/eventually.js'
import { Instance, NEVER_MS } from '../support/store.js'
import { PostgresServer } from '../../scripts/postgres-server.js'
import { Session } from '../support/session.js'

const LISTENERS = "select pid from pg_stat_activity where datname = 'served' and application_name like '%listener'"

void t.test('a listener that lost its connection comes back, once, and carries calls again', async (t) => {
  await using server = await PostgresServer.start()
  await using session = await Session.open(server.url)
  await session.run("create database served encoding 'UTF8' template template0")
  const url = Object.assign(new URL(server.url), { pathname: '/served' }).href
  await using one = await Instance.start({ url, now: Date.now })
  // Its waiters never ask by themselves: what passes at the end of this test is calls and nothing else.
  const called = new Set<number>()
  const store = await openStore({ databaseUrl: url })
  const onWakeup = store.onWakeup.bind(store)
  store.onWakeup = (listener) =>
    onWakeup((ticket) => {
      called.add(ticket)
      listener(ticket)
    })
  await using two = new Instance(store, url, NEVER_MS)

  for (const pause of [0, 0, 700, 1500]) {
    if (pause > 0) await session.run('alter database served with allow_connections false')
    await session.run(`select pg_terminate_backend(pid) from (${LISTENERS}) as listeners`)
    await sleep(pause)
    if (pause > 0) await session.run('alter database served with allow_connections true')
    await sleep(400)
  }
  await eventually('one for each instance', async () => (await session.run(LISTENERS)).length >= 2 || undefined)
  await sleep(600)
  t.equal((await session.run(LISTENERS)).length, 2, 'and no more')

  const warnings: string[] = []
  const collect = ({ message }: Error): number => warnings.push(message)
  process.on('warning', collect)
  const names = Array.from({ length: 20 }, (_, index) => `n${index}`)
  for (const name of names) await one.ask(name, 'holder')
  const waits = names.map((name) => two.ask(name, 'p'))
  await two.untilWaiting(names.length)
  await Promise.all(names.map((name) => one.release(name, 'holder')))
  for (const outcome of await Promise.all(waits)) t.match(outcome, { kind: 'granted' })
  await eventually('every waiter is called', () => Promise.resolve(called.size === names.length || undefined))
  process.off('warning', collect)
  t.same(warnings, [], 'many calls at once are nothing special')
})
