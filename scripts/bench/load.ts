import { Connection } from './connection.js'
import { EtcdClient } from './etcd.js'
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
/** Longer than it takes until the next round renews the same locks. */
const RENEWED_SECONDS = 3600
const DIGITS = 7
/** As many as one request may name. */
const NAMES_AT_ONCE = 100

const phase = { measuring: false, over: false }
let latencies: number[] = []
const statuses: Record<string, number> = {}

let answers = 0

/** Sends one request and notes when and how it was answered. */
async function timed(ask: () => Promise<string>): Promise<string> {
  const sentAt = performance.now()
  const status = await ask()
  answers += 1
  if (phase.measuring) {
    latencies.push(performance.now() - sentAt)
    statuses[status] = (statuses[status] ?? 0) + 1
  }
  return status
}

function someName(): string {
  return nameOf(Math.floor(Math.random() * spec.names))
}

function nameOf(number: number): string {
  return spec.prefix + String(number).padStart(DIGITS, '0')
}

/** What one connection does over and over, until the load is over. */
type Loop = () => Promise<void>

function pairs(index: number): Loop {
  const connection = new Connection(spec.port)
  const process = `bench-${String(index).padStart(3, '0')}`
  const start = '{"resource_name":"'
  const tail = `","process_id":"${process}","ttl_seconds":${TTL_SECONDS}${spec.asks ?? ''}}`
  const length = start.length + spec.prefix.length + DIGITS + tail.length
  const head = `POST /locks/request HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: ${length}\r\n\r\n${start}`
  const away = [`DELETE /locks/release?resource_name=`, `&process_id=${process} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n`] as const
  return async () => {
    const name = someName()
    if ((await timed(() => connection.ask(head + name + tail))) === '200') await timed(() => connection.ask(away[0] + name + away[1]))
  }
}

/** Each connection renews a lock of its own. */
async function renewals(index: number): Promise<Loop> {
  const connection = new Connection(spec.port)
  const lock = `{"resource_name":"${nameOf(index)}","process_id":"bench-${index}","ttl_seconds":${RENEWED_SECONDS}}`
  await connection.post('/locks/request', lock)
  return async () => void (await timed(() => connection.post('/locks/renew', lock)))
}

/** Each connection renews its part of all names, a hundred with a request. */
async function renewalsOfMany(index: number): Promise<Loop> {
  const connection = new Connection(spec.port)
  const process = `bench-${index}`
  const own = spec.names / spec.connections
  const bodies: string[] = []
  for (let from = index * own; from < (index + 1) * own; from += NAMES_AT_ONCE) {
    const names = Array.from({ length: NAMES_AT_ONCE }, (_, at) => nameOf(from + at))
    await connection.post('/locks/request-many', JSON.stringify({ resource_names: names, process_id: process, ttl_seconds: RENEWED_SECONDS }))
    bodies.push(JSON.stringify({ process_id: process, locks: names.map((name) => ({ resource_name: name, ttl_seconds: RENEWED_SECONDS })) }))
  }
  let turn = 0
  return async () => void (await timed(() => connection.post('/locks/renew-many', bodies[(turn += 1) % bodies.length] ?? '')))
}

/** One place in the queue of one of the names, which another process holds. */
function wait(index: number): Loop {
  const connection = new Connection(spec.port)
  const body = JSON.stringify({ resource_name: nameOf(index % spec.names), process_id: `waiter-${index}`, ttl_seconds: 1, wait_seconds: TTL_SECONDS })
  return async () => void (await connection.post('/locks/request', body))
}

function reads(url: () => string): Loop {
  const connection = new Connection(spec.port)
  return async () => void (await timed(() => connection.ask(`GET ${url()} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n`)))
}

function redisPairs(index: number, redis: Awaited<ReturnType<typeof openRedis>>): Loop {
  const owner = `bench-${index}`
  return async () => {
    const name = someName()
    const status = await timed(async () => ((await redis.take(name, owner, TTL_SECONDS * 1000)) ? '200' : '409'))
    if (status === '200') await timed(async () => ((await redis.give(name, owner)) ? '200' : '404'))
  }
}

async function etcdPairs(kind: 'lock' | 'put'): Promise<Loop> {
  const etcd = await EtcdClient.open(spec.port, TTL_SECONDS, kind)
  return async () => {
    const name = someName()
    if ((await timed(() => etcd.take(name))) === '200') await timed(() => etcd.give(name))
  }
}

/** Makes what each connection does. */
async function maker(): Promise<(index: number) => Loop | Promise<Loop>> {
  switch (spec.what) {
    case 'pairs':
      return pairs
    case 'renew':
      return renewals
    case 'renew-many':
      return renewalsOfMany
    case 'wait':
      return wait
    case 'status':
      return () => reads(() => `/locks/status?resource_name=${someName()}`)
    case 'list':
      return () => reads(() => '/locks/all-locked?limit=100')
    case 'redis-pairs': {
      const redis = await openRedis(spec.port)
      return (index) => redisPairs(index, redis)
    }
    case 'etcd-lock':
      return () => etcdPairs('lock')
    case 'etcd-put':
      return () => etcdPairs('put')
  }
}

async function untilOver(loop: Loop): Promise<void> {
  while (!phase.over) await loop()
}

async function main(): Promise<LoadResult> {
  const make = await maker()
  const loops: Promise<Loop>[] = []
  for (let index = 0; index < spec.connections; index += 1) {
    loops.push(Promise.resolve(make(index)))
    // A server's system lets only some hundred connections wait to be accepted.
    if (index % 100 === 99) await new Promise((resolve) => setTimeout(resolve, 5))
  }
  for (const loop of await Promise.all(loops)) void untilOver(loop)
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
