import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'

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

  /** Resolves when some other session of this database waits for a lock that this one holds. */
  async untilWaitedFor(sessions = 1): Promise<void> {
    await using other = await Session.open(this.#url)
    const [me] = await this.run<{ pid: number }>('select pg_backend_pid() as pid')
    for (const deadline = Date.now() + 10_000; Date.now() < deadline; await sleep(20)) {
      const waiting = await other.run('select from pg_stat_activity where $1 = any(pg_blocking_pids(pid))', [me?.pid])
      if (waiting.length >= sessions) return
    }
    throw new Error('nobody waits for this session')
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#client.end()
  }
}
