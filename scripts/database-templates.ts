import { randomBytes } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import pg from 'pg'
import { migrateDatabase } from '../src/storage/index.js'

/** Where every test's clock begins. */
export const START = Date.UTC(2024, 0, 15, 10, 30)

/** The end of a `create database` whose database has no table, and sorts by bytes. */
export const EMPTY = "template template0 encoding 'UTF8' lc_collate 'C' lc_ctype 'C'"

/** Shadows clock_timestamp(): the service's own SQL runs unchanged, by a clock that the test moves. */
const MOVED_CLOCK = `
  create schema moved;
  create table moved.clock (at timestamptz not null);
  insert into moved.clock values (to_timestamp(${START} / 1000.0));
  create function moved.clock_timestamp() returns timestamptz language sql volatile as 'select at from moved.clock'`

/**
 * One migrated database of each kind, which the tests copy: migrating every test's own would take longer than most tests.
 * `env` names them. They exist until this is disposed of.
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

/** Runs SQL by a connection of its own, one statement after the other. */
export async function onServer(url: string, ...statements: readonly string[]): Promise<void> {
  const client = new pg.Client({ connectionString: url })
  // A server that is killed fails the statement; that alone is heard.
  client.on('error', () => undefined)
  await client.connect()
  try {
    for (const statement of statements) await client.query(statement)
  } finally {
    await client.end()
  }
}
