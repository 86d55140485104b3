import { setTimeout as sleep } from 'node:timers/promises'
import type { Random } from '../support/random.js'
import type { Cluster } from './cluster.js'

const HOUR_MS = 3_600_000
const SHIFTS_MS = [-HOUR_MS, -60_000, -2000, 0, 2000, 60_000, HOUR_MS]

const LEAST_REST_MS = 200
const MOST_REST_MS = 1500

/** Longer than a database that was killed is away. */
const AWAY_MS = 60_000

/**
 * Sets the database's clock back and forth until that instant, and leaves it ahead: what is to last a while then may last for an
 * hour longer, once the clock is right again. Resolves to how often it was set.
 */
export async function moveClock(cluster: Cluster, random: Random, until: number): Promise<number> {
  let moves = 0
  while (Date.now() < until) {
    await sleep(random.whole(LEAST_REST_MS, MOST_REST_MS))
    // A database that is away has no clock.
    await cluster.victim.setClock(random.pick(SHIFTS_MS)).then(
      () => (moves += 1),
      () => undefined
    )
  }
  await setClock(cluster, HOUR_MS)
  return moves + 1
}

/** Sets it as soon as the database, which may be away, can be asked to. */
export async function setClock(cluster: Cluster, shiftMs: number): Promise<void> {
  for (const until = Date.now() + AWAY_MS; ; await sleep(100)) {
    try {
      return await cluster.victim.setClock(shiftMs)
    } catch (error) {
      if (Date.now() > until) throw error
    }
  }
}
