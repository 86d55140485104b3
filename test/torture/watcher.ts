import { request } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Recorded } from './checker/recorded.js'
import type { Random } from '../support/random.js'
import type { Cluster } from './cluster.js'
import type { Key } from './keys.js'
import { recordedOf, type WireEvent } from './wire-events.js'

/** How long it stays on one connection, in milliseconds. */
const LEAST_STAY_MS = 50
const MOST_STAY_MS = 3000

export interface WatcherOptions {
  readonly name: string
  readonly cluster: Cluster
  readonly random: Random
  readonly key: Key
  /** Begins with the first event there is, and not with what happens from now on. */
  readonly fromTheStart: boolean
}

/** Reads the stream of events, hangs up again and again, and goes on after the last event that it saw, wherever it is answered. */
export class Watcher implements AsyncDisposable {
  /** What it was told, in the order in which it was told. */
  readonly events: Recorded[] = []
  readonly faults: string[] = []
  connections = 0
  readonly name: string
  readonly #options: WatcherOptions
  readonly #over = new AbortController()
  #lastId: string | undefined
  #running: Promise<void> | undefined

  constructor(options: WatcherOptions) {
    this.name = options.name
    this.#options = options
    this.#lastId = options.fromTheStart ? '0' : undefined
  }

  /** Resolves once the first stream has begun: from then on it must not miss anything. */
  async start(): Promise<void> {
    await new Promise<void>((begun) => void (this.#running = this.#run(begun)))
  }

  /** Forgets what it was told. */
  forget(): void {
    this.events.length = 0
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#over.abort()
    await this.#running
  }

  async #run(begun: () => void): Promise<void> {
    const { cluster, random } = this.#options
    while (!this.#over.signal.aborted) {
      const address = await cluster.address(random)
      await this.#read(address, random.whole(LEAST_STAY_MS, MOST_STAY_MS), begun)
      await sleep(random.whole(0, 200))
    }
  }

  /** One connection, to its end. */
  async #read(address: string, stayMs: number, begun: () => void): Promise<void> {
    const headers = { authorization: `Bearer ${this.#options.key.secret}`, ...(this.#lastId === undefined ? {} : { 'last-event-id': this.#lastId }) }
    await new Promise<void>((resolve) => {
      const asked = request(`${address}/locks/watch`, { headers, agent: false }, (response) => {
        let text = ''
        response.setEncoding('utf8').on('data', (chunk: string) => {
          if (response.statusCode !== 200 || this.#over.signal.aborted) return
          begun()
          // A watcher that has only heard of the start begins at the beginning the next time.
          this.#lastId ??= '0'
          const messages = (text + chunk).split('\n\n')
          text = messages.pop() ?? ''
          for (const message of messages) this.#take(message)
        })
        response.on('error', () => undefined)
      })
      const hangUp = (): void => void asked.destroy()
      const timer = setTimeout(hangUp, stayMs)
      this.#over.signal.addEventListener('abort', hangUp)
      asked.on('error', () => undefined)
      asked.on('close', () => {
        clearTimeout(timer)
        this.#over.signal.removeEventListener('abort', hangUp)
        resolve()
      })
      asked.end()
    })
    this.connections += 1
  }

  #take(message: string): void {
    const fields = new Map(message.split('\n').map((line) => [line.slice(0, line.indexOf(':')), line.slice(line.indexOf(':') + 1).trim()]))
    const data = fields.get('data')
    if (data === undefined) return
    if (fields.get('event') === 'end') {
      if (!/draining/.test(data)) this.faults.push(`${this.name} was told ${data} after ${this.#lastId}`)
      return
    }
    this.#lastId = fields.get('id')
    this.events.push(recordedOf(JSON.parse(data) as WireEvent))
  }
}
