import { randomBytes } from 'node:crypto'
import { copyFile, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import Database from 'better-sqlite3'
import pg from 'pg'
import { migrateDatabase } from '../../src/storage/index.js'

/** A fresh database for one test whose clock stands still until the test moves it. */
export interface TestDatabase extends AsyncDisposable {
  readonly url: string
  /** What the database's clock says, in milliseconds since 1970. */
  readonly now: () => number
  readonly setClock: (at: number) => Promise<void>
  readonly advance: (ms: number) => Promise<void>
}

/** Where every test's clock begins. */
export const START = Date.UTC(2024, 0, 15, 10, 30)

const EMPTY = "template template0 encoding 'UTF8' lc_collate 'C' lc_ctype 'C'"

/** Puts a function of the same name where it can be found first: the service's own SQL then runs unchanged, by a clock that the test moves. */
const MOVED_CLOCK = `
  create schema moved;
  create table moved.clock (at timestamptz not null);
  insert into moved.clock values (to_timestamp(${START} / 1000.0));
  create function moved.clock_timestamp() returns timestamptz language sql volatile as 'select at from moved.clock'`

export type DatabaseName = 'sqlite' | 'postgres'
export const DATABASES: readonly DatabaseName[] = ['sqlite', 'postgres']

/**
 * A database of the newest version, a copy of one that was migrated once.
 *
 * @param clock `real` for what must be seen in real time.
 */
export function freshDatabase(name: DatabaseName, clock: 'moved' | 'real' = 'moved'): Promise<TestDatabase> {
  return name === 'sqlite' ? sqliteDatabase(clock, process.env['TEST_SQLITE_TEMPLATE']) : postgresDatabase(clock, process.env['TEST_DATABASE_TEMPLATE'])
}

/** A database without a table, by its own clock: for tests of what is done to one. */
export function emptyDatabase(name: DatabaseName): Promise<TestDatabase> {
  return name === 'sqlite' ? sqliteDatabase('real') : postgresDatabase('real')
}

async function sqliteDatabase(clock: 'moved' | 'real', template?: string): Promise<TestDatabase> {
  const folder = await mkdtemp(join(tmpdir(), 'rlm-sqlite-'))
  const file = join(folder, 'locks.db')
  if (template !== undefined) await copyFile(template, file)
  return {
    url: `sqlite:${file}`,
    ...clockThat(() => Promise.resolve()),
    ...(clock === 'real' ? { now: Date.now } : {}),
    [Symbol.asyncDispose]: () => rm(folder, { recursive: true, force: true })
  }
}

async function postgresDatabase(clock: 'moved' | 'real', template?: string): Promise<TestDatabase> {
  const name = `test_${randomBytes(8).toString('hex')}`
  await onServer(
    serverUrl(),
    `create database ${name} ${template === undefined ? EMPTY : `template ${template}`}`,
    ...(clock === 'moved' ? [`alter database ${name} set search_path = public, moved, pg_catalog`] : [])
  )
  const url = Object.assign(new URL(serverUrl()), { pathname: `/${name}` }).href
  if (clock === 'moved' && template === undefined) await onServer(url, MOVED_CLOCK)
  return {
    url,
    ...clockThat((at) => onServer(url, `update moved.clock set at = to_timestamp(${at} / 1000.0)`)),
    [Symbol.asyncDispose]: () => onServer(serverUrl(), `drop database if exists ${name} with (force)`)
  }
}

function clockThat(tell: (at: number) => Promise<void>) {
  let at = START
  const setClock = (to: number): Promise<void> => {
    at = to
    return tell(to)
  }
  return { now: () => at, setClock, advance: (ms: number) => setClock(at + ms) }
}

/**
 * What {@link freshDatabase} copies, for as long as it is not disposed of; `env` tells the tests of it. Migrating each database
 * anew would take longer than many a test.
 */
export async function databaseTemplates(server: string): Promise<AsyncDisposable & { readonly env: Readonly<Record<string, string>> }> {
  const name = `test_${randomBytes(8).toString('hex')}_template`
  const url = Object.assign(new URL(server), { pathname: `/${name}` }).href
  await onServer(server, `create database ${name} ${EMPTY}`)
  await onServer(url, MOVED_CLOCK)
  await migrateDatabase(url)
  const folder = await mkdtemp(join(tmpdir(), 'rlm-template-'))
  const file = join(folder, 'locks.db')
  await migrateDatabase(`sqlite:${file}`)
  return {
    env: { TEST_SQLITE_TEMPLATE: file, TEST_DATABASE_TEMPLATE: name },
    [Symbol.asyncDispose]: async () => {
      await onServer(server, `drop database ${name} with (force)`)
      await rm(folder, { recursive: true, force: true })
    }
  }
}

/** The server that `npm test` started, or the one that the caller names. */
export function serverUrl(): string {
  const url = process.env['TEST_DATABASE_URL']
  if (url === undefined) throw new Error('TEST_DATABASE_URL is not set; run the tests with npm test')
  return url
}

/** Runs SQL on a test's database beside the service. */
export async function besideService({ url }: TestDatabase, statement: string): Promise<void> {
  if (url.startsWith('postgres')) return onServer(url, statement)
  const file = new Database(url.slice('sqlite:'.length))
  file.exec(statement)
  file.close()
}

/** Runs SQL by a connection of its own, one statement after the other. */
export async function onServer(url: string, ...statements: readonly string[]): Promise<void> {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  try {
    for (const statement of statements) await client.query(statement)
  } finally {
    await client.end()
  }
}

/** The path in the URL of a SQLite database. */
export function fileOf(url: string): string {
  return url.slice('sqlite:'.length)
}
