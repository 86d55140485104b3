import { randomBytes } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import pg from 'pg'
import { PostgresServer } from '../postgres-server.js'
import { startRedis } from './processes.js'

/** How long and how often to measure. */
export interface Effort {
  readonly rounds: number
  readonly warmUpMs: number
  readonly measureMs: number
  readonly liveLocks: readonly number[]
  readonly expiredRows: number
  readonly handOvers: number
  /** How many instances to measure one after another. */
  readonly instances: readonly number[]
}

/** Where the servers under test keep their locks: a folder, a PostgreSQL as it comes, and a Redis where there is one. */
export interface Surroundings extends AsyncDisposable {
  readonly effort: Effort
  /** Folders of other builds of this project to measure beside this one. */
  readonly against: readonly string[]
  readonly redis: { readonly port: number; readonly version: string } | undefined
  readonly postgresVersion: string
  /** The URL of a new, empty database. */
  readonly freshUrl: (kind: 'sqlite' | 'postgres') => Promise<string>
}

export async function surroundings(effort: Effort, against: readonly string[]): Promise<Surroundings> {
  const folder = await mkdtemp(join(tmpdir(), 'rlm-bench-'))
  const postgres = await PostgresServer.start()
  const redis = await startRedis()
  const [{ version } = { version: '' }] = await onServer<{ version: string }>(postgres.url, `select current_setting('server_version') as version`)
  return {
    effort,
    against,
    redis,
    postgresVersion: version,
    async freshUrl(kind) {
      const name = `bench_${randomBytes(6).toString('hex')}`
      if (kind === 'sqlite') return `sqlite:${join(folder, name)}.db`
      await onServer(postgres.url, `create database ${name} template template0 encoding 'UTF8' lc_collate 'C' lc_ctype 'C'`)
      return Object.assign(new URL(postgres.url), { pathname: `/${name}` }).href
    },
    async [Symbol.asyncDispose]() {
      await redis?.[Symbol.asyncDispose]()
      await postgres[Symbol.asyncDispose]()
      await rm(folder, { recursive: true, force: true })
    }
  }
}

export async function onServer<Row extends object>(url: string, statement: string): Promise<Row[]> {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  try {
    const { rows } = await client.query<Row>(statement)
    return rows
  } finally {
    await client.end()
  }
}
