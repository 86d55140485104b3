import { setTimeout as sleep } from 'node:timers/promises'

/**
 * When something counts as never, in milliseconds: far longer than it takes on a machine that is slow, or busy with something
 * else. The run of the seeded bugs, which makes tests wait for what never comes, sets less.
 */
export const PATIENCE_MS = Number(process.env['TEST_PATIENCE_MS'] ?? 180_000)

/** Tries again and again until something comes out; for what no clock of the test can hurry. */
export async function eventually<Found>(what: string, look: () => Promise<Found | undefined>): Promise<Found> {
  for (const deadline = Date.now() + PATIENCE_MS; ; await sleep(20)) {
    const found = await look()
    if (found !== undefined) return found
    if (Date.now() > deadline) throw new Error(`not within ${PATIENCE_MS} ms: ${what}`)
  }
}
