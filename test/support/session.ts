import pg from 'pg'
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
