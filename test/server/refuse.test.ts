import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { copyFile, readFile, writeFile } from 'node:fs/promises'
import { createServer, type AddressInfo } from 'node:net'
import { join } from 'node:path'
import Database from 'better-sqlite3'
import t from 'tap'
import { openStore } from '../../src/storage/open-store.js'
import { acquire, release } from '../support/commands.js'
import { temporaryFolder } from '../support/program.js'
import { refused } from '../support/refused.js'
import { Service } from '../support/service.js'

const withUrl = (url: string) => ({ settings: { DATABASE_URL: url } })

void t.test('a database URL with another scheme, or with none', async (t) => {
  const said = await refused(
    t,
    'server',
    withUrl('mysql://root:hunter2@127.0.0.1/locks'),
    /DATABASE_URL has the scheme 'mysql'; expected sqlite:.* or postgres:/
  )
  t.notMatch(said, 'hunter2')
  await refused(t, 'migrate', withUrl('./locks.db'), /DATABASE_URL has no scheme/)
  await refused(t, 'server', withUrl('postgres://u:hunter2@:x/y'), /not a well-formed PostgreSQL URL/)
})

void t.test('a setting that cannot be meant', async (t) => {
  await refused(t, 'server', { settings: { PORT: '80OO' } }, /PORT is '80OO'; expected a port number/)
})

void t.test('an address that others can reach, unless that is meant', async (t) => {
  await refused(t, 'server', { settings: { HOST: '0.0.0.0', PORT: '0' } }, /HOST is '0\.0\.0\.0', which other machines can reach.*ALLOW_ANONYMOUS=true/)
})

void t.test('a port that is in use', async (t) => {
  const other = createServer().listen(0, '127.0.0.1')
  await once(other, 'listening')
  const { port } = other.address() as AddressInfo
  try {
    await refused(t, 'server', { settings: { PORT: String(port) } }, new RegExp(`Port ${port} on 127\\.0\\.0\\.1 is in use`))
  } finally {
    other.close()
  }
})

void t.test('a SQLite file that another server has, which goes on undisturbed', async (t) => {
  await using folder = await temporaryFolder()
  const options = { cwd: folder.path, settings: { DATABASE_URL: 'sqlite:x.db', PORT: '0' } }
  await using first = await Service.start(options)
  for (const program of ['server', 'migrate'] as const) {
    await refused(t, program, options, /Another server is already running on the SQLite file x\.db/)
  }
  t.match(await first.request('a', 'p'), { status: 200 })
})

void t.test('a SQLite file that another program has locked', async (t) => {
  await using folder = await temporaryFolder()
  const file = join(folder.path, 'x.db')
  const other = new Database(file)
  try {
    other.exec('create table x (y); begin exclusive')
    await refused(t, 'server', { settings: { DATABASE_URL: `sqlite:${file}` } }, /The SQLite file .*x\.db is in use by another program/)
  } finally {
    other.close()
  }
})

void t.test('a SQLite file in a folder that does not exist', async (t) => {
  await refused(t, 'server', { settings: { DATABASE_URL: 'sqlite:///./no/x.db' } }, /The folder of the SQLite file .*no\/x\.db does not exist/)
})

void t.test('a file that is no SQLite database', async (t) => {
  for (const bytes of [randomBytes(20_000), Buffer.from('dear diary')]) {
    await using folder = await temporaryFolder()
    await writeFile(join(folder.path, 'x.db'), bytes)
    const options = { cwd: folder.path, settings: { DATABASE_URL: 'sqlite:x.db' } }
    await refused(t, 'server', options, /x\.db is not a SQLite database; it was left as it is/)
    t.ok(bytes.equals(await readFile(join(folder.path, 'x.db'))), 'not a byte of it was changed')
  }
})

for (const { left, leave } of [
  { left: 'by an orderly stop', leave: (file: string) => fill(file) },
  { left: 'by a crash, with its last commits in its log', leave: crash },
  {
    left: 'by another program, without a log',
    leave: async (file: string) => {
      await fill(file)
      const other = new Database(file)
      other.pragma('journal_mode = delete')
      other.close()
    }
  }
]) {
  void t.test(`a damaged SQLite file, left ${left}`, async (t) => {
    await using folder = await temporaryFolder()
    const file = join(folder.path, 'x.db')
    await leave(file)
    const bytes = await readFile(file)
    // Structure, not contents: SQLite keeps no checksum of those.
    for (let at = 4096; at < bytes.length; at += 512) bytes.writeUInt8(bytes.readUInt8(at) ^ 0xff, at)
    await writeFile(file, bytes)
    const log = await contentsOf(`${file}-wal`)
    t.equal(log.length > 0, left.includes('crash'))
    const options = { cwd: folder.path, settings: { DATABASE_URL: 'sqlite:x.db' } }
    await refused(t, 'server', options, /The SQLite file x\.db is damaged; restore it from a backup/)
    t.ok(bytes.equals(await readFile(file)), 'not a byte of it was changed')
    t.ok(log.equals(await contentsOf(`${file}-wal`)), 'nor of its log')
  })
}

/** Makes a database that knows some names. */
async function fill(file: string): Promise<void> {
  await using store = await openStore({ databaseUrl: `sqlite:${file}` })
  for (let index = 0; index < 100; index += 1) {
    await store.submit(acquire(`r${index}`, 'p'))
    await store.submit(release(`r${index}`, 'p'))
  }
}

/** What is on the disk while a database is open is what a crash would leave. */
async function crash(file: string): Promise<void> {
  const open = `${file}.open`
  await fill(open)
  await using store = await openStore({ databaseUrl: `sqlite:${open}` })
  await store.submit(acquire('late', 'p'))
  for (const end of ['', '-wal']) await copyFile(open + end, file + end)
}

const contentsOf = (file: string): Promise<Buffer> => readFile(file).catch(() => Buffer.alloc(0))
