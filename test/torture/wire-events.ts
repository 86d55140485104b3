import { setTimeout as sleep } from 'node:timers/promises'
import type { Recorded } from './checker/recorded.js'
import type { Cluster } from './cluster.js'
import { call } from './http-call.js'
import type { Key } from './keys.js'

/** An event on the wire: of the history as of a stream. */
export interface WireEvent {
  readonly event_id: number
  readonly event: Recorded['kind']
  readonly at: string
  readonly resource_name: string
  readonly process_id: string
  readonly lock_id: number
  readonly reason: string | null
}

interface Page {
  readonly events: readonly WireEvent[]
  readonly next_cursor: string | null
}

const MOST_TRIES = 600

/** The service's own history of those resources, oldest first. */
export async function eventsOf(cluster: Cluster, key: Key, resources: readonly string[]): Promise<Recorded[]> {
  const events: Recorded[] = []
  for (const resource of resources) {
    for (let cursor: string | null = ''; cursor !== null; ) {
      const page: Page = await pageOf(cluster, key, resource, cursor)
      events.push(...page.events.map(recordedOf))
      cursor = page.next_cursor
    }
  }
  return events.toSorted((a, b) => a.eventId - b.eventId)
}

async function pageOf(cluster: Cluster, key: Key, resource: string, cursor: string): Promise<Page> {
  const query = new URLSearchParams({ resource_name: resource, limit: '1000', ...(cursor === '' ? {} : { cursor }) }).toString()
  for (let tries = 0; ; tries += 1) {
    const node = cluster.nodes[tries % cluster.nodes.length]
    const outcome = await call(node?.url ?? '', { method: 'GET', path: `/locks/history?${query}`, secret: key.secret, withinMs: 60_000 })
    if (typeof outcome === 'object' && outcome.status === 200) return outcome.body.data as unknown as Page
    if (tries === MOST_TRIES) throw new Error(`the history cannot be read: ${JSON.stringify(outcome)}`)
    await sleep(100)
  }
}

export function recordedOf({ event_id: eventId, event: kind, at, resource_name: resource, process_id: process, lock_id: lockId, reason }: WireEvent): Recorded {
  return { eventId, kind, at: Date.parse(at), resource, process, lockId, reason }
}
