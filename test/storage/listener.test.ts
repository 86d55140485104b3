import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { Instance } from '../support/instance.js'
import { PostgresServer } from '../support/postgres.js'
import { Session } from '../support/session.js'

const LISTENERS = "select pid from pg_stat_activity where datname = 'served' and application_name like '%listener'"

void t.test('a listener that lost its connection comes back, once, and carries calls again', async (t) => {
  await using server = await PostgresServer.start()
  await using session = await Session.open(server.url)
  await session.run("create database served encoding 'UTF8' template template0")
  const url = Object.assign(new URL(server.url), { pathname: '/served' }).href
  await using one = await Instance.start({ url, now: Date.now })
  await using two = await Instance.start({ url, now: Date.now })

  for (const pause of [0, 0, 700, 1500]) {
    if (pause > 0) await session.run('alter database served with allow_connections false')
    await session.run(`select pg_terminate_backend(pid) from (${LISTENERS}) as listeners`)
    await sleep(pause)
    if (pause > 0) await session.run('alter database served with allow_connections true')
    await sleep(400)
  }
  for (const deadline = Date.now() + 5000; Date.now() < deadline; await sleep(50)) {
    if ((await session.run(LISTENERS)).length >= 2) break
  }
  await sleep(600)
  t.equal((await session.run(LISTENERS)).length, 2, 'one for each instance')

  const warnings: string[] = []
  const collect = ({ message }: Error): number => warnings.push(message)
  process.on('warning', collect)
  const names = Array.from({ length: 20 }, (_, index) => `n${index}`)
  for (const name of names) await one.ask(name, 'holder')
  const waits = names.map((name) => two.ask(name, 'p'))
  await two.untilWaiting(names.length)
  const began = performance.now()
  await Promise.all(names.map((name) => one.release(name, 'holder')))
  for (const outcome of await Promise.all(waits)) t.match(outcome, { kind: 'granted' })
  t.ok(performance.now() - began < 900, 'by call, not by tick')
  process.off('warning', collect)
  t.same(warnings, [], 'many calls at once are nothing special')
})
