import { randomBytes } from 'node:crypto'
import { closeSync, fdatasyncSync, fsyncSync, openSync, writeSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import pg from 'pg'
import { PostgresServer } from '../postgres-server.js'
import { startEtcd, startRedis, type Peer } from './peers.js'

/** How long and how often to measure. */
export interface Effort {
  readonly rounds: number
  readonly warmUpMs: number
  readonly measureMs: number
  readonly liveLocks: readonly number[]
  readonly waiters: readonly number[]
  readonly expiredRows: number
  readonly handOvers: number
  /** How long events are watched. */
  readonly watchMs: number
  /** How many instances to measure one after another. */
  readonly instances: readonly number[]
}

/** Where the servers under test keep their locks: a folder, a PostgreSQL as it comes, and Redis and etcd where they are installed. */
export interface Surroundings extends AsyncDisposable {
  readonly effort: Effort
  /** Folders of other builds of this project to measure beside this one. */
  readonly against: readonly string[]
  readonly postgres: { readonly pid: number; readonly version: string }
  readonly redis: Peer | undefined
  /** A Redis that flushes before each answer. */
  readonly durableRedis: Peer | undefined
  readonly etcd: Peer | undefined
  /** The URL of a new, empty database. */
  readonly freshUrl: (kind: 'sqlite' | 'postgres') => Promise<string>
  /** How long the disk of the databases takes for a flush after a small write, in milliseconds: so many, one after another. */
  readonly flushes: (times: number) => number[]
}

export async function surroundings(effort: Effort, against: readonly string[]): Promise<Surroundings> {
  const folder = await mkdtemp(join(tmpdir(), 'rlm-bench-'))
  const postgres = await PostgresServer.start()
  const peers = { redis: await startRedis(folder, 'memory'), durableRedis: await startRedis(folder, 'disk'), etcd: await startEtcd(folder) }
  const [{ version } = { version: '' }] = await onServer<{ version: string }>(postgres.url, `select current_setting('server_version') as version`)
  return {
    effort,
    against,
    ...peers,
    postgres: { pid: postgres.pid, version },
    flushes: (times) => flushes(join(folder, 'flushed'), times),
    async freshUrl(kind) {
      const name = `bench_${randomBytes(6).toString('hex')}`
      if (kind === 'sqlite') return `sqlite:${join(folder, name)}.db`
      await onServer(postgres.url, `create database ${name} template template0 encoding 'UTF8' lc_collate 'C' lc_ctype 'C'`)
      return Object.assign(new URL(postgres.url), { pathname: `/${name}` }).href
    },
    async [Symbol.asyncDispose]() {
      for (const peer of Object.values(peers)) await peer?.[Symbol.asyncDispose]()
      await postgres[Symbol.asyncDispose]()
      await rm(folder, { recursive: true, force: true })
    }
  }
}

/** Each overwrites a page of a file whose size stays, as a log does that is used again. */
function flushes(file: string, times: number): number[] {
  const handle = openSync(file, 'w')
  try {
    writeSync(handle, Buffer.alloc(4096 * times))
    fsyncSync(handle)
    return Array.from({ length: times }, (_, page) => {
      writeSync(handle, Buffer.alloc(4096, 1), 0, 4096, page * 4096)
      const from = performance.now()
      fdatasyncSync(handle)
      return performance.now() - from
    })
  } finally {
    closeSync(handle)
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
