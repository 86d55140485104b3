import { Agent, request } from 'node:http'
import { milliseconds, perSecond, table } from './figures.js'
import { Server } from './processes.js'
import type { Surroundings } from './surroundings.js'

const NAME = 'hand-over'
const WAITERS = 16
const agent = new Agent({ keepAlive: true, maxSockets: Number.POSITIVE_INFINITY, noDelay: true })

interface Call {
  readonly port: number
  readonly method: 'POST' | 'DELETE'
  readonly path: string
  readonly body?: object
}

/** How long it takes from asking to release until the next in line has the lock, and how many grants a hot name sees. */
export async function handOver(around: Surroundings): Promise<string> {
  const rows = [
    await measure(around, 'SQLite, one instance', 'sqlite', 1),
    await measure(around, 'PostgreSQL, one instance', 'postgres', 1),
    await measure(around, 'PostgreSQL, from one instance to another', 'postgres', 2)
  ]
  return [
    '## Handing over',
    `One name, ${WAITERS} waiters; whoever is granted the lock releases it at once and takes its place in line again. From sending the release to hearing of the grant: median (quartiles).`,
    table(['', 'release to grant', 'grants per second'], rows)
  ].join('\n\n')
}

async function measure(around: Surroundings, title: string, kind: 'sqlite' | 'postgres', instances: number): Promise<string[]> {
  const databaseUrl = await around.freshUrl(kind)
  const servers: Server[] = []
  try {
    for (let index = 0; index < instances; index += 1) servers.push(await Server.start({ kind: 'service', databaseUrl, sweeps: true }))
    const ports = servers.map(({ port }) => port)
    const { waits, seconds } = await handOvers(ports, around.effort.handOvers)
    return [title, milliseconds(waits), perSecond([waits.length / seconds])]
  } finally {
    for (const server of servers) await server[Symbol.asyncDispose]()
  }
}

/** With two instances the places in line alternate, so that each hand-over goes from one to the other. */
async function handOvers(ports: readonly number[], times: number): Promise<{ waits: number[]; seconds: number }> {
  const waits: number[] = []
  let releasedAt = Number.NaN
  let begun = performance.now()
  let ended = begun
  let over = false

  async function wait(index: number): Promise<void> {
    const port = ports[index % ports.length] ?? 0
    const process = `waiter-${index}`
    while (!over) {
      const body = { resource_name: NAME, process_id: process, ttl_seconds: 60, wait_seconds: 30 }
      const status = await call({ port, method: 'POST', path: '/locks/request', body })
      const at = performance.now()
      if (status !== 200) throw new Error(`a waiter was answered ${status}`)
      if (!over && !Number.isNaN(releasedAt)) waits.push(at - releasedAt)
      if (waits.length === times) {
        over = true
        ended = at
      }
      releasedAt = performance.now()
      await call({ port, method: 'DELETE', path: `/locks/release?resource_name=${NAME}&process_id=${process}` })
    }
  }

  const first = ports[0] ?? 0
  await call({ port: first, method: 'POST', path: '/locks/request', body: { resource_name: NAME, process_id: 'first', ttl_seconds: 60 } })
  const waiters: Promise<void>[] = []
  for (let index = 0; index < WAITERS; index += 1) {
    waiters.push(wait(index))
    // Each takes its place before the next one comes.
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
  begun = releasedAt = performance.now()
  await call({ port: first, method: 'DELETE', path: `/locks/release?resource_name=${NAME}&process_id=first` })
  await Promise.all(waiters)
  return { waits, seconds: (ended - begun) / 1000 }
}

function call({ port, method, path, body }: Call): Promise<number> {
  const text = body === undefined ? undefined : JSON.stringify(body)
  const headers = text === undefined ? {} : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) }
  return new Promise((resolve, reject) => {
    const sent = request({ agent, host: '127.0.0.1', port, method, path, headers }, (response) => {
      response.resume()
      response.once('end', () => resolve(response.statusCode ?? 0))
    })
    sent.once('error', reject)
    sent.end(text)
  })
}
