import pg from 'pg'
import type { Wakeup } from './wait-queue.js'

/** The `application_name` of the connection. Each running instance has one. */
export const LISTENER_NAME = 'resource-lock-manager listener'

const RECONNECT_MS = 250

export interface ListenerOptions {
  readonly url: string
  readonly instance: string
  readonly onWakeup: (ticket: number) => void
  readonly onError: (error: Error) => void
}

/**
 * Sends wake-ups from the instance that freed a resource to the one where the head of its queue waits, by NOTIFY on a
 * connection of its own. Wake-ups are hints: while the connection is down none arrives, and waiters retry by themselves.
 */
export class Listener implements AsyncDisposable {
  readonly #options: ListenerOptions
  #client: pg.Client | undefined
  #timer: NodeJS.Timeout | undefined
  #closed = false
  /** It is away, and its error was handed over. */
  #failing = false

  constructor(options: ListenerOptions) {
    this.#options = options
  }

  async start(): Promise<void> {
    const client = new pg.Client({
      connectionString: this.#options.url,
      connectionTimeoutMillis: 3000,
      keepAlive: true,
      // Wake-ups do not wait for each other, nor forever for a silent connection.
      pipeline: true,
      query_timeout: 5000,
      application_name: LISTENER_NAME
    })
    client.on('error', (error) => this.#fail(error))
    client.on('notification', ({ payload }) => this.#options.onWakeup(Number(payload)))
    client.on('end', () => {
      if (this.#client === client) this.#startAgain()
    })
    this.#client = client
    try {
      await client.connect()
      await client.query(`listen ${channelOf(this.#options.instance)}`)
      // A program that did not dispose of its locks ends all the same; a server has its own socket.
      unref(client)
      this.#failing = false
    } catch (error) {
      // Otherwise a connection that cannot listen would stay open beside the next one.
      client.end().catch(() => undefined)
      throw error
    }
  }

  send({ instance, ticket }: Wakeup): void {
    if (instance === this.#options.instance) {
      setImmediate(() => this.#options.onWakeup(ticket))
      return
    }
    this.#client?.query('select pg_notify($1, $2)', [channelOf(instance), String(ticket)]).catch((error: unknown) => this.#fail(error))
  }

  #fail(error: unknown): void {
    if (this.#failing) return
    this.#failing = true
    this.#options.onError(error instanceof Error ? error : new Error(String(error)))
  }

  #startAgain(): void {
    if (this.#closed || this.#timer !== undefined) return
    this.#timer = setTimeout(() => {
      this.#timer = undefined
      this.start().catch((error: unknown) => {
        this.#fail(error)
        this.#startAgain()
      })
    }, RECONNECT_MS)
    this.#timer.unref()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true
    clearTimeout(this.#timer)
    const awake = setInterval(() => undefined, 1000)
    await this.#client?.end().catch(() => undefined)
    clearInterval(awake)
  }
}

function channelOf(instance: string): string {
  return `rlm_${instance}`
}

/** The driver's types leave this method out. */
function unref(client: pg.Client): void {
  if ('unref' in client && typeof client.unref === 'function') client.unref()
}
