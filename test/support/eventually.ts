import { setTimeout as sleep } from 'node:timers/promises'

/** When something counts as never, in milliseconds: far longer than it takes on a machine that is slow, or busy with something else. */
export const PATIENCE_MS = 180_000

/** Tries again and again until something comes out; for what no clock of the test can hurry. */
export async function eventually<Found>(what: string, look: () => Promise<Found | undefined>): Promise<Found> {
  for (const deadline = Date.now() + PATIENCE_MS; ; await sleep(20)) {
    const found = await look()
    if (found !== undefined) return found
    if (Date.now() > deadline) throw new Error(`not within ${PATIENCE_MS} ms: ${what}`)
  }
}
