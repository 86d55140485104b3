import { setTimeout as sleep } from 'node:timers/promises'
import { check } from './checker/check.js'
import type { Sighting } from './checker/queue-order.js'
import type { Recorded } from './checker/recorded.js'
import { Random } from '../support/random.js'
import { Client } from './client.js'
import { Cluster } from './cluster.js'
import { Faults } from './faults.js'
import { Figures } from './figures.js'
import { call, hangUp } from './http-call.js'
import type { TortureOptions } from './options.js'
import { Recorder } from './recorder.js'

/** Resources that are used at the same time, by all clients. */
const RESOURCES = 10

/** Sequences of faults that overlap. */
const LANES = 2

const SIGHT_EVERY_MS = 60

/** Clients and database read the same clock; what is left is rounding, and a clock that is being adjusted. */
const TOLERANCE = { clocksMs: 20 }

export interface TortureListener {
  /** Told after each epoch. */
  readonly onProgress?: (figures: Figures) => void
}

/**
 * Runs real servers and clients, hurts them, and checks what the clients saw. The time is cut into epochs, each with
 * resources of its own, whose history is judged and forgotten, so that memory stays bounded however long it runs.
 *
 * The seed decides what each client does and which faults follow each other; how their timing falls out differs.
 */
export async function torture(options: TortureOptions, { onProgress = () => undefined }: TortureListener = {}): Promise<Figures> {
  const { seed, clients: count, thinkMs, minutes, epochSeconds } = options
  const figures = new Figures()
  await using cluster = await Cluster.start(options, new Random(seed + 1))
  const recorder = new Recorder()
  const onUnexpected = (what: string): void => void figures.violations.push(`an answer that the contract does not know: ${what}`)
  const clients = Array.from({ length: count }, (_, index) => new Client({ name: `c${index}`, random: new Random(seed + 1000 + index), cluster, recorder, thinkMs, onUnexpected }))
  const lanes = Array.from({ length: LANES }, (_, index) => new Faults(cluster, new Random(seed + 100 + index), figures.faults))
  const end = Date.now() + minutes * 60_000
  const goesOn = (): boolean => Date.now() < end && (figures.clean || options.untilViolation !== true)
  for (let epoch = 1; goesOn(); epoch += 1) {
    const resources = Array.from({ length: RESOURCES }, (_, index) => `epoch ${epoch}/${index}`)
    const sightings = await live(cluster, clients, lanes, resources, Math.min(end, Date.now() + epochSeconds * 1000))
    const operations = recorder.take()
    figures.add(operations, check({ operations, sightings, events: await eventsOf(cluster, resources) }, TOLERANCE))
    onProgress(figures)
  }
  hangUp()
  return figures
}

/** One epoch, with a last look at each resource when all is well again; resolves to who was seen in line meanwhile. */
async function live(cluster: Cluster, clients: readonly Client[], lanes: readonly Faults[], resources: readonly string[], until: number): Promise<Sighting[]> {
  const sightings: Sighting[] = []
  const over = new AbortController()
  const sighting = sightAll(cluster, sightings, over.signal)
  await Promise.all([...clients.map((client) => client.run(resources, until)), ...lanes.map((faults) => faults.run(until))])
  over.abort()
  await sighting
  for (const resource of resources) await clients[0]?.look(resource)
  return sightings
}

async function sightAll(cluster: Cluster, into: Sighting[], over: AbortSignal): Promise<void> {
  for (; !over.aborted; await sleep(SIGHT_EVERY_MS)) into.push(...(await cluster.sight()))
}

/** The service's own history of those resources, oldest first. */
async function eventsOf(cluster: Cluster, resources: readonly string[]): Promise<Recorded[]> {
  const events: Recorded[] = []
  for (const resource of resources) {
    for (let cursor: string | null = ''; cursor !== null; ) {
      const page: Page = await pageOf(cluster, resource, cursor)
      events.push(...page.events.map(recordedOf))
      cursor = page.next_cursor
    }
  }
  return events.toSorted((a, b) => a.eventId - b.eventId)
}

interface WireEvent {
  readonly event_id: number
  readonly event: Recorded['kind']
  readonly at: string
  readonly resource_name: string
  readonly process_id: string
  readonly lock_id: number
}

interface Page {
  readonly events: readonly WireEvent[]
  readonly next_cursor: string | null
}

async function pageOf(cluster: Cluster, resource: string, cursor: string): Promise<Page> {
  const query = new URLSearchParams({ resource_name: resource, limit: '1000', ...(cursor === '' ? {} : { cursor }) }).toString()
  for (let tries = 0; ; tries += 1) {
    const node = cluster.nodes[tries % cluster.nodes.length]
    const outcome = await call(node?.url ?? '', 'GET', `/locks/history?${query}`, undefined, 10_000)
    if (typeof outcome === 'object' && outcome.status === 200) return outcome.body.data as unknown as Page
    if (tries === 100) throw new Error(`the history cannot be read: ${JSON.stringify(outcome)}`)
    await sleep(100)
  }
}

function recordedOf({ event_id: eventId, event: kind, at, resource_name: resource, process_id: process, lock_id: lockId }: WireEvent): Recorded {
  return { eventId, kind, at: Date.parse(at), resource, process, lockId }
}
