import { connect, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { call } from './call.js'
import { quantile, table } from './figures.js'
import { Server } from './processes.js'
import { processorMicros } from './processor-time.js'
import { NAMES } from './subjects.js'
import type { Surroundings } from './surroundings.js'

const WATCHERS = 100
const EVENTS_PER_SECOND = 1000
const TICK_MS = 10
const EVENT = /"event":"(granted|released)","at":"[^"]*","resource_name":"(watched-\d+)"/g

/** How late watchers hear of what happens, and what it costs to tell them. */
export async function watch(around: Surroundings): Promise<string> {
  const rows: string[][] = []
  for (const kind of ['sqlite', 'postgres'] as const) rows.push(await measure(around, kind))
  return [
    '## Watching',
    `${WATCHERS} watchers of everything, ${EVENTS_PER_SECOND.toLocaleString('en')} events a second, half of them grants and half releases. From sending the request until a watcher has heard of the grant; ` +
      'the processor time of all processes counts the requests themselves too.',
    table(['', 'events heard', 'p50 / p99', 'processor µs for each event heard'], rows)
  ].join('\n\n')
}

async function measure({ effort, freshUrl, postgres }: Surroundings, kind: 'sqlite' | 'postgres'): Promise<string[]> {
  await using server = await Server.start({ kind: 'service', databaseUrl: await freshUrl(kind), sweeps: true })
  const { port } = server
  const pids = kind === 'postgres' ? [postgres.pid] : []
  const sentAt = new Map<string, number>()
  const delays: number[] = []
  let heard = 0
  const watchers = Array.from({ length: WATCHERS }, () =>
    listen(port, (text) => {
      const at = performance.now()
      for (const [, event, name = ''] of text.matchAll(EVENT)) {
        heard += 1
        if (event === 'granted') delays.push(at - (sentAt.get(name) ?? Number.NaN))
      }
    })
  )
  await sleep(500)
  const before = processorMicros(pids)
  await server.reset()
  const calls: Promise<void>[] = []
  const pairs = (effort.watchMs / 1000) * (EVENTS_PER_SECOND / 2)
  const pairsPerTick = (EVENTS_PER_SECOND / 2 / 1000) * TICK_MS
  const from = performance.now()
  for (let sent = 0; sent < pairs; ) {
    for (let index = 0; index < pairsPerTick; index += 1, sent += 1) calls.push(pair(port, `watched-${sent}`, sentAt))
    await sleep(Math.max(0, from + (sent / pairsPerTick) * TICK_MS - performance.now()))
  }
  await Promise.all(calls)
  await sleep(500)
  const { cpuMicros } = await server.usage()
  const micros = (cpuMicros + processorMicros(pids) - before) / heard
  for (const watcher of watchers) watcher.destroy()
  const sorted = delays.toSorted((a, b) => a - b)
  return [NAMES[kind], `${heard.toLocaleString('en')} of ${(pairs * 2 * WATCHERS).toLocaleString('en')}`, `${quantile(sorted, 0.5).toFixed(1)} / ${quantile(sorted, 0.99).toFixed(1)} ms`, micros.toFixed(1)]
}

/** One grant and its release. */
async function pair(port: number, name: string, sentAt: Map<string, number>): Promise<void> {
  sentAt.set(name, performance.now())
  await call({ port, method: 'POST', path: '/locks/request', body: { resource_name: name, process_id: 'bench', ttl_seconds: 60 } })
  await call({ port, method: 'DELETE', path: `/locks/release?resource_name=${name}&process_id=bench` })
}

/** Gives whole events, as they come. */
function listen(port: number, onEvents: (text: string) => void): Socket {
  const socket = connect(port, '127.0.0.1')
  let rest = ''
  socket.setEncoding('latin1').on('data', (chunk: string) => {
    rest += chunk
    const end = rest.lastIndexOf('\n\n')
    if (end === -1) return
    onEvents(rest.slice(0, end))
    rest = rest.slice(end)
  })
  socket.write('GET /locks/watch HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n')
  return socket
}
