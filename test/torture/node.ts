import { setTimeout as sleep } from 'node:timers/promises'
import { freePort } from '../../scripts/postgres-server.js'
import { Proxy } from '../support/proxy.js'
import { Service } from '../support/service.js'

/** Starts in a row that may fail, for instance while the database is away. */
const MOST_STARTS = 60

/** One server process, and the ways to it: directly, or through a proxy that can be cut. */
export class Node implements AsyncDisposable {
  readonly name: string
  readonly url: string
  readonly proxy: Proxy
  /** How often it was started. */
  starts = 0
  /** A fault is being done to it. */
  busy = false
  readonly #settings: () => Readonly<Record<string, string>>
  readonly #cwd: string
  #service: Service | undefined

  private constructor(name: string, port: number, proxy: Proxy, cwd: string, settings: () => Readonly<Record<string, string>>) {
    this.name = name
    this.url = `http://127.0.0.1:${port}`
    this.proxy = proxy
    this.#cwd = cwd
    this.#settings = settings
  }

  /** @param settings asked anew at each start. */
  static async start(name: string, cwd: string, settings: () => Readonly<Record<string, string>>): Promise<Node> {
    const port = await freePort()
    const node = new Node(name, port, await Proxy.start(port), cwd, () => ({ ...settings(), PORT: String(port) }))
    await node.start()
    return node
  }

  /** Listening, as far as is known. */
  get up(): boolean {
    return this.#service?.alive === true
  }

  /** The same address through the proxy. */
  get viaProxy(): string {
    return this.proxy.through(this.url).replace(/\/$/, '')
  }

  /** Starts the process again and again until it listens. */
  async start(): Promise<void> {
    for (let tries = 1; ; tries += 1) {
      try {
        this.#service = await Service.start({ cwd: this.#cwd, settings: this.#settings() })
        this.starts += 1
        return
      } catch (error) {
        if (tries === MOST_STARTS) throw error
        await sleep(250)
      }
    }
  }

  /** Ends the process, if it runs, and waits until it is gone. */
  async stop(signal: 'SIGKILL' | 'SIGTERM'): Promise<void> {
    const service = this.#service
    this.#service = undefined
    if (service?.alive === true) await service.stop(signal)
  }

  async pause(ms: number): Promise<void> {
    await this.pauseWhen(() => Promise.resolve(true), ms)
  }

  /** Stops the process, and lets it go on at once unless it was caught in that moment. */
  async pauseWhen(caught: () => Promise<boolean>, ms: number): Promise<boolean> {
    const service = this.#service
    service?.signal('SIGSTOP')
    try {
      const isCaught = await caught()
      if (isCaught) await sleep(ms)
      return isCaught
    } finally {
      service?.signal('SIGCONT')
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop('SIGKILL')
    await this.proxy[Symbol.asyncDispose]()
  }
}
