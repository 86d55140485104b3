import type { Duplex } from 'node:stream'
import type { PoolClient } from 'pg'
import { toRow } from '../statement.js'
import { isConnectionLost } from './errors.js'
import type { PostgresStatement } from './sql.js'

/** What the driver's types leave out. */
interface Connected {
  readonly connection: { readonly stream: Duplex }
}

/** One connection for the length of one batch; remembers whether it broke. */
export class Session {
  readonly #client: PoolClient
  #lost: Error | undefined

  constructor(client: PoolClient) {
    this.#client = client
  }

  get lost(): Error | undefined {
    return this.#lost
  }

  /**
   * Sends at once, without waiting for the answers to what was sent before.
   *
   * Rows are fetched as arrays and made objects here: the driver copies a pattern for each row.
   */
  async run<Args extends object, Row>(compiled: PostgresStatement<Args, Row>, args: Args): Promise<Row[]> {
    const { name, sql: text, bind } = compiled
    try {
      const { rows, fields } = await this.#client.query({ name, text, values: bind(args), rowMode: 'array' })
      const columns = fields.map(({ name: column }) => column)
      return rows.map((values) => toRow(columns, values as readonly unknown[]) as Row)
    } catch (error) {
      if (isConnectionLost(error)) this.#lost = error instanceof Error ? error : new Error(String(error))
      throw error
    }
  }

  /** What is sent meanwhile leaves in one packet, so that PostgreSQL is woken once for all of it. */
  inOneGo<T>(send: () => T): T {
    const { stream } = (this.#client as PoolClient & Connected).connection
    stream.cork()
    try {
      return send()
    } finally {
      stream.uncork()
    }
  }

  /**
   * Sends statements without waiting in between. All of them have been answered when this settles, so that nothing of a
   * command that failed is still under way when it is tried again.
   */
  async together<Answers extends readonly unknown[]>(sent: readonly [...{ [I in keyof Answers]: Promise<Answers[I]> }]): Promise<Answers> {
    const settled = await Promise.allSettled<unknown>(sent as readonly Promise<unknown>[])
    return settled.map((result) => {
      if (result.status === 'rejected') throw result.reason
      return result.value
    }) as never
  }
}
