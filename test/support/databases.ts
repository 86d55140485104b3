import { randomBytes } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import Database from 'better-sqlite3'
import pg from 'pg'

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

export type DatabaseName = 'sqlite' | 'postgres'
export const DATABASES: readonly DatabaseName[] = ['sqlite', 'postgres']

/** @param clock `real` for what must be seen in real time. */
export function freshDatabase(name: DatabaseName, clock: 'moved' | 'real' = 'moved'): Promise<TestDatabase> {
  return name === 'sqlite' ? freshSqlite(clock) : freshPostgres(clock)
}

async function freshSqlite(clock: 'moved' | 'real'): Promise<TestDatabase> {
  const folder = await mkdtemp(join(tmpdir(), 'rlm-sqlite-'))
  return {
    url: `sqlite:${join(folder, 'locks.db')}`,
    ...clockThat(() => Promise.resolve()),
    ...(clock === 'real' ? { now: Date.now } : {}),
    [Symbol.asyncDispose]: () => rm(folder, { recursive: true, force: true })
  }
}

async function freshPostgres(clock: 'moved' | 'real'): Promise<TestDatabase> {
  const name = `test_${randomBytes(8).toString('hex')}`
  await onServer(serverUrl(), `create database ${name} template template0 encoding 'UTF8' lc_collate 'C' lc_ctype 'C'`)
  const url = Object.assign(new URL(serverUrl()), { pathname: `/${name}` }).href
  if (clock === 'moved') await moveClock(url, name)
  return {
    url,
    ...clockThat((at) => onServer(url, `update moved.clock set at = to_timestamp(${at} / 1000.0)`)),
    [Symbol.asyncDispose]: () => onServer(serverUrl(), `drop database if exists ${name} with (force)`)
  }
}

/** Puts a function of the same name where it is found first: the service's own SQL runs unchanged, by a clock that the test moves. */
function moveClock(url: string, name: string): Promise<void> {
  return onServer(
    url,
    `create schema moved;
     create table moved.clock (at timestamptz not null);
     insert into moved.clock values (to_timestamp(${START} / 1000.0));
     create function moved.clock_timestamp() returns timestamptz language sql volatile as 'select at from moved.clock';
     alter database ${name} set search_path = public, moved, pg_catalog`
  )
}

function clockThat(tell: (at: number) => Promise<void>) {
  let at = START
  const setClock = (to: number): Promise<void> => {
    at = to
    return tell(to)
  }
  return { now: () => at, setClock, advance: (ms: number) => setClock(at + ms) }
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

/** Runs SQL by a connection of its own. */
export async function onServer(url: string, statement: string): Promise<void> {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  try {
    await client.query(statement)
  } finally {
    await client.end()
  }
}

/** The path in the URL of a SQLite database. */
export function fileOf(url: string): string {
  return url.slice('sqlite:'.length)
}
