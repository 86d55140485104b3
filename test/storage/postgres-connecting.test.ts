import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { connect, createServer, type AddressInfo, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { parseDatabaseUrl, openStore } from '../../src/storage/index.js'
import { openPostgres } from '../../src/storage/postgres/connection.js'
import { acquire } from '../support/commands.js'
import { freshDatabase, serverUrl } from '../support/databases.js'
import { eventually } from '../support/eventually.js'
import { openOn } from '../support/store.js'

/** What PgBouncer lets a client say when it connects. */
const POOLED = new Set(['user', 'database', 'client_encoding', 'application_name'])

/** Says which of a client's start-up parameters PgBouncer would refuse. */
function refusedParameter(startup: Buffer): string | undefined {
  const words = startup.toString('utf8', 8, startup.readInt32BE(0) - 2).split('\0')
  return words.find((word, index) => index % 2 === 0 && !POOLED.has(word))
}

function errorResponse(code: string, message: string): Buffer {
  const body = Buffer.from(`SFATAL\0C${code}\0M${message}\0\0`)
  const head = Buffer.alloc(5)
  head.write('E')
  head.writeInt32BE(body.length + 4, 1)
  return Buffer.concat([head, body])
}

/** Passes on to PostgreSQL, as a pooler does. @param at a port, or the path of a socket. */
async function pooler(at: number | string) {
  const sockets = new Set<Socket>()
  const refused: string[] = []
  const server = createServer((client) => {
    client.once('data', (startup: Buffer) => {
      const parameter = refusedParameter(startup)
      if (parameter !== undefined) {
        refused.push(parameter)
        return void client.end(errorResponse('08P01', `unsupported startup parameter: ${parameter}`))
      }
      const real = connect(Number(new URL(serverUrl()).port), '127.0.0.1')
      real.write(startup)
      client.pipe(real).pipe(client)
      for (const socket of [client, real]) {
        sockets.add(socket)
        socket.on('error', () => undefined)
      }
    })
    client.on('error', () => undefined)
  })
  if (typeof at === 'string') server.listen(at)
  else server.listen(at, '127.0.0.1')
  await once(server, 'listening')
  return {
    refused,
    port: String((server.address() as AddressInfo).port),
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy()
      server.close()
      await once(server, 'close')
    }
  }
}

void t.test('the service asks a connection pooler for nothing that it refuses', async (t) => {
  await using database = await freshDatabase('postgres')
  await using between = await pooler(0)
  const url = Object.assign(new URL(database.url), { port: between.port })
  await using store = await openStore({ databaseUrl: url.href })
  t.match(await store.submit(acquire('a', 'p')), { kind: 'granted' })
  await store.ping()
  t.same(between.refused, [])

  url.searchParams.set('statement_timeout', '1000')
  await t.rejects(openStore({ databaseUrl: url.href }), {
    name: 'StartupError',
    message: /refuses the way in which the service connects \(unsupported startup parameter: statement_timeout\); .*PgBouncer in docs\/operations.md/
  })
})

void t.test('a URL may name a socket folder in its query', async (t) => {
  await using database = await freshDatabase('postgres')
  const folder = await mkdtemp(join(tmpdir(), 'rlm-socket-'))
  t.teardown(() => rm(folder, { recursive: true, force: true }))
  const between = await pooler(join(folder, '.s.PGSQL.5433'))
  t.teardown(() => between[Symbol.asyncDispose]())
  const { username, password, pathname } = new URL(database.url)
  await using store = await openStore({ databaseUrl: `postgres://${username}:${password}@${pathname}?host=${folder}&port=5433` })
  await store.ping()
  await t.rejects(openStore({ databaseUrl: 'postgres://u@/db?host=/nowhere/at/all&port=5433' }), {
    name: 'StartupError',
    message: /^PostgreSQL cannot be reached at the socket folder \/nowhere\/at\/all, port 5433 \(ENOENT\)/
  })
})

void t.test('no part of a password is shown that is not percent-encoded', async (t) => {
  for (const password of ['4711#secret', '4711/secret', '4711?secret', '47@11/secret', '47@11#secret', '4711%secret', 's#4711:secret', '4711/?#@secret']) {
    for (const rest of ['', '?sslmode=disable']) {
      const url = `postgres://u:${password}@host.invalid/db${rest}`
      const options = [{ databaseUrl: url }, { databaseUrl: 'postgres://u@127.0.0.1:1/db', listenUrl: url }]
      for (const some of options) {
        const error: unknown = await openStore(some).catch((fault: unknown) => fault)
        t.match(error, { name: 'StartupError', message: /percent-encode the password/ }, password)
        t.notMatch(String(error), /secret|47|11[^%]/, password)
      }
    }
  }
  t.same(parseDatabaseUrl('postgres://u:p@ss@host/db'), { kind: 'postgres', url: 'postgres://u:p@ss@host/db' }, 'the last @ stands before the host')
  t.match(parseDatabaseUrl('postgres://u:4711%23s%40x@host/db?sslmode=disable'), { kind: 'postgres' })
  t.match(parseDatabaseUrl('postgres:///db?host=/var/run/postgresql'), { kind: 'postgres' })
})

const END_ALL = 'select pg_terminate_backend(pid, 30000) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()'

/** Ends all connections to it. They say so to this program, which does not read that before it goes on. */
function endUnread(url: string): void {
  const program = `import { onServer } from '${new URL('../../scripts/database-templates.js', import.meta.url).href}'
    await onServer('${url}', '${END_ALL}')`
  execFileSync(process.execPath, ['--input-type=module', '--eval', program])
}

void t.test('a connection that the server ends while it is being closed is no fault', async (t) => {
  await using database = await freshDatabase('postgres')
  const errors: string[] = []
  const onConnectionError = (error: Error): number => errors.push(error.message)

  const opened = await openPostgres(database.url, 1, onConnectionError)
  const client = await opened.batches.connect()
  client.release()
  let removed: true | undefined
  opened.batches.once('remove', () => (removed = true))
  endUnread(database.url)
  await opened[Symbol.asyncDispose]()
  await eventually('it is closed', () => Promise.resolve(removed))
  t.same(errors, [], 'of the pools')

  const store = await openOn(database, { onConnectionError })
  endUnread(database.url)
  await store[Symbol.asyncDispose]()
  t.same(errors, [], 'of the listener')
})
