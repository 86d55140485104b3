import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { LockError } from '../../src/locks/errors.js'
import type { SqlLockStore } from '../../src/storage/sql-store.js'
import { acquire, allEvents, everything, release } from '../support/commands.js'
import { freshDatabase } from '../support/databases.js'
import { Session } from '../support/session.js'
import { openOn } from '../support/store.js'

/** They go on until so many requests were granted, and so many answers were lost. */
const ENOUGH = { granted: 150, unknown: 20 }
/** Between two cuts so many requests are granted at most: some are under way at each. */
const MOST_BETWEEN_CUTS = 8
const NAMES = ['a', 'b', 'c', 'd', 'e', 'f']

void t.test('connections that break at any moment: what is said is true, and one id never yields two grants', async (t) => {
  await using database = await freshDatabase('postgres', 'real')
  await using one = await openOn(database)
  await using two = await openOn(database)
  await using session = await Session.open(database.url)
  const faults: string[] = []
  /** The numbers that each id was answered with. */
  const numbers = new Map<string, string>()
  const held = new Map<string, string>()
  let unknown = 0
  let replayed = 0
  const enough = (): boolean => numbers.size >= ENOUGH.granted && unknown >= ENOUGH.unknown

  const patiently = async <T>(send: () => Promise<T>): Promise<T> => {
    for (;;) {
      try {
        return await send()
      } catch (error) {
        if (!(error instanceof LockError)) throw error
        if (error.code === 'OUTCOME_UNKNOWN') unknown += 1
        await sleep(5)
      }
    }
  }

  const work = async (store: SqlLockStore, process: string): Promise<void> => {
    for (let round = 0; !enough(); round += 1) {
      const names = NAMES.filter(() => Math.random() < 0.3)
      if (names.length === 0) continue
      const id = `${process}/${round}`
      const outcome = await patiently(() => store.submit(acquire(names, process, null, { id, fingerprint: 'same' })))
      if (outcome.kind === 'request-id-reused') faults.push(`${id} was forgotten or reused`)
      if (outcome.kind !== 'granted') continue
      if (outcome.replayed) replayed += 1
      numbers.set(id, outcome.grants.map(({ lockId }) => lockId).join())
      for (const name of names) {
        const holder = held.get(name)
        if (holder !== undefined) faults.push(`${process} was granted ${name}, which ${holder} holds`)
        held.set(name, process)
      }
      const again = await patiently(() => store.submit(acquire(names, process, null, { id, fingerprint: 'same' })))
      if (again.kind !== 'granted' || again.grants.map(({ lockId }) => lockId).join() !== numbers.get(id)) faults.push(`${id}: ${JSON.stringify(again)}`)
      for (const name of names) held.delete(name)
      const released = await patiently(() => store.submit({ kind: 'release-many', releases: names.map((name) => release(name, process)) }))
      // A repetition may find them released already, and taken by somebody else.
      if (released.outcomes.some((ended) => ended.kind === 'not-held' && ended.reason === 'expired')) faults.push(`${id} expired`)
    }
  }
  const cut = async (): Promise<void> => {
    while (!enough()) {
      await session.run(
        `select pg_terminate_backend(pid) from pg_stat_activity
         where datname = current_database() and pid <> pg_backend_pid() and random() < 0.5`
      )
      const next = numbers.size + Math.random() * MOST_BETWEEN_CUTS
      while (numbers.size < next && !enough()) await sleep(5)
    }
  }
  await Promise.all([cut(), ...Array.from({ length: 12 }, (_, index) => work(index % 2 === 0 ? one : two, `p${index}`))])

  t.same(faults, [])
  t.comment(`${numbers.size} granted, ${unknown} unknown, ${replayed} found again`)
  t.same((await patiently(() => one.reads.list(everything))).grants, [])
  const { events } = await patiently(() => one.reads.history(allEvents))
  for (const name of NAMES) {
    const told = events.filter((event) => event.resourceName === name).toReversed()
    // Only the newest thousand are read: the first may be the end of an older grant.
    const odd = told.slice(1).filter((event, index) => {
      const before = told[index]
      if (event.kind === 'granted') return before?.kind !== 'released' || before.lockId >= event.lockId
      return before?.kind !== 'granted' || before.lockId !== event.lockId
    })
    t.same(odd, [], `grants and their ends alternate: ${name}`)
  }
})
