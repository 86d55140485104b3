import { randomBytes } from 'node:crypto'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import Database from 'better-sqlite3'
import t from 'tap'
import { openStore } from '../../src/storage/index.js'
import { acquire, release } from '../support/commands.js'
import { onServer } from '../../scripts/database-templates.js'
import { DATABASES, freshDatabase, serverUrl, type DatabaseName, type TestDatabase } from '../support/databases.js'
import { refused, runCommand, temporaryFolder } from '../support/program.js'
import { Service } from '../support/service.js'

/** Grants that many locks, one after another; resolves to the largest number. */
async function grant(url: string, locks: number): Promise<number> {
  await using store = await openStore({ databaseUrl: url })
  let last = 0
  for (let turn = 0; turn < locks; turn += 1) {
    const outcome = await store.submit(acquire('a', 'p'))
    if (outcome.kind === 'granted') last = outcome.grants[0]?.lockId ?? 0
    await store.submit(release('a', 'p'))
  }
  return last
}

/** A copy as it would be restored from a backup that is made now. */
async function backUp(kind: DatabaseName, { url }: TestDatabase, folder: string): Promise<{ url: string } & AsyncDisposable> {
  const name = `restored_${randomBytes(8).toString('hex')}`
  if (kind === 'sqlite') {
    const original = new Database(url.slice('sqlite:'.length))
    original.prepare('vacuum into ?').run(join(folder, name))
    original.close()
    return { url: `sqlite:${join(folder, name)}`, [Symbol.asyncDispose]: () => Promise.resolve() }
  }
  await onServer(serverUrl(), `create database ${name} template ${new URL(url).pathname.slice(1)}`)
  return {
    url: Object.assign(new URL(serverUrl()), { pathname: `/${name}` }).href,
    [Symbol.asyncDispose]: () => onServer(serverUrl(), `drop database ${name} with (force)`)
  }
}

for (const kind of DATABASES) {
  void t.test(`numbers go on above those that were given after the backup: ${kind}`, async (t) => {
    await using folder = await temporaryFolder()
    await using database = await freshDatabase(kind, 'real')
    await grant(database.url, 5)
    await using plain = await backUp(kind, database, folder.path)
    await using reckoned = await backUp(kind, database, folder.path)
    await using told = await backUp(kind, database, folder.path)
    const last = await grant(database.url, 20)

    t.ok((await grant(plain.url, 1)) <= last, 'without the command they would come again')

    const said = await runCommand('raise-numbers', { settings: { DATABASE_URL: reckoned.url } })
    t.match(said, { code: 0, stdout: /^The numbers of the locks go on after \d+; they were at \d+\.\n$/, stderr: '' })
    t.ok((await grant(reckoned.url, 1)) > last)

    const options = { settings: { DATABASE_URL: told.url }, args: ['--above', String(last)] }
    t.match(await runCommand('raise-numbers', options), { code: 0, stdout: new RegExp(`go on after ${last}; `) })
    t.match(await runCommand('raise-numbers', options), { code: 0, stdout: `The numbers of the locks go on after ${last} as they are.\n` })
    const lower = { ...options, args: ['--above', '1'] }
    t.match(await runCommand('raise-numbers', lower), { code: 0, stdout: /as they are/ }, 'they are never lowered')
    t.equal(await grant(told.url, 1), last + 1)
  })

  void t.test(`the longer ago the backup was made, the further they are raised: ${kind}`, async (t) => {
    await using database = await freshDatabase(kind, 'real')
    await grant(database.url, 1)
    const raise = async (): Promise<number> => {
      const { stdout } = await runCommand('raise-numbers', { settings: { DATABASE_URL: database.url } })
      const [, to, from] = /after (\d+); they were at (\d+)/.exec(stdout) ?? []
      return Number(to) - Number(from)
    }
    const now = await raise()
    t.ok(now >= 60_000_000 && now < 3_600_000_000, String(now))
    const weekAgo = Date.now() - 7 * 86_400_000
    const age = `update resource_locks set locked_at = ${weekAgo}; update lock_events set at = ${weekAgo}; update rlm_migrations set timestamp = '2020-01-01T00:00:00.000Z'`
    if (kind === 'postgres') await onServer(database.url, age)
    else new Database(database.url.slice('sqlite:'.length)).exec(age).close()
    const week = await raise()
    t.ok(week >= 7 * 86_400 * 1_000_000, String(week))
  })

  void t.test(`not while the service runs: ${kind}`, async (t) => {
    await using database = await freshDatabase(kind, 'real')
    const settings = { DATABASE_URL: database.url }
    await using service = await Service.start({ settings })
    await refused(t, 'raise-numbers', { settings }, kind === 'sqlite' ? /Another server is already running/ : /The service runs on this database \(1 instances are connected\); stop it first/)
    t.match(await service.request('a', 'p'), { status: 200, body: { data: { lock_id: 1 } } })
  })

  void t.test(`a watcher of events that are lost is told so: ${kind}`, async (t) => {
    await using database = await freshDatabase(kind, 'real')
    await grant(database.url, 1)
    await using store = await openStore({ databaseUrl: database.url })
    const { after: newest } = await store.reads.feedStart()
    t.equal(await store.reads.isForgotten(newest), false)
    t.equal(await store.reads.isForgotten(newest + 1), true, 'an event that this database has never had')
  })
}

void t.test('a number that is none, and other words', async (t) => {
  for (const args of [['--above', '0'], ['--above', '9007199254740993'], ['--above'], ['5']]) {
    await refused(t, 'raise-numbers', { args, settings: { DATABASE_URL: 'sqlite::memory:' } }, /--above/)
  }
  await using database = await freshDatabase('sqlite')
  await refused(t, 'raise-numbers', { args: ['--above', '9007199254740991'], settings: { DATABASE_URL: database.url } }, /leaves too few/)
  await refused(t, 'raise-numbers', { settings: { DATABASE_URL: 'sqlite::memory:' } }, /in memory is never restored/)
})

void t.test('a path with no database at it is a mistake, and makes none', async (t) => {
  await using folder = await temporaryFolder()
  await refused(t, 'raise-numbers', { cwd: folder.path, settings: { DATABASE_URL: 'sqlite:x.db' } }, new RegExp(`^There is no SQLite file ${folder.path}/x\\.db; restore the backup first`))
  t.same(await readdir(folder.path), [])
})
