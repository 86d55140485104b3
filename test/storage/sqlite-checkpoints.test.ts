import { spawnSync } from 'node:child_process'
import { existsSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import Database from 'better-sqlite3'
import t from 'tap'
import { openStore } from '../../src/storage/index.js'
import { Checkpointer, openSqlite, type OpenSqlite } from '../../src/storage/sqlite/connection.js'
import { acquire } from '../support/commands.js'
import { fileOf, freshDatabase } from '../support/databases.js'
import { temporaryFolder } from '../support/program.js'

/** From here on the thread moves the log; from twice as many pages on a commit does so. */
const CHECKPOINT_PAGES = 4000
const MOST_BYTES = 2 * CHECKPOINT_PAGES * 4120
/** What one commit may add beyond that. */
const ONE_COMMIT_BYTES = 1e6
const DEADLINE_MS = 120_000

/** A file with one table, each of whose rows fills a page. */
class Filled implements AsyncDisposable {
  readonly opened: OpenSqlite
  readonly checkpointer: Checkpointer
  rows = 0

  constructor(file: string) {
    this.opened = openSqlite(file)
    this.opened.database.exec('create table rows (id integer primary key, text text)')
    this.checkpointer = new Checkpointer(this.opened.database, this.opened.handle ?? 0)
  }

  commit(rows = 100): void {
    const insert = this.opened.database.prepare("insert into rows (text) values (printf('%.*c', 4000, 'x'))")
    this.opened.database.transaction(() => {
      for (let row = 0; row < rows; row += 1) insert.run()
    })()
    this.rows += rows
    this.checkpointer.committed()
  }

  get log(): { pages: number; moved: number } {
    const [found] = this.opened.database.pragma('wal_checkpoint(noop)') as { log: number; checkpointed: number }[]
    return { pages: found?.log ?? 0, moved: found?.checkpointed ?? 0 }
  }

  get logBytes(): number {
    return statSync(`${this.opened.database.name}-wal`).size
  }

  /** Commits until the thread has to begin, and waits until it has moved the log. */
  async untilMoved(): Promise<void> {
    while (this.log.pages < CHECKPOINT_PAGES) this.commit()
    for (const deadline = Date.now() + DEADLINE_MS; this.log.moved < CHECKPOINT_PAGES; await sleep(10)) {
      if (Date.now() > deadline) throw new Error('the log was not moved')
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.checkpointer[Symbol.asyncDispose]()
    this.opened[Symbol.dispose]()
  }
}

void t.test('a thread moves the log while nothing is committed, and the log begins anew', async (t) => {
  await using folder = await temporaryFolder()
  await using file = new Filled(join(folder.path, 'x.db'))
  for (let turn = 1; turn <= 3; turn += 1) {
    await file.untilMoved()
    t.ok(file.log.pages < 2 * CHECKPOINT_PAGES, `turn ${turn}: no commit has moved it`)
    // The thread says so a little later than the log.
    for (const deadline = Date.now() + DEADLINE_MS; file.log.pages >= CHECKPOINT_PAGES && Date.now() < deadline; await sleep(10)) file.commit(1)
    t.ok(file.log.pages < CHECKPOINT_PAGES, `turn ${turn}: it begins anew`)
  }
  t.equal(file.opened.database.pragma('quick_check', { simple: true }), 'ok')
  t.equal(file.opened.database.prepare('select count(*) from rows').pluck().get(), file.rows)
})

void t.test('what the thread could not move is moved between two commits', async (t) => {
  await using folder = await temporaryFolder()
  await using file = new Filled(join(folder.path, 'x.db'))
  while (file.log.pages < CHECKPOINT_PAGES / 2) file.commit()
  const reader = new Database(file.opened.database.name, { readonly: true })
  // The thread must leave what was committed after the snapshot of this reader.
  reader.exec('begin; select count(*) from rows')
  while (file.log.pages < CHECKPOINT_PAGES) file.commit()
  for (const deadline = Date.now() + DEADLINE_MS; file.log.moved === 0 && Date.now() < deadline; ) await sleep(10)
  reader.close()
  t.ok(file.log.moved < file.log.pages, 'some is left')
  for (let commit = 0; commit < 1000 && file.log.pages >= CHECKPOINT_PAGES; commit += 1) {
    file.commit(1)
    await sleep(5)
  }
  t.ok(file.log.pages < CHECKPOINT_PAGES, 'the log begins anew')
})

void t.test('the log stays short when the thread has ended', async (t) => {
  await using folder = await temporaryFolder()
  await using file = new Filled(join(folder.path, 'x.db'))
  await file.untilMoved()
  await file.checkpointer[Symbol.asyncDispose]()
  for (let commit = 0; commit < 300; commit += 1) file.commit()
  t.ok(file.logBytes <= MOST_BYTES + ONE_COMMIT_BYTES, `${file.logBytes} bytes after ${file.rows} pages`)
})

void t.test('no other program can take the log away once the thread has ended', async (t) => {
  await using folder = await temporaryFolder()
  const path = join(folder.path, 'x.db')
  await using file = new Filled(path)
  await file.untilMoved()
  // A thread that closed a handle of its own would drop the lock by which others see that the file is in use.
  await file.checkpointer[Symbol.asyncDispose]()
  const program = `
    const database = new (require('better-sqlite3'))(process.argv[1], { timeout: 0 })
    database.pragma('locking_mode = exclusive')
    try { console.log(database.prepare('select count(*) from rows').pluck().get()) } catch ({ code }) { console.log(code) }`
  const { stdout } = spawnSync(process.execPath, ['--eval', program, path], { encoding: 'utf8', env: { PATH: process.env['PATH'] } })
  t.equal(stdout, 'SQLITE_BUSY\n')
  file.commit()
  const reader = new Database(path, { readonly: true })
  t.equal(reader.prepare('select count(*) from rows').pluck().get(), file.rows, 'and others see what is committed')
  reader.close()
})

void t.test('a service that stops while the log is long leaves no log behind, and everything in the database', async (t) => {
  await using database = await freshDatabase('sqlite')
  const file = fileOf(database.url)
  const metadata = { text: 'x'.repeat(8000) }
  const count = 12_000
  let longest = 0
  {
    await using store = await openStore({ databaseUrl: database.url, clock: database.now })
    for (let from = 0; from < count; from += 200) {
      const names = Array.from({ length: 200 }, (_, index) => `r${from + index}`)
      await Promise.all(names.map((name) => store.submit({ ...acquire(name, 'p'), metadata })))
      longest = Math.max(longest, statSync(`${file}-wal`).size)
    }
  }
  t.ok(longest <= MOST_BYTES + 4 * ONE_COMMIT_BYTES, `the log had ${longest} bytes at most, of ${count * 8000} that were written`)
  t.notOk(existsSync(`${file}-wal`))
  const reader = new Database(file, { readonly: true })
  t.equal(reader.prepare('select count(*) from resource_locks').pluck().get(), count)
  reader.close()
})
