import t from 'tap'
import { eventually } from '../support/eventually.js'
import { Instance } from '../support/store.js'
import { PostgresServer } from '../../scripts/postgres-server.js'
import { unconfirmed } from '../support/session.js'

void t.test('waiting while PostgreSQL fails', async (t) => {
  await using server = await PostgresServer.start()
  const database = { url: server.url, now: Date.now }

  await t.test('the places of waits that a crash ended are given up once the database is back', async (t) => {
    await using one = await Instance.start(database)
    await one.ask('a', 'holder')
    const waiting = one.ask('a', 'p')
    await one.untilWaiting(1)
    await server.stop('SIGKILL')
    // It asks again within a second.
    t.match(await waiting.catch((error: unknown) => error), { code: /OUTCOME_UNKNOWN|STORAGE_UNAVAILABLE/ })
    await server.boot()
    await one.release('a', 'holder')
    t.match(await one.ask('a', 'q'), { kind: 'granted' }, 'although this instance gives signs of life')
  })

  await t.test('a lock that could not be given back during an outage is given back after it', async () => {
    await using one = await Instance.start(database)
    const gone = new AbortController()
    await one.ask('back', 'p', { signal: gone.signal })
    await server.stop('SIGKILL')
    gone.abort()
    await server.boot()
    await eventually('it is free', async () => ((await one.inspect('back').catch(() => ({ grant: 1 }))).grant === null ? true : undefined))
  })

  await t.test('a place whose taking was not confirmed is given up', async (t) => {
    await using one = await Instance.start(database)
    await one.ask('c', 'holder')
    const other = one.ask('d', 'holder').then(() => one.ask('d', 'p'))
    const settling = Promise.allSettled([other])
    await one.untilWaiting(1)
    {
      await using hindrance = await unconfirmed(server.url)
      const asked = one.ask('c', 'p').catch((error: unknown) => error)
      await hindrance.cut()
      t.match(await asked, { code: 'OUTCOME_UNKNOWN' })
    }
    await one.release('c', 'holder')
    t.match(await one.ask('c', 'q'), { kind: 'granted' }, 'although this instance gives signs of life')
    await one.service.drain()
    await settling
  })
})
