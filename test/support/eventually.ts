import { setTimeout as sleep } from 'node:timers/promises'

/** Tries again and again until something comes out; for what no clock of the test can hurry. */
export async function eventually<Found>(what: string, look: () => Promise<Found | undefined>, withinMs = 10_000): Promise<Found> {
  for (const deadline = Date.now() + withinMs; ; await sleep(20)) {
    const found = await look()
    if (found !== undefined) return found
    if (Date.now() > deadline) throw new Error(`not within ${withinMs} ms: ${what}`)
  }
}
