import { setTimeout as sleep } from 'node:timers/promises'
import Database from 'better-sqlite3'
import pg from 'pg'
import { parseDatabaseUrl } from '../../src/storage/index.js'
import { fileOf, serverUrl, type TestDatabase } from './databases.js'
import { eventually } from './eventually.js'

/** A PostgreSQL session of the test's own, to get in the service's way. */
export class Session implements AsyncDisposable {
  readonly #url: string
  readonly #client: pg.Client

  private constructor(url: string, client: pg.Client) {
    this.#url = url
    this.#client = client
  }

  static async open(url: string): Promise<Session> {
    const client = new pg.Client({ connectionString: url })
    // A server that the test kills must not end the test.
    client.on('error', () => undefined)
    await client.connect()
    return new Session(url, client)
  }

  async run<Row extends object>(text: string, values: readonly unknown[] = []): Promise<Row[]> {
    return (await this.#client.query<Row>(text, [...values])).rows
  }

  /** Resolves when that many sessions of this database wait for a lock. */
  async untilWaiting(sessions = 1): Promise<void> {
    await using other = await Session.open(this.#url)
    await eventually(`${sessions} sessions wait`, async () => {
      const waiting = await other.run(`select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`)
      return waiting.length >= sessions || undefined
    })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#client.end()
  }
}

export interface Blocked extends AsyncDisposable {
  /** Resolves when the service waits, as far as can be seen from outside. */
  untilWaiting(): Promise<void>
}

/** Until it is disposed of, no lock of that database is granted or released: the service waits. */
export async function blockCommits(url: string): Promise<Blocked> {
  if (url.startsWith('sqlite:')) {
    const file = new Database(fileOf(url))
    file.exec('begin immediate')
    return {
      // SQLite does not say who waits.
      untilWaiting: () => sleep(5),
      [Symbol.asyncDispose]: async () => {
        file.exec('rollback')
        file.close()
      }
    }
  }
  const session = await Session.open(url)
  await session.run('begin')
  await session.run('lock table resource_locks in exclusive mode')
  return {
    untilWaiting: () => session.untilWaiting(),
    [Symbol.asyncDispose]: async () => {
      await session.run('rollback')
      await session[Symbol.asyncDispose]()
    }
  }
}

const WAITING = `select pid from pg_stat_activity where wait_event = 'SyncRep'`

/** Until disposed of, commits happen and are not confirmed: they wait for a standby that is not there. */
export async function unconfirmed(url: string) {
  const session = await Session.open(url)
  await using probe = await Session.open(url)
  const standbys = async (names: string): Promise<void> => {
    await session.run(`alter system set synchronous_standby_names = '${names}'`)
    await session.run('select pg_reload_conf()')
  }
  const commit = (by: Session) => by.run("select pg_logical_emit_message(true, 'test', 'a commit')")
  const waiting = () => session.run(WAITING)
  await standbys('nobody')
  // The server reads its settings in its own time.
  const seen = new AbortController()
  const probing = (async () => {
    while (!seen.signal.aborted) await commit(probe)
  })()
  await eventually('commits are not confirmed', async () => ((await waiting()).length > 0 ? true : undefined))
  seen.abort()
  await session.run(`select pg_cancel_backend(pid) from (${WAITING}) as waiting`)
  await probing
  const untilCommitted = () => eventually('a commit waits for its confirmation', async () => ((await waiting()).length > 0 ? true : undefined))
  return {
    /** Resolves when some commit has happened and waits for its confirmation. */
    untilCommitted,
    /** Ends the connections of commits that wait, once there is one. */
    async cut(): Promise<void> {
      await untilCommitted()
      await session.run(`select pg_terminate_backend(pid) from (${WAITING}) as waiting`)
    },
    async [Symbol.asyncDispose](): Promise<void> {
      await standbys('')
      // It is confirmed once the server has read that.
      await commit(session)
      await session[Symbol.asyncDispose]()
    }
  }
}

/** Lets nobody into a PostgreSQL database and cuts every connection to it, for as long as the body takes. */
export async function duringOutage(database: TestDatabase, body: () => Promise<void>): Promise<void> {
  const location = parseDatabaseUrl(database.url)
  const name = location.kind === 'postgres' ? new URL(location.url).pathname.slice(1) : ''
  const operator = new pg.Client({ connectionString: serverUrl() })
  await operator.connect()
  const allow = (yes: boolean) => operator.query(`alter database ${name} with allow_connections ${yes}`)
  try {
    await allow(false)
    for (let left = 1; left > 0; ) {
      left = (await operator.query('select pg_terminate_backend(pid) from pg_stat_activity where datname = $1', [name])).rows.length
    }
    await body()
    await allow(true)
  } finally {
    await operator.end()
  }
}
