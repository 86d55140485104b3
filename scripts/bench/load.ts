import { connect, type Socket } from 'node:net'
import { quantile } from './figures.js'
import type { LoadResult, LoadSpec } from './messages.js'
import { openRedis } from './redis-store.js'

/**
 * The load, in a process of its own: so many connections, each with one request under way, for so long.
 *
 * A general load generator parses each answer in full and builds each request anew, and on two cores takes the time that
 * the server is being measured by. Here a request is three texts put together, all sockets read into one buffer, and of an
 * answer only its status and its length are read.
 */

const spec = JSON.parse(process.argv[2] ?? '{}') as LoadSpec
const TTL_SECONDS = 60
const DIGITS = 7

const phase = { measuring: false, over: false }
let latencies: number[] = []
const statuses: Record<string, number> = {}

let answers = 0

function answered(status: string, sentAt: number): void {
  answers += 1
  if (!phase.measuring) return
  latencies.push(performance.now() - sentAt)
  statuses[status] = (statuses[status] ?? 0) + 1
}

function someName(): string {
  return spec.prefix + String(Math.floor(Math.random() * spec.names)).padStart(DIGITS, '0')
}

/** What a socket reads into; an answer is looked at before the next is read. */
const BUFFER = Buffer.alloc(65_536)

/** Sends a request and resolves to the status of the answer. */
class Connection {
  readonly #socket: Socket
  #head = ''
  #status = ''
  /** Bytes of the answer that have yet to come. */
  #missing = 0
  #settle: ((status: string) => void) | undefined

  constructor(port: number) {
    const callback = (bytes: number): boolean => {
      this.#hear(bytes)
      return true
    }
    this.#socket = connect({ port, host: '127.0.0.1', noDelay: true, onread: { buffer: BUFFER, callback } })
    this.#socket.on('error', (error) => {
      process.stderr.write(`${String(error)}\n`)
      process.exit(1)
    })
  }

  ask(request: string): Promise<string> {
    return new Promise((resolve) => {
      this.#settle = resolve
      this.#socket.write(request, 'latin1')
    })
  }

  #hear(bytes: number): void {
    if (this.#missing > 0) this.#missing -= bytes
    else {
      this.#head += BUFFER.toString('latin1', 0, bytes)
      const headEnd = this.#head.indexOf('\r\n\r\n')
      if (headEnd === -1) return
      const at = this.#head.indexOf('content-length: ')
      this.#missing = headEnd + 4 + Number.parseInt(this.#head.slice(at + 16, at + 26), 10) - this.#head.length
      this.#status = this.#head.slice(9, 12)
      this.#head = ''
    }
    if (this.#missing === 0) this.#settle?.(this.#status)
  }
}

async function pairs(index: number): Promise<void> {
  const connection = new Connection(spec.port)
  const process = `bench-${String(index).padStart(3, '0')}`
  const start = '{"resource_name":"'
  const tail = `","process_id":"${process}","ttl_seconds":${TTL_SECONDS}${spec.asks ?? ''}}`
  const length = start.length + spec.prefix.length + DIGITS + tail.length
  const head = `POST /locks/request HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: ${length}\r\n\r\n${start}`
  const away = [`DELETE /locks/release?resource_name=`, `&process_id=${process} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n`] as const
  while (!phase.over) {
    const name = someName()
    let sentAt = performance.now()
    const status = await connection.ask(head + name + tail)
    answered(status, sentAt)
    if (status !== '200') continue
    sentAt = performance.now()
    answered(await connection.ask(away[0] + name + away[1]), sentAt)
  }
}

async function reads(url: () => string): Promise<void> {
  const connection = new Connection(spec.port)
  while (!phase.over) {
    const sentAt = performance.now()
    answered(await connection.ask(`GET ${url()} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n`), sentAt)
  }
}

async function redisPairs(index: number, redis: Awaited<ReturnType<typeof openRedis>>): Promise<void> {
  const owner = `bench-${index}`
  while (!phase.over) {
    const name = someName()
    let sentAt = performance.now()
    const taken = await redis.take(name, owner, TTL_SECONDS * 1000)
    answered(taken ? '200' : '409', sentAt)
    if (!taken) continue
    sentAt = performance.now()
    answered((await redis.give(name, owner)) ? '200' : '404', sentAt)
  }
}

async function main(): Promise<LoadResult> {
  const redis = spec.what === 'redis-pairs' ? await openRedis(spec.port) : undefined
  for (let index = 0; index < spec.connections; index += 1) {
    if (redis !== undefined) void redisPairs(index, redis)
    else if (spec.what === 'pairs') void pairs(index)
    else if (spec.what === 'status') void reads(() => `/locks/status?resource_name=${someName()}`)
    else void reads(() => '/locks/all-locked?limit=100')
  }
  await new Promise((resolve) => setTimeout(resolve, spec.warmUpMs))
  latencies = []
  phase.measuring = true
  const from = performance.now()
  await new Promise((resolve) => setTimeout(resolve, spec.measureMs))
  phase.measuring = false
  const seconds = (performance.now() - from) / 1000
  phase.over = true
  // What was taken is given back, so that the next run finds nothing held.
  await new Promise((resolve) => setTimeout(resolve, 50))
  latencies.sort((a, b) => a - b)
  return { requestsPerSecond: latencies.length / seconds, answers, p50: quantile(latencies, 0.5), p99: quantile(latencies, 0.99), statuses }
}

const result = await main()
process.send?.(result, () => process.exit())
