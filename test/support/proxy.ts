import { once } from 'node:events'
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net'

type Direction = 'requests' | 'answers'

/**
 * A TCP proxy on loopback that fails on demand. A test holds one direction back, waits until something was held, and then
 * cuts: held requests never reach the server, while the held answer to a commit means that it happened and nobody knows.
 */
export class Proxy implements AsyncDisposable {
  readonly #server: Server
  #targetPort: number
  readonly #pairs = new Set<readonly [Socket, Socket]>()
  #held: Direction | undefined
  #onHeld: (() => void) | undefined
  #latencyMs = 0
  #before: ((request: Buffer) => Promise<void> | undefined) | undefined
  /** What is on its way to each socket, and when it arrives there. */
  readonly #late = new Map<Socket, { readonly at: number; readonly bytes: Buffer }[]>()

  private constructor(targetPort: number) {
    this.#targetPort = targetPort
    this.#server = createServer((client) => {
      const server = connect(this.#targetPort, '127.0.0.1')
      const pair = [client, server] as const
      this.#pairs.add(pair)
      for (const socket of pair) {
        socket.setNoDelay()
        socket.on('error', () => undefined)
        socket.on('close', () => this.#end(pair))
      }
      let passed = Promise.resolve()
      client.on('data', (bytes) => {
        if (this.#before === undefined) return this.#pass('requests', bytes, server)
        passed = passed.then(() => this.#before?.(bytes)).then(() => this.#pass('requests', bytes, server))
      })
      server.on('data', (bytes) => this.#pass('answers', bytes, client))
    })
  }

  static async start(targetPort: number): Promise<Proxy> {
    const proxy = new Proxy(targetPort)
    proxy.#server.listen(0, '127.0.0.1')
    await once(proxy.#server, 'listening')
    return proxy
  }

  /** The same URL, through the proxy. */
  through(url: string): string {
    return Object.assign(new URL(url), { port: String((this.#server.address() as AddressInfo).port) }).href
  }

  /** The ports from which it is connected to the server. */
  get outgoingPorts(): number[] {
    return [...this.#pairs].flatMap(([, server]) => server.localPort ?? [])
  }

  /** New connections go there from now on. */
  retarget(port: number): void {
    this.#targetPort = port
  }

  /** From now on that direction gets no further. Resolves when something was held back. */
  hold(direction: Direction): Promise<void> {
    this.#held = direction
    return new Promise((resolve) => {
      this.#onHeld = resolve
    })
  }

  /** From now on that happens before a request gets any further. */
  intercept(before: (request: Buffer) => Promise<void> | undefined): void {
    this.#before = before
  }

  /** From now on everything takes so much longer to arrive, in each direction; 0 ends that. */
  slow(latencyMs: number): void {
    this.#latencyMs = latencyMs
  }

  /** Ends all connections as a broken network does, and lets new ones pass. */
  cut(): void {
    this.#held = undefined
    for (const pair of this.#pairs) this.#end(pair)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.cut()
    this.#server.close()
    await once(this.#server, 'close')
  }

  #pass(direction: Direction, bytes: Buffer, to: Socket): void {
    if (this.#held === direction) this.#onHeld?.()
    else this.#send(bytes, to)
  }

  /** Nothing overtakes what was sent before, whatever the latency was then. */
  #send(bytes: Buffer, to: Socket): void {
    const late = this.#late.get(to)
    if (late !== undefined) late.push({ at: Date.now() + this.#latencyMs, bytes })
    else if (this.#latencyMs === 0) to.write(bytes)
    else {
      this.#late.set(to, [{ at: Date.now() + this.#latencyMs, bytes }])
      this.#deliver(to)
    }
  }

  #deliver(to: Socket): void {
    const [next] = this.#late.get(to) ?? []
    if (next === undefined || to.destroyed) return void this.#late.delete(to)
    setTimeout(() => {
      this.#late.get(to)?.shift()
      if (!to.destroyed) to.write(next.bytes)
      this.#deliver(to)
    }, next.at - Date.now())
  }

  #end(pair: readonly [Socket, Socket]): void {
    if (!this.#pairs.delete(pair)) return
    for (const socket of pair) {
      // libuv resets nothing that is being shut down, and Node would spin at its end over the handle that is left.
      if (socket.connecting || socket.writableEnded) socket.destroy()
      else socket.resetAndDestroy()
    }
  }
}
