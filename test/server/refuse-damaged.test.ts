import { copyFile, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import Database from 'better-sqlite3'
import t from 'tap'
import { openStore } from '../../src/storage/index.js'
import { acquire, release } from '../support/commands.js'
import { refused, temporaryFolder } from '../support/program.js'

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
    await refused(t, 'server', options, /The SQLite file \/.*\/x\.db is damaged; restore it from a backup/)
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
