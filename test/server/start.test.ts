import { readdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import t from 'tap'
import { migrationsFor } from '../../migrations/index.js'
import { DATABASES, emptyDatabase, freshDatabase } from '../support/databases.js'
import { inProject, Program, runCommand, temporaryFolder } from '../support/program.js'
import { Service } from '../support/service.js'

for (const [form, url, file, name] of [
  ['relative, as SQLAlchemy writes it', 'sqlite:///./folder.db', 'folder.db', 'SQLite folder.db'],
  ['short', 'sqlite:short.db', 'short.db', 'SQLite short.db'],
  ['in memory', 'sqlite::memory:', undefined, 'SQLite in memory']
] as const) {
  void t.test(`a SQLite URL: ${form}`, async (t) => {
    await using folder = await temporaryFolder()
    await using service = await Service.start({ cwd: folder.path, settings: { DATABASE_URL: url } })
    t.match(await service.request('a', 'p'), { status: 200, body: { data: { lock_id: 1 } } })
    t.match(await service.request('a', 'q'), { status: 409 })
    t.match(await service.health(), { status: 200, body: { status: 'healthy' } })
    t.match(await service.call('GET', '/locks/stats'), { body: { data: { database: name, key: null } } })
    t.same((await readdir(folder.path)).filter((name) => name.endsWith('.db')), file === undefined ? [] : [file])
    t.equal(service.stderr, '')
  })
}

void t.test('a PostgreSQL URL: postgresql:// is the same as postgres://', async (t) => {
  await using database = await freshDatabase('postgres')
  await using service = await Service.start({ settings: { DATABASE_URL: database.url.replace(/^postgres:/, 'postgresql:') } })
  t.match(await service.request('a', 'p'), { status: 200, body: { data: { lock_id: 1 } } })
  t.match(await service.health(), { status: 200, body: { status: 'healthy' } })
  t.match(await service.call('GET', '/locks/stats'), { body: { data: { database: `PostgreSQL ${new URL(database.url).pathname.slice(1)}` } } })
  t.equal(service.stderr, '')
})

void t.test('settings come from a .env file, unless the environment has them', async (t) => {
  await using folder = await temporaryFolder()
  await writeFile(join(folder.path, '.env'), 'DATABASE_URL=sqlite:from-file.db\nDEFAULT_TTL_SECONDS=30\nMAX_TTL_SECONDS=60\nPORT=1\n')
  await using service = await Service.start({ cwd: folder.path, settings: { PORT: '0', MAX_TTL_SECONDS: '90' } })
  t.ok((await readdir(folder.path)).includes('from-file.db'))
  const { data } = (await service.request('a', 'p')).body
  t.equal(Date.parse(String(data?.['expires_at'])) - Date.parse(String(data?.['locked_at'])), 30_000)
  t.match(await service.request('b', 'p', { ttl_seconds: 90 }), { status: 200 })
  t.match(await service.request('c', 'p', { ttl_seconds: 91 }), { status: 422 })
})

void t.test('a service loads the driver of its own database only', async (t) => {
  const code = `
    const { openStore } = await import(${JSON.stringify(pathToFileURL(inProject('dist/src/storage/index.js')).href)})
    const store = await openStore({ databaseUrl: 'sqlite::memory:' })
    const { createRequire } = await import('node:module')
    const loaded = Object.keys(createRequire(${JSON.stringify(inProject('package.json'))}).cache)
    console.log(JSON.stringify(loaded.filter((file) => file.includes('/node_modules/pg/'))))
    await store[Symbol.asyncDispose]()`
  const { stdout } = await new Program([process.execPath, '--input-type=module', '--eval', code], {}, '.').end()
  t.same(JSON.parse(stdout), [])
})

for (const kind of DATABASES) {
  void t.test(`the migrations run alone, and again without effect: ${kind}`, async (t) => {
    await using database = await emptyDatabase(kind)
    const settings = { DATABASE_URL: database.url }
    t.same(await runCommand('migrate', { settings }), {
      code: 0,
      signal: null,
      stdout: Object.keys(migrationsFor(kind)).map((name) => `Applied ${name}.\n`).join(''),
      stderr: ''
    })
    t.match(await runCommand('migrate', { settings }), { code: 0, stdout: 'The database is up to date.\n' })
    await using service = await Service.start({ settings })
    t.match(await service.request('a', 'p'), { status: 200 })
  })
}

void t.test('several instances start at once on one empty PostgreSQL database', async (t) => {
  await using database = await emptyDatabase('postgres')
  const starts = await Promise.allSettled(Array.from({ length: 4 }, () => Service.start({ settings: { DATABASE_URL: database.url } })))
  const services = starts.flatMap((start) => (start.status === 'fulfilled' ? [start.value] : []))
  try {
    for (const start of starts) t.equal(start.status, 'fulfilled', start.status === 'rejected' ? String(start.reason) : 'came up')
    const answers = await Promise.all(services.map((service) => service.request('a', `p${service.port}`)))
    t.equal(answers.filter(({ status }) => status === 200).length, 1)
    t.equal(answers.filter(({ status }) => status === 409).length, 3)
  } finally {
    for (const service of services) await service[Symbol.asyncDispose]()
  }
})
