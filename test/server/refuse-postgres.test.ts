import { once } from 'node:events'
import { createServer, type AddressInfo } from 'node:net'
import Database from 'better-sqlite3'
import t from 'tap'
import { onServer } from '../../scripts/database-templates.js'
import { DATABASES, emptyDatabase, freshDatabase } from '../support/databases.js'
import { type ProgramOptions, refused, runCommand } from '../support/program.js'

const on = (url: string | URL): ProgramOptions => ({ settings: { DATABASE_URL: String(url) } })
const changed = (url: string, parts: Partial<URL>): URL => Object.assign(new URL(url), parts)

for (const kind of DATABASES) {
  void t.test(`a database newer than the code: ${kind}`, async (t) => {
    await using database = await emptyDatabase(kind)
    t.equal((await runCommand('migrate', on(database.url))).code, 0)
    const future = `insert into rlm_migrations (name, timestamp) values ('9999-future', '2099-01-01')`
    if (kind === 'postgres') await onServer(database.url, future)
    else new Database(database.url.slice('sqlite:'.length)).exec(future).close()
    for (const program of ['server', 'migrate'] as const) {
      await refused(t, program, on(database.url), /The database is newer than this version of the service \(it knows 9999-future/)
    }
  })
}

const at = (place: string) => on(`postgres://u:hunter2@${place}/locks`)

void t.test('a PostgreSQL server that never answers, or is not there at all', async (t) => {
  const silent = createServer((socket) => socket.on('error', () => undefined).resume()).listen(0, '127.0.0.1')
  await once(silent, 'listening')
  const where = `127.0.0.1:${(silent.address() as AddressInfo).port}`
  await refused(t, 'server', at(where), new RegExp(`PostgreSQL cannot be reached at ${where} \\(`))
  silent.close()
  // No program that runs beside this one is given so low a port.
  for (const program of ['server', 'migrate'] as const) await refused(t, program, at('127.0.0.1:2'), /PostgreSQL cannot be reached at 127\.0\.0\.1:2 \(ECONNREFUSED\)/)
})

void t.test('a PostgreSQL database that is missing, or a wrong password', async (t) => {
  await using database = await freshDatabase('postgres')
  await refused(t, 'server', on(changed(database.url, { pathname: '/not_there' })), /has no database 'not_there'; create it/)
  const said = await refused(t, 'server', on(changed(database.url, { password: 'hunter2' })), /refused the user or password in DATABASE_URL/)
  t.notMatch(said, 'hunter2')
})

void t.test('a PostgreSQL database whose encoding cannot hold every name', async (t) => {
  await using database = await freshDatabase('postgres')
  const name = `${new URL(database.url).pathname.slice(1)}_ascii`
  await onServer(database.url, `create database ${name} template template0 encoding 'SQL_ASCII' lc_collate 'C' lc_ctype 'C'`)
  try {
    await refused(t, 'server', on(changed(database.url, { pathname: `/${name}` })), /has the encoding SQL_ASCII; create it with the encoding UTF8/)
  } finally {
    await onServer(database.url, `drop database ${name} with (force)`)
  }
})

void t.test('a PostgreSQL user who may not create tables', async (t) => {
  await using database = await emptyDatabase('postgres')
  const role = `${new URL(database.url).pathname.slice(1)}_guest`
  await onServer(database.url, `create role ${role} login password 'guest'`)
  try {
    await refused(t, 'server', on(changed(database.url, { username: role, password: 'guest' })), /does not let this user make tables in the database/)
  } finally {
    await onServer(database.url, `drop role ${role}`)
  }
})
