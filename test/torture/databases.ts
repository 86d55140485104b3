import { rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import Database from 'better-sqlite3'
import type { Sighting } from './checker/queue-order.js'
import { onServer } from '../../scripts/database-templates.js'
import { PostgresServer } from '../../scripts/postgres-server.js'
import { inProject } from '../support/program.js'
import { Session } from '../support/session.js'

/** A database that can be hurt. */
export interface Victim extends AsyncDisposable {
  /** What a server is to be started with. */
  readonly url: string
  /** What else a server needs, so that the clock can be set. */
  readonly settings: Readonly<Record<string, string>>
  /** Sets the clock by which locks are kept so far before or behind the real one. */
  setClock(shiftMs: number): Promise<void>
  /** The places in line that count now; rejects while the database is away. @param starts how often the servers were started. */
  sight(starts: number): Promise<Sighting[]>
}

interface PlaceRow {
  readonly resource_name: string
  readonly ticket: string
  readonly process_id: string
  readonly until: number | null
  readonly allows: number | string | null
}

/** A SQLite file of one server process, by whose clock it lives. */
export class SqliteVictim implements Victim {
  readonly url: string
  readonly settings: Readonly<Record<string, string>>
  readonly #file: string
  readonly #clock: string

  private constructor(folder: string) {
    this.#file = join(folder, 'locks.db')
    this.#clock = join(folder, 'clock')
    this.url = `sqlite:${this.#file}`
    this.settings = { NODE_OPTIONS: `--import=${inProject('dist/test/torture/moved-clock.js')}`, TORTURE_CLOCK: this.#clock }
  }

  static async start(folder: string): Promise<SqliteVictim> {
    const victim = new SqliteVictim(folder)
    await victim.setClock(0)
    return victim
  }

  async setClock(shiftMs: number): Promise<void> {
    await writeFile(`${this.#clock}.next`, String(shiftMs))
    await rename(`${this.#clock}.next`, this.#clock)
  }

  /** Whether the server, which is stopped, is in the middle of a transaction. */
  isInTransaction(): Promise<boolean> {
    const other = new Database(this.#file, { timeout: 0 })
    try {
      other.exec('begin immediate; rollback')
      return Promise.resolve(false)
    } catch {
      return Promise.resolve(true)
    } finally {
      other.close()
    }
  }

  /** Opens the file anew each time: a connection that stays would spare a killed server's successor the recovery. */
  sight(starts: number): Promise<Sighting[]> {
    const reader = new Database(this.#file, { readonly: true, timeout: 0 })
    try {
      const from = Date.now()
      const rows = reader
        .prepare('select resource_name, ticket, process_id, allows, lease_until as until from lock_waiters where lease_until is null or lease_until > ?')
        .all(from) as PlaceRow[]
      const to = Date.now()
      // A process counts its tickets anew.
      return Promise.resolve(rows.map((row) => sightingOf({ ...row, ticket: `${starts}/${row.ticket}` }, from, to)))
    } finally {
      reader.close()
    }
  }

  /** Keeps the server from writing, as a backup would; resolves to false when it was writing itself. */
  async occupy(ms: number): Promise<boolean> {
    const other = new Database(this.#file, { timeout: 50 })
    try {
      other.exec('begin immediate')
      await sleep(ms)
      other.exec('rollback')
      return true
    } catch {
      return false
    } finally {
      other.close()
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // Nothing is kept open.
  }
}

/** As {@link freshDatabase} has it, but going on: the service's own SQL runs unchanged, by a clock that is off. */
const MOVED_CLOCK = `
  create schema moved;
  create table moved.clock (shift_ms bigint not null);
  insert into moved.clock values (0);
  create function moved.clock_timestamp() returns timestamptz language sql volatile as
    'select pg_catalog.clock_timestamp() + shift_ms * interval ''1 millisecond'' from moved.clock';
  alter database postgres set search_path = public, moved, pg_catalog`

/** A PostgreSQL server of its own. */
export class PostgresVictim implements Victim {
  readonly settings = {}
  readonly #server: PostgresServer
  #session: Session | undefined

  private constructor(server: PostgresServer) {
    this.#server = server
  }

  static async start(): Promise<PostgresVictim> {
    const server = await PostgresServer.start()
    await onServer(server.url, MOVED_CLOCK)
    return new PostgresVictim(server)
  }

  get url(): string {
    return this.#server.url
  }

  get port(): number {
    return this.#server.port
  }

  async sight(): Promise<Sighting[]> {
    const from = Date.now()
    try {
      this.#session ??= await Session.open(this.url)
      const rows = await this.#session.run<PlaceRow>(
        `select w.resource_name, w.ticket, w.process_id, w.allows, coalesce(w.lease_until, i.lease_until)::float as until
         from lock_waiters w left join lock_instances i on i.instance = w.instance
         where coalesce(w.lease_until, i.lease_until) > extract(epoch from clock_timestamp()) * 1000`
      )
      const to = Date.now()
      return rows.map((row) => sightingOf(row, from, to))
    } catch (error) {
      const session = this.#session
      this.#session = undefined
      void session?.[Symbol.asyncDispose]().catch(() => undefined)
      throw error
    }
  }

  setClock(shiftMs: number): Promise<void> {
    return onServer(this.url, `update moved.clock set shift_ms = ${shiftMs}`)
  }

  /** Whether a server, which is stopped, is in the middle of a transaction. @param ports of its connections. */
  async isInTransaction(ports: readonly number[]): Promise<boolean> {
    await using session = await Session.open(this.url)
    const rows = await session.run("select from pg_stat_activity where state like 'idle in transaction%' and client_port = any($1)", [ports])
    return rows.length > 0
  }

  /** SIGKILL, and a start after a while. */
  async crash(downMs: number): Promise<void> {
    await this.#server.stop('SIGKILL')
    await sleep(downMs)
    await this.#server.boot()
  }

  /** Ends connections of the service from the server's side. */
  async terminate(which: 'listeners' | 'workers'): Promise<void> {
    const name = which === 'listeners' ? 'resource-lock-manager listener' : 'resource-lock-manager'
    await using session = await Session.open(this.url)
    await session.run('select pg_terminate_backend(pid) from pg_stat_activity where application_name = $1', [name])
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#session?.[Symbol.asyncDispose]().catch(() => undefined)
    await this.#server[Symbol.asyncDispose]()
  }
}

function sightingOf({ resource_name: resource, ticket, process_id: process, until, allows }: PlaceRow, from: number, to: number): Sighting {
  return { resource, ticket, process, from, to, until: until ?? Number.POSITIVE_INFINITY, isUnlimited: allows === null }
}
