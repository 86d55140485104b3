import t from 'tap'
import { openStore } from '../../src/storage/index.js'
import { freshDatabase } from '../support/databases.js'
import { Instance } from '../support/store.js'
import { Proxy } from '../support/proxy.js'

/** It asks by itself, but hardly before it is called. */
const TICK_MS = 3000

void t.test('the news of a turn comes by the URL that is for listening, and all else by the other', async (t) => {
  await using database = await freshDatabase('postgres', 'real')
  await using pooler = await Proxy.start(Number(new URL(database.url).port))
  await using direct = await Proxy.start(Number(new URL(database.url).port))
  await using one = new Instance(await openStore({ databaseUrl: pooler.through(database.url), listenUrl: direct.through(database.url) }), database.url, TICK_MS)
  await using other = await Instance.start(database)
  await other.now('a', 'p')
  const waiting = one.ask('a', 'q')
  await one.untilWaiting(1)
  const news = direct.hold('answers')
  await other.release('a', 'p')
  t.equal(await news, undefined, 'it came that way')
  t.match(await waiting, { kind: 'granted' }, 'and is only a hint: without it the waiter asks by itself')

  await one.release('a', 'q')
  await other.now('a', 'p')
  const again = one.ask('a', 'q')
  await one.untilWaiting(1)
  direct.cut()
  await other.release('a', 'p')
  t.match(await again, { kind: 'granted' }, 'nor does it matter when that connection breaks')
})

void t.test('a URL for listening that is of no use is refused, without its password', async (t) => {
  await using database = await freshDatabase('postgres', 'real')
  const wrong = Object.assign(new URL(database.url), { password: 'hunter2' }).href
  for (const [databaseUrl, listenUrl, sentence] of [
    ['sqlite::memory:', database.url, /^DATABASE_LISTEN_URL is of no use with SQLite/],
    [database.url, 'sqlite:x.db', /^DATABASE_LISTEN_URL is not a well-formed PostgreSQL URL/],
    [database.url, 'postgres://u:hunter2@:x/y', /^DATABASE_LISTEN_URL is not a well-formed PostgreSQL URL/],
    [database.url, 'postgres://u:hunter2@127.0.0.1:1/y', /^PostgreSQL cannot be reached at 127\.0\.0\.1:1/],
    [database.url, wrong, /refused the user or password in DATABASE_LISTEN_URL/]
  ] as const) {
    await t.rejects(openStore({ databaseUrl, listenUrl }), { name: 'StartupError', message: sentence })
    await openStore({ databaseUrl, listenUrl }).catch((error: unknown) => t.notMatch(String(error), 'hunter2'))
  }
})
