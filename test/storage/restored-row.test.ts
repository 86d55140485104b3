import t from 'tap'
import { openStore } from '../../src/storage/index.js'
import { KEEP_ENDED_MS } from '../../src/storage/tables.js'
import { acquire, inspect, sweep } from '../support/commands.js'
import { START } from '../../scripts/database-templates.js'
import { besideService, DATABASES, freshDatabase, type TestDatabase } from '../support/databases.js'

// A row out of a backup, in a database that has not counted as far.
const NUMBER = 1_000_000

interface Restored {
  readonly state: string
  readonly number?: number
  readonly active: boolean
  readonly expiresAt: number | null
  readonly endedAt: number | null
}

const STATES: readonly Restored[] = [
  { state: 'released long ago', active: false, expiresAt: null, endedAt: START - 2 * KEEP_ENDED_MS },
  { state: 'released just now', active: false, expiresAt: null, endedAt: START },
  { state: 'expired and not swept', active: true, expiresAt: START - 1, endedAt: null },
  { state: 'with the very first number', number: 1, active: false, expiresAt: null, endedAt: START - 2 * KEEP_ENDED_MS }
]

async function restore(database: TestDatabase, { number = NUMBER, active, expiresAt, endedAt }: Restored): Promise<void> {
  await besideService(
    database,
    `insert into resource_locks (resource_name, id, process_id, locked_at, expires_at, is_active, ended_at, end_reason, sweep_at)
      values ('a', ${number}, 'old', 0, ${expiresAt}, ${active}, ${endedAt}, ${active ? null : `'released'`}, ${START})`
  )
}

for (const kind of DATABASES) {
  for (const restored of STATES) {
    void t.test(`a restored row is outgrown: ${kind}, ${restored.state}`, async (t) => {
      await using database = await freshDatabase(kind)
      await using store = await openStore({ databaseUrl: database.url, clock: database.now })
      await restore(database, restored)
      const outcome = await store.submit(acquire('a', 'p'))
      t.ok(outcome.kind === 'granted' && (outcome.grants[0]?.lockId ?? 0) > (restored.number ?? NUMBER))
    })

    void t.test(`a restored row is outgrown after the sweeper and a restart too: ${kind}, ${restored.state}`, async (t) => {
      await using database = await freshDatabase(kind)
      {
        await using store = await openStore({ databaseUrl: database.url, clock: database.now })
        await restore(database, restored)
        for (let round = 0; round < 4; round += 1) {
          await store.submit(sweep)
          await database.advance(KEEP_ENDED_MS)
        }
        t.match(await store.submit(inspect('a')), { grant: null })
      }
      await using store = await openStore({ databaseUrl: database.url, clock: database.now })
      const outcome = await store.submit(acquire('a', 'p'))
      t.ok(outcome.kind === 'granted' && (outcome.grants[0]?.lockId ?? 0) > (restored.number ?? NUMBER))
    })
  }

  void t.test(`a restored row that is held is respected: ${kind}`, async (t) => {
    await using database = await freshDatabase(kind)
    await using store = await openStore({ databaseUrl: database.url, clock: database.now })
    await restore(database, { state: 'held', active: true, expiresAt: null, endedAt: null })
    await store.submit(sweep)
    t.match(await store.submit(acquire('a', 'p')), { kind: 'held', conflicts: [{ lockId: NUMBER, processId: 'old' }] })
  })
}
