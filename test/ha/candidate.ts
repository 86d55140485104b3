import { setTimeout as sleep } from 'node:timers/promises'
import { HttpLocks } from '../../src/client/index.js'

/*
 * A candidate for a leadership: a program of its own, so that it can be killed and stopped. Each line that it writes is what
 * happened, the term, and the instant by the machine's clock. While it leads it writes `leads` all the time, each with an
 * instant at which it still believed to lead. USR1 makes it resign.
 */

const EVERY_MS = 20

const { RLM_URL, NAME = '', TTL } = process.env

function say(what: string, term: number, at = Date.now()): void {
  process.stdout.write(`${what} ${term} ${at}\n`)
}

let resign: () => unknown = () => undefined
process.on('SIGUSR1', () => resign())

await new HttpLocks({ url: RLM_URL }).elect(NAME, {
  ttlSeconds: Number(TTL),
  onElected: async ({ signal, fencingToken: term, ...leadership }) => {
    say('elected', term)
    signal.addEventListener('abort', () => say('ends', term))
    resign = () => {
      say('resigns', term)
      return leadership.resign()
    }
    for (;;) {
      // Read before it looks whether it leads: at this instant it did.
      const at = Date.now()
      if (signal.aborted) return
      say('leads', term, at)
      await sleep(EVERY_MS)
    }
  }
})
