import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import type { Command, OutcomeOf } from '../../src/locks/commands.js'
import { LockService } from '../../src/locks/lock-service.js'
import type { LockStore } from '../../src/locks/store.js'
import { processId, resourceName } from '../../src/locks/lock.js'
import { acquire, enqueue, everything } from '../support/commands.js'
import { DATABASES, freshDatabase, type TestDatabase } from '../support/databases.js'
import { eventually, PATIENCE_MS } from '../support/eventually.js'
import { Instance, NEVER_MS } from '../support/store.js'
import { Session } from '../support/session.js'

for (const kind of DATABASES) {
  void t.test(`races around waiting on ${kind}`, async (t) => {
    const onDatabase = (name: string, body: (t: Test, one: Instance, database: TestDatabase) => Promise<void>) =>
      t.test(name, async (t) => {
        await using database = await freshDatabase(kind)
        await using one = await Instance.start(database)
        await body(t, one, database)
      })

    await onDatabase('a repetition that waits beside the first gives its place up with the answer', async (t, one) => {
      await one.ask('a', 'holder')
      const first = one.ask('a', 'p', { requestId: 'r1' })
      await one.untilWaiting(1)
      const again = one.ask('a', 'p', { requestId: 'r1' })
      await one.untilWaiting(2)
      await one.release('a', 'holder')
      t.match(await first, { kind: 'granted', grants: [{ lockId: 2 }] })
      t.match(await again, { kind: 'granted', grants: [{ lockId: 2 }] })
      t.match(await one.inspect('a'), { waiters: 0 })
      await one.release('a', 'p')
      t.match(await one.now('a', 'q'), { kind: 'granted', grants: [{ lockId: 3 }] })
    })

    await onDatabase('a repetition that waits does not stand behind a place that is kept for the first', async (t, one) => {
      for (const key of [undefined, 'k']) {
        await one.now('a', 'holder')
        const first = one.ask('a', 'p', { requestId: 'r1', waitMs: 1000, key })
        await one.untilWaiting(1)
        const again = one.ask('a', 'p', { requestId: 'r1', key })
        t.match(await first, { kind: 'held', queuePosition: 1 })
        t.match(await one.inspect('a'), { waiters: 1 }, 'the repetition')
        await one.release('a', 'holder')
        t.match(await again, { kind: 'granted' })
        await one.release('a', 'p')
        t.match(await one.now('a', 'q'), { kind: 'granted' })
        await one.release('a', 'q')
      }
    })

    await onDatabase('a place that is kept for a request is not in the way of that very request', async (t, one) => {
      await one.now('a', 'holder')
      await one.ask('a', 'p', { requestId: 'r1', waitMs: 20 })
      await one.release('a', 'holder')
      t.match(await one.now('a', 'q', 'r1'), { kind: 'held', conflicts: [{ processId: 'p', lockId: 0 }] }, 'the id alone is not enough')
      t.match(await one.now('a', 'p', 'r1'), { kind: 'granted' })
      t.match(await one.inspect('a'), { waiters: 0 })
    })

    await onDatabase('of two waits with one id that end at once one place is kept', async (t, one, database) => {
      await using second = kind === 'postgres' ? await Instance.start(database) : null
      const both = [one, second ?? one]
      const names = Array.from({ length: 10 }, (_, index) => `n${index}`)
      await Promise.all(names.map((name) => one.now(name, 'holder')))
      await Promise.all(names.flatMap((name) => both.map((instance) => instance.ask(name, 'p', { requestId: name, waitMs: 40 }))))
      for (const name of names) t.match(await one.inspect(name), { waiters: 1 }, name)
    })

    await onDatabase('of two places kept for one id only one is taken again, and the other lapses', async (t, one, database) => {
      await one.ask('a', 'holder')
      await Promise.all([one.ask('a', 'p', { requestId: 'r1', waitMs: 40 }), one.ask('a', 'p', { requestId: 'r1', waitMs: 40 })])
      const back = one.ask('a', 'p', { requestId: 'r1' })
      await one.untilWaiting(1)
      await one.release('a', 'holder')
      t.match(await back, { kind: 'granted' })
      await one.release('a', 'p')
      await database.advance(10_000)
      await one.store.submit({ kind: 'heartbeat' })
      t.match(await one.now('a', 'q'), { kind: 'granted', grants: [{ lockId: 3 }] })
      t.match(await one.inspect('a'), { waiters: 0 })
    })

    await onDatabase('a lock that is free at once is not left behind for a caller that is gone', async (t, one) => {
      for (const names of ['a', ['a', 'b']]) {
        const gone = new AbortController()
        const asked = one.ask(names, 'p', { signal: gone.signal })
        gone.abort()
        await asked
        t.equal((await one.store.reads.list(everything)).grants.length, 0)
      }
    })

    await onDatabase('a set that gives up lets those behind it go on at once, on each of its names', async (t, { store }) => {
      const called: number[] = []
      const tickets = new Map<string, number | null>()
      const heard: LockStore = Object.assign(Object.create(store) as LockStore, {
        submit: async <C extends Command>(command: C): Promise<OutcomeOf<C>> => {
          const outcome = await store.submit(command)
          if (command.kind === 'enqueue' && outcome.kind === 'enqueued') tickets.set(command.processId, outcome.ticket)
          return outcome
        },
        onWakeup: (listener: (ticket: number) => void) =>
          store.onWakeup((ticket) => {
            called.push(ticket)
            listener(ticket)
          })
      })
      // No tick comes while the test lasts: a waiter that goes on was woken.
      const room = new LockService(heard, { defaultTtlMs: null, tickMs: NEVER_MS })
      const ask = (names: string[], process: string, signal?: AbortSignal) =>
        room.request({ resourceNames: names.map(resourceName), processId: processId(process) }, { waitMs: PATIENCE_MS, signal })
      await ask(['b'], 'holder')
      const gone = new AbortController()
      const set = ask(['a', 'b', 'c'], 'set', gone.signal)
      await eventually('the set waits', () => Promise.resolve(tickets.get('set')))
      const behind = [ask(['a'], 'p'), ask(['c'], 'q')]
      await eventually('two wait behind it', () => Promise.resolve(tickets.size === 3 || undefined))
      gone.abort()
      t.match(await set, { kind: 'held' })
      for (const outcome of await Promise.all(behind)) t.match(outcome, { kind: 'granted' })
      t.strictSame(new Set(called.filter((ticket) => ticket !== tickets.get('set'))), new Set([tickets.get('p'), tickets.get('q')]))
      await room.drain()
    })

    await onDatabase('who took a kept place again is called, although the exit of the one before it comes later', async (t, { store }) => {
      const late = new AbortController()
      const slow: LockStore = Object.assign(Object.create(store) as LockStore, {
        // A kept place is in the database before this instance hears so.
        submit: async <C extends Command>(command: C): Promise<OutcomeOf<C>> => {
          const outcome = await store.submit(command)
          if (command.kind === 'dequeue' && command.keepFor !== null) await once(late.signal, 'abort')
          return outcome
        },
        onWakeup: (listener: (ticket: number) => void) => store.onWakeup(listener)
      })
      const room = new LockService(slow, { defaultTtlMs: null, tickMs: NEVER_MS })
      const ask = (process: string, waitMs: number) =>
        room.request({ resourceNames: [resourceName('a')], processId: processId(process), requestId: process }, { waitMs })
      await ask('holder', 0)
      const first = ask('p', 20)
      await eventually('its place is kept', async () => ((await store.reads.queue({ resourceName: resourceName('a'), limit: 1 })).waiters[0]?.keptUntil ? true : undefined))
      const again = ask('p', 60_000)
      await eventually('it is taken again', async () => ((await store.reads.queue({ resourceName: resourceName('a'), limit: 1 })).waiters[0]?.keptUntil === null ? true : undefined))
      late.abort()
      await first
      await room.release({ resourceName: resourceName('a'), processId: processId('holder') })
      t.match(await Promise.race([again, sleep(20_000, undefined, { ref: false })]), { kind: 'granted' })
      await room.drain()
    })

    await onDatabase('waits that end in every way at once leave no place and no grant behind', async (t, one) => {
      const names = ['a', 'b', 'c', 'd']
      const worker = async (index: number): Promise<void> => {
        for (let round = 0; round < 12; round += 1) {
          const set = names.filter(() => Math.random() < 0.5)
          const wanted = set.length === 0 ? ['a'] : set
          const gone = new AbortController()
          const timer = setTimeout(() => gone.abort(), Math.random() * 60)
          const outcome = await one.ask(wanted, `p${index}`, { waitMs: Math.random() * 60, signal: gone.signal })
          clearTimeout(timer)
          if (outcome.kind !== 'granted') continue
          await sleep(Math.random() * 3)
          await one.service.releaseMany(wanted.map(resourceName), processId(`p${index}`))
        }
      }
      await Promise.all(Array.from({ length: 16 }, (_, index) => worker(index)))
      t.equal((await one.store.reads.list(everything)).grants.length, 0)
      for (const name of names) t.match(await one.inspect(name), { waiters: 0, grant: null })
      t.equal(one.service.waiting, 0)
    })
  })
}

void t.test('a place that is kept while its request already waits anew is passed by it', async (t) => {
  await using database = await freshDatabase('postgres')
  await using one = await Instance.start(database)
  await using session = await Session.open(database.url)
  await one.now('a', 'holder')
  const first = one.ask('a', 'p', { requestId: 'r1', waitMs: 5000 })
  await one.untilWaiting(1)
  // Neither the first when it leaves nor the repetition sees what the other does.
  await session.run('begin')
  await session.run('select from lock_waiters for update')
  await session.untilWaiting()
  const again = one.ask('a', 'p', { requestId: 'r1' })
  await one.untilWaiting(2)
  await session.run('commit')
  t.match(await first, { kind: 'held' })
  await one.release('a', 'holder')
  t.match(await again, { kind: 'granted' })
  await one.release('a', 'p')
  t.match(await one.now('a', 'q'), { kind: 'granted' })
})

void t.test('a waiter that is called before its turn passes the call on to the first in line', async (t) => {
  await using database = await freshDatabase('postgres')
  await using one = await Instance.start(database)
  await using two = await Instance.start(database)
  // The first ticket becomes visible only after the call for the second: nobody has called the first.
  const first = await one.store.submit(enqueue('a', 'first'))
  const second = await two.store.submit(enqueue('a', 'second'))
  const called: number[] = []
  one.store.onWakeup((ticket) => called.push(ticket))
  t.match(await two.store.submit({ ...acquire('a', 'second'), ticket: second.ticket }), { kind: 'held', conflicts: [{ processId: 'first', lockId: 0 }] })
  // The listener's connection alone does not keep the process alive.
  t.equal(await eventually('a call', () => Promise.resolve(called[0])), first.ticket)
})
