import t from 'tap'
import type { Command } from '../../src/locks/commands.js'
import type { CommandResult } from '../../src/storage/batcher.js'
import { SqliteWorker } from '../../src/storage/sqlite/store.js'
import { acquire, inspect, release, renew } from '../support/commands.js'
import { START } from '../../scripts/database-templates.js'
import { fileOf, freshDatabase } from '../support/databases.js'

const MINUTE_MS = 60_000

void t.test('batches that reach the thread together are each carried out by the clock of their own, in their order', async (t) => {
  await using database = await freshDatabase('sqlite')
  let now = START
  const turns: number[] = []
  await using remote = await SqliteWorker.open({
    file: fileOf(database.url),
    keepHistoryMs: MINUTE_MS,
    clock: () => now,
    onWakeup: (ticket) => turns.push(ticket),
    onLost: (error) => t.fail(String(error))
  })
  const later = (ms: number, ...commands: Command[]): Promise<CommandResult[]> => {
    now += ms
    return remote.execute(commands)
  }
  await remote.ping()
  // Nobody looks at an answer before all are sent: while the thread commits the first, the others gather.
  const sent = [
    later(0, acquire('a', 'p', 500)),
    later(499, acquire('a', 'q', 500), acquire('b', 'q', 500)),
    later(1, release('a', 'p'), acquire('a', 'q')),
    later(1, release('a', 'p'), renew('b', 'q', 1000))
  ] as const
  const read = remote.read('feedStart', [])
  const last = later(0, inspect('a'))
  const [first, second, third, fourth] = await Promise.all(sent)
  t.match(first, [{ kind: 'done', outcome: { kind: 'granted', grants: [{ lockId: 1, lockedAt: START, expiresAt: START + 500 }] } }])
  t.match(second, [
    { kind: 'done', outcome: { kind: 'held', at: START + 499, conflicts: [{ processId: 'p', lockedAt: START, expiresAt: START + 500 }] } },
    { kind: 'done', outcome: { kind: 'granted', grants: [{ lockId: 2, lockedAt: START + 499, expiresAt: START + 999 }] } }
  ])
  t.match(third, [
    { kind: 'done', outcome: { kind: 'not-held', reason: 'expired' } },
    { kind: 'done', outcome: { kind: 'granted', grants: [{ lockId: 3, lockedAt: START + 500, expiresAt: null }] } }
  ])
  t.match(fourth, [
    { kind: 'done', outcome: { kind: 'not-held', reason: 'held_by_other' } },
    { kind: 'done', outcome: { kind: 'renewed', renewedAt: START + 501, grant: { expiresAt: START + 1501 } } }
  ])
  t.match(await last, [{ kind: 'done', outcome: { kind: 'inspected', at: START + 501, grant: { lockId: 3 } } }])
  t.match(await read, { after: 4 }, 'what is read between two batches comes after the first: three grants and an expiry')
})
