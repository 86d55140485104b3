import { readFile } from 'node:fs/promises'
import t from 'tap'
import Database from 'better-sqlite3'
import { besideService, DATABASES, fileOf, freshDatabase, type DatabaseName, type TestDatabase } from '../support/databases.js'
import { inProject, startProgram, type Program } from '../support/program.js'
import { Service } from '../support/service.js'
import { Session } from '../support/session.js'

/*
 * A holder is stopped between reading and writing, its lease runs out, and another holder reads and writes. Then the first
 * one goes on. Without fencing its late write undoes the other's; with the recipe of docs/reliability.md it changes nothing.
 */

void t.test('a paused holder', async (t) => {
  await using service = await Service.start()
  for (const kind of DATABASES) {
    await t.test(`corrupts a store without fencing: ${kind}`, async (t) => {
      const { body, written } = await run(service, kind, { write: 'update documents set body = :body where id = :id' })
      t.equal(written, 2, 'both believe to have written')
      t.equal(body, 1, 'one of the two increments is lost')
    })

    await t.test(`is refused by a store with fencing as docs/reliability.md says: ${kind}`, async (t) => {
      const { body, written } = await run(service, kind, await readRecipe())
      t.equal(written, 1, 'the holder that was paused is refused')
      t.equal(body, 1)
    })
  }
})

interface Recipe {
  readonly alter?: string
  readonly claim?: string
  readonly write: string
}

/** The statements under "Fencing tokens", as they stand there. */
async function readRecipe(): Promise<Required<Recipe>> {
  const page = await readFile(inProject('docs/reliability.md'), 'utf8')
  const block = /## Fencing tokens\n[\s\S]*?```sql\n([\s\S]*?)```/.exec(page)?.[1] ?? ''
  const [alter, claim, write] = block.replaceAll(/--.*$/gm, '').split(';').map((statement) => statement.trim())
  if (alter === undefined || claim === undefined || write === undefined) throw new Error('docs/reliability.md has no recipe of three statements')
  return { alter, claim, write }
}

async function run(service: Service, kind: DatabaseName, { alter, claim, write }: Recipe): Promise<{ body: number; written: number }> {
  await using store = await freshDatabase(kind)
  const table = "create table documents (id text primary key, body text not null); insert into documents values ('ledger', '0')"
  for (const statement of [table, ...(alter === undefined ? [] : [alter])]) await besideService(store, statement)
  const settings = { SERVICE: service.url, STORE: kind === 'sqlite' ? fileOf(store.url) : store.url, WRITE: write, ...(claim === undefined ? {} : { CLAIM: claim }) }
  const start = (name: string, more = {}): Program => startProgram('test/server/fenced-holder.js', { settings: { ...settings, PROCESS: name, ...more } })
  const paused = start('paused', { STOPS: 'yes' })
  await paused.find((stdout) => stdout.includes('read') || undefined)
  const other = await start('other').end()
  // Sent again, should it not have been stopped yet.
  const waking = setInterval(() => paused.signal('SIGCONT'), 50)
  const late = await paused.end()
  clearInterval(waking)
  const written = [other, late].filter(({ stdout }) => stdout.includes('written')).length
  return { body: await bodyIn(store), written }
}

async function bodyIn({ url }: TestDatabase): Promise<number> {
  if (url.startsWith('postgres')) {
    await using session = await Session.open(url)
    const [row] = await session.run<{ body: string }>('select body from documents')
    return Number(row?.body)
  }
  const database = new Database(fileOf(url))
  const body = database.prepare('select body from documents').pluck().get()
  database.close()
  return Number(body)
}
