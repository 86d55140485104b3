import { randomBytes } from 'node:crypto'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import Database from 'better-sqlite3'
import t from 'tap'
import { refused, temporaryFolder } from '../support/program.js'
import { Service } from '../support/service.js'

void t.test('a SQLite file that another server has, which goes on undisturbed', async (t) => {
  await using folder = await temporaryFolder()
  const options = { cwd: folder.path, settings: { DATABASE_URL: 'sqlite:x.db', PORT: '0' } }
  await using first = await Service.start(options)
  for (const program of ['server', 'migrate'] as const) {
    await refused(t, program, options, new RegExp(`Another server is already running on the SQLite file ${folder.path}/x\\.db`))
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
  await refused(t, 'server', { settings: { DATABASE_URL: 'sqlite:///./no/x.db' } }, /The folder of the SQLite file \/.*\/no\/x\.db does not exist/)
})

void t.test('a file that is no SQLite database', async (t) => {
  for (const bytes of [randomBytes(20_000), Buffer.from('dear diary')]) {
    await using folder = await temporaryFolder()
    await writeFile(join(folder.path, 'x.db'), bytes)
    const options = { cwd: folder.path, settings: { DATABASE_URL: 'sqlite:x.db' } }
    await refused(t, 'server', options, /\/x\.db is not a SQLite database; it was left as it is/)
    t.ok(bytes.equals(await readFile(join(folder.path, 'x.db'))), 'not a byte of it was changed')
  }
})
