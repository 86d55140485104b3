import { call } from './call.js'
import { perSecond, quantile, table } from './figures.js'
import { Server } from './processes.js'
import type { Surroundings } from './surroundings.js'

const NAME = 'hand-over'
const WAITERS = [16, 256] as const
/** Each waiter takes its place before the next one comes. */
const APART_MS = 5

/** How long it takes from asking to release until the next in line has the lock, and how many grants a hot name sees. */
export async function handOver(around: Surroundings): Promise<string> {
  const rows: string[][] = []
  for (const waiters of WAITERS) {
    rows.push(await measure(around, 'SQLite, one instance', waiters, 'sqlite', 1))
    rows.push(await measure(around, 'PostgreSQL, one instance', waiters, 'postgres', 1))
    rows.push(await measure(around, 'PostgreSQL, from one instance to another', waiters, 'postgres', 2))
  }
  return [
    '## Handing over',
    'One name and so many waiters; each releases the lock as soon as it has it, and queues again. From sending the release to hearing of the grant.',
    table(['', 'waiters', 'p50 / p99', 'grants per second'], rows)
  ].join('\n\n')
}

async function measure(around: Surroundings, title: string, waiters: number, kind: 'sqlite' | 'postgres', instances: number): Promise<string[]> {
  const databaseUrl = await around.freshUrl(kind)
  const servers: Server[] = []
  try {
    for (let index = 0; index < instances; index += 1) servers.push(await Server.start({ kind: 'service', databaseUrl, sweeps: true }))
    const ports = servers.map(({ port }) => port)
    const { waits, seconds } = await handOvers(ports, waiters, around.effort.handOvers)
    const sorted = waits.toSorted((a, b) => a - b)
    return [title, String(waiters), `${quantile(sorted, 0.5).toFixed(2)} / ${quantile(sorted, 0.99).toFixed(2)} ms`, perSecond([waits.length / seconds])]
  } finally {
    for (const server of servers) await server[Symbol.asyncDispose]()
  }
}

/** With two instances the places in line alternate, so that each hand-over goes from one to the other. */
async function handOvers(ports: readonly number[], count: number, times: number): Promise<{ waits: number[]; seconds: number }> {
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
  for (let index = 0; index < count; index += 1) {
    waiters.push(wait(index))
    await new Promise((resolve) => setTimeout(resolve, APART_MS))
  }
  begun = releasedAt = performance.now()
  await call({ port: first, method: 'DELETE', path: `/locks/release?resource_name=${NAME}&process_id=first` })
  await Promise.all(waiters)
  return { waits, seconds: (ended - begun) / 1000 }
}
