import { randomBytes } from 'node:crypto'
import { copyFile, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import Database from 'better-sqlite3'
import pg from 'pg'
import { EMPTY, onServer, START } from '../../scripts/database-templates.js'

/** A fresh database for one test whose clock stands still until the test moves it. */
export interface TestDatabase extends AsyncDisposable {
  readonly url: string
  /** What the database's clock says, in milliseconds since 1970. */
  readonly now: () => number
  readonly setClock: (at: number) => Promise<void>
  readonly advance: (ms: number) => Promise<void>
}

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
  const server = poolOf(serverUrl())
  // By default, the copy would be written to the server's log as well.
  await server.query(`create database ${name} ${template === undefined ? EMPTY : `template ${template} strategy file_copy`}`)
  if (clock === 'moved') await server.query(`alter database ${name} set search_path = public, moved, pg_catalog`)
  const url = Object.assign(new URL(serverUrl()), { pathname: `/${name}` }).href
  const pool = poolOf(url)
  return {
    url,
    ...clockThat(async (at) => {
      await pool.query(`update moved.clock set at = to_timestamp(${at} / 1000.0)`)
    }),
    [Symbol.asyncDispose]: async () => {
      await pool.end()
      await server.query(`drop database if exists ${name} with (force)`)
      await server.end()
    }
  }
}

/** One connection, opened when it is needed, which keeps no process alive. */
function poolOf(connectionString: string): pg.Pool {
  const pool = new pg.Pool({ connectionString, max: 1, allowExitOnIdle: true })
  // A test may have ended all connections: the next statement opens another.
  return pool.on('error', () => undefined)
}

function clockThat(write: (at: number) => Promise<void>) {
  let at = START
  const setClock = (to: number): Promise<void> => {
    at = to
    return write(to)
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

/** The path in the URL of a SQLite database. */
export function fileOf(url: string): string {
  return url.slice('sqlite:'.length)
}
