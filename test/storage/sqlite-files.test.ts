import { chmod, link, mkdir, stat, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import Database from 'better-sqlite3'
import t from 'tap'
import { parseDatabaseUrl, openKeys, openStore } from '../../src/storage/index.js'
import { openSqlite } from '../../src/storage/sqlite/connection.js'
import { acquire, sweep } from '../support/commands.js'
import { fileOf, freshDatabase } from '../support/databases.js'
import { temporaryFolder } from '../support/program.js'

const FILES = ['x.db', 'x.db-wal', 'x.db-shm', 'x.db-owner', 'x.db-reserve']

const modeOf = async (path: string): Promise<string> => ((await stat(path)).mode & 0o777).toString(8)

function fileIn(url: string): string {
  const location = parseDatabaseUrl(url)
  return location.kind === 'sqlite' ? location.file : url
}

/** Opens a file, says something of it, and closes it again. */
function use(path: string): readonly string[] {
  using opened = openSqlite(path)
  opened.database.exec('create table if not exists x (y); insert into x values (1)')
  return opened.warnings
}

void t.test('one file has one owner, by whatever path it is named', async (t) => {
  await using folder = await temporaryFolder()
  const at = (path: string) => join(folder.path, path)
  await mkdir(at('data'))
  await symlink('data', at('linked'))
  await symlink(join('data', 'x.db'), at('link.db'))
  await symlink('link.db', at('far.db'))
  const before = process.cwd()
  process.chdir(at('data'))
  t.teardown(() => process.chdir(before))
  const names = ['x.db', './x.db', '../link.db', at('data/x.db'), at('link.db'), at('far.db'), at('linked/x.db'), at('linked/../linked/./x.db'), at('data/x.db ')]
  for (const first of ['../far.db', ...names]) {
    using opened = openSqlite(fileIn(`sqlite:${first}`))
    for (const second of names) {
      t.throws(() => openSqlite(fileIn(`sqlite:${second}`)), { message: /^Another server is already running on the SQLite file \/.*\/data\/x\.db;/ }, `${second} is ${first}`)
    }
    t.ok(opened.database.open)
  }
})

void t.test('a file with a second name is refused, for its log would belong to one of them', async (t) => {
  await using folder = await temporaryFolder()
  const file = join(folder.path, 'x.db')
  use(file)
  await link(file, join(folder.path, 'y.db'))
  for (const name of ['x.db', 'y.db']) {
    t.throws(() => use(join(folder.path, name)), { name: 'StartupError', message: new RegExp(`^The SQLite file ${folder.path}/${name} has 2 names \\(hard links\\)`) })
  }
})

void t.test('a path that leads nowhere is refused in one sentence', async (t) => {
  await using folder = await temporaryFolder()
  const at = (path: string) => join(folder.path, path)
  await symlink('circle.db', at('circle.db'))
  await symlink('no/x.db', at('lost.db'))
  await writeFile(at('file'), '')
  for (const [path, message] of [
    ['circle.db', /^[^\n]*circle\.db[^\n]*\.$/],
    ['lost.db', /^The folder of the SQLite file .*no\/x\.db does not exist\.$/],
    ['file/x.db', /^The folder of the SQLite file .*file\/x\.db does not exist\.$/],
    ['.', /^DATABASE_URL names \/.*, which is not a file\.$/]
  ] as const) {
    t.throws(() => openSqlite(at(path)), { name: 'StartupError', message }, path)
    await t.rejects(openKeys(`sqlite:${at(path)}`), { name: 'StartupError', message }, path)
  }
})

void t.test('nobody else can read the files of a database, whatever the umask', async (t) => {
  for (const umask of [0o000, 0o022]) {
    await using folder = await temporaryFolder()
    const before = process.umask(umask)
    try {
      using opened = openSqlite(join(folder.path, 'x.db'))
      opened.database.exec('create table x (y)')
      for (const name of FILES) t.equal(await modeOf(join(folder.path, name)), '600', name)
      t.same(opened.warnings, [])
    } finally {
      process.umask(before)
    }
  }
})

void t.test('an existing database that others can read keeps its mode, and the service warns', async (t) => {
  await using folder = await temporaryFolder()
  const file = join(folder.path, 'x.db')
  use(file)
  await chmod(file, 0o644)
  await chmod(`${file}-owner`, 0o666)
  await using store = await openStore({ databaseUrl: `sqlite:${file}` })
  t.match(store.warnings, [new RegExp(`^Other users of this machine can read or change ${file}.*; run chmod 600 on`)])
  t.equal(store.warnings.length, 1)
  await store[Symbol.asyncDispose]()
  t.equal(await modeOf(file), '644')
  t.equal(await modeOf(`${file}-owner`), '600', 'there is nothing in it for anybody else')
  await chmod(file, 0o640)
  t.same(use(file), [], 'a group that may read it was meant')
})

void t.test('a program that reads the owner file does not prevent a restart', async (t) => {
  await using folder = await temporaryFolder()
  const file = join(folder.path, 'x.db')
  use(file)
  const other = new Database(`${file}-owner`, { readonly: true })
  try {
    other.exec('begin; select * from sqlite_master')
    using opened = openSqlite(file)
    t.ok(opened.database.open)
    t.throws(() => openSqlite(file), { message: /^Another server is already running/ }, 'and lets no second server in')
  } finally {
    other.close()
  }
})

void t.test('a log that got long behind another reader is short again once that is done', async (t) => {
  await using database = await freshDatabase('sqlite')
  const file = fileOf(database.url)
  const sizeOfLog = async (): Promise<number> => (await stat(`${file}-wal`)).size
  await using store = await openStore({ databaseUrl: database.url, clock: database.now })
  const metadata = { text: 'x'.repeat(8000) }
  let count = 0
  const fill = async (): Promise<void> => {
    while ((await sizeOfLog()) < 48e6) {
      const names = Array.from({ length: 200 }, () => `r${(count += 1)}`)
      await Promise.all(names.map((name) => store.submit({ ...acquire(name, 'p'), metadata })))
    }
  }
  const sweepOnce = async (): Promise<void> => {
    await store.submit(sweep)
    // What the thread does after it has answered.
    await store.ping()
  }
  const reader = new Database(file, { readonly: true })
  const whileReading = async (body: () => Promise<void>): Promise<void> => {
    reader.exec('begin; select count(*) from resource_locks')
    await body()
    reader.exec('commit')
  }

  await whileReading(async () => {
    await fill()
    await sweepOnce()
    t.ok((await sizeOfLog()) >= 48e6, 'nothing can be taken from under the reader')
    t.equal((await store.submit(acquire('while it reads', 'p'))).kind, 'granted')
  })
  await sweepOnce()
  t.equal(await sizeOfLog(), 0, 'an idle service shortens it')

  await whileReading(fill)
  for (const name of ['a', 'b', 'c']) await store.submit(acquire(name, 'p'))
  t.ok((await sizeOfLog()) <= 33e6, 'and a busy one goes on from its beginning')
  reader.close()
  t.equal(await store.reads.count({ prefix: '', processId: null }), count + 4)
})
