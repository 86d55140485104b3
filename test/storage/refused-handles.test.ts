import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { migrateDatabase, openKeys, openStore, advanceTokens } from '../../src/storage/index.js'
import { onServer } from '../../scripts/database-templates.js'
import { besideService, DATABASES, emptyDatabase, serverUrl } from '../support/databases.js'
import { eventually } from '../support/eventually.js'
import { temporaryFolder } from '../support/program.js'

const kept = (sort: RegExp): string[] => process.getActiveResourcesInfo().filter((name) => sort.test(name))

/** A connection that is being closed is gone by itself. A timer is not: an idle one in a pool would live for as long as that. */
const closed = (): Promise<void> => eventually('every connection is closed', () => Promise.resolve(kept(/^TCP|Connect|Shutdown|^Close/).length === 0 || undefined)).then(() => undefined)

/** However the database is opened, it is refused, and then nothing keeps the process. */
async function leavesNothing(t: Test, databaseUrl: string, message: RegExp, more: { readonly listenUrl?: string } = {}): Promise<void> {
  const ways: Readonly<Record<string, () => Promise<unknown>>> = {
    serve: () => openStore({ databaseUrl, ...more }),
    ...('listenUrl' in more ? {} : { migrate: () => migrateDatabase(databaseUrl), keys: () => openKeys(databaseUrl), raise: () => advanceTokens(databaseUrl, undefined) })
  }
  for (const [way, open] of Object.entries(ways)) {
    await t.rejects(open(), { message }, way)
    t.same(kept(/Timeout|Worker|MessagePort/), [], `${way} leaves no timer and no thread`)
    await closed()
  }
}

for (const kind of DATABASES) {
  void t.test(`a refused database keeps no process, newer than the code: ${kind}`, async (t) => {
    await using database = await emptyDatabase(kind)
    await migrateDatabase(database.url)
    await besideService(database, "insert into rlm_migrations (name, timestamp) values ('9999-future', '2099-01-01')")
    if (kind === 'sqlite') await t.rejects(openStore({ databaseUrl: database.url }), { message: /is newer/ })
    else await leavesNothing(t, database.url, /is newer/)
  })
}

void t.test('a refused database keeps no process: SQLite', async (t) => {
  await using folder = await temporaryFolder()
  await writeFile(join(folder.path, 'x.db'), 'dear diary')
  await leavesNothing(t, `sqlite:${join(folder.path, 'x.db')}`, /is not a SQLite database/)
  await leavesNothing(t, `sqlite:${join(folder.path, 'no', 'x.db')}`, /does not exist|There is no SQLite file/)
})

void t.test('a refused database keeps no process: PostgreSQL', async (t) => {
  await using database = await emptyDatabase('postgres')
  const name = new URL(database.url).pathname.slice(1)
  const changed = (parts: Partial<URL>): string => Object.assign(new URL(database.url), parts).href
  await leavesNothing(t, changed({ password: 'wrong' }), /refused the user or password/)
  await leavesNothing(t, changed({ port: '1' }), /cannot be reached/)
  await leavesNothing(t, changed({ pathname: '/not_there' }), /has no database/)
  await leavesNothing(t, database.url, /refused the user or password in DATABASE_LISTEN_URL/, { listenUrl: changed({ password: 'wrong' }) })

  await onServer(serverUrl(), `alter database ${name} set default_transaction_read_only = on`)
  await leavesNothing(t, database.url, /takes no writes/)
  await onServer(serverUrl(), `alter database ${name} reset default_transaction_read_only`, `alter database ${name} set search_path = nowhere`)
  await leavesNothing(t, database.url, /names no schema/)

  await onServer(serverUrl(), `create database ${name}_ascii template template0 encoding 'SQL_ASCII' lc_collate 'C' lc_ctype 'C'`)
  try {
    await leavesNothing(t, changed({ pathname: `/${name}_ascii` }), /has the encoding SQL_ASCII/)
  } finally {
    await onServer(serverUrl(), `drop database ${name}_ascii with (force)`)
  }
})
