import t from 'tap'
import { LockTable } from '../../src/dashboard/page/lock-table.js'
import { eventOf, listedLock } from './listed-locks.js'

const names = (table: LockTable): string => table.locks.map(({ name, lockId }) => `${name}#${lockId}`).join(' ')

void t.test('a list and the events after it give the present state', (t) => {
  const table = new LockTable()
  table.beginRound()
  table.merge([listedLock('a', 1), listedLock('b', 2)])
  table.endRound()
  t.equal(table.apply(eventOf('granted', 'c', 3)), true)
  t.equal(table.apply(eventOf('released', 'a', 1)), true)
  t.equal(names(table), 'b#2 c#3')
  t.match(table.get('b'), { process: 'p', lockedAt: Date.UTC(2024, 0, 15, 10, 30), expiresAt: Date.UTC(2024, 0, 15, 10, 31), ttlMs: 60_000 })
  t.match(table.get('c'), { expiresAt: undefined, renewals: undefined, waiters: undefined }, 'what an event does not say is unknown')
  t.end()
})

void t.test('what ended while the list was read does not come back with a page that was read before', (t) => {
  const table = new LockTable()
  table.beginRound()
  table.merge([listedLock('a', 1)])
  table.apply(eventOf('expired', 'b', 2))
  table.merge([listedLock('b', 2)])
  t.equal(names(table), 'a#1')
  table.merge([listedLock('b', 5)])
  t.equal(names(table), 'a#1 b#5', 'a later grant does')
  t.end()
})

void t.test('what was granted while the list was read stays, what neither list nor event shows goes', (t) => {
  const table = new LockTable()
  table.merge([listedLock('old', 1), listedLock('kept', 2)])
  table.beginRound()
  table.apply(eventOf('granted', 'new', 9))
  table.merge([listedLock('kept', 2)])
  table.endRound()
  t.equal(names(table), 'kept#2 new#9')
  t.end()
})

void t.test('late news of an earlier grant changes nothing', (t) => {
  const table = new LockTable()
  table.merge([listedLock('a', 7)])
  t.equal(table.apply(eventOf('granted', 'a', 3)), false)
  t.equal(table.apply(eventOf('force_released', 'a', 3)), false)
  table.merge([listedLock('a', 3)])
  t.equal(names(table), 'a#7')
  t.equal(table.apply(eventOf('renewed', 'a', 3)), false)
  t.equal(table.apply(eventOf('renewed', 'a', 7)), true, 'a renewal is a reason to look')
  t.end()
})

void t.test('an end that arrives before its beginning is remembered for a round', (t) => {
  const table = new LockTable()
  table.apply(eventOf('released', 'a', 4))
  table.apply(eventOf('granted', 'a', 4))
  t.equal(names(table), '')
  for (let rounds = 0; rounds < 2; rounds += 1) {
    table.beginRound()
    table.endRound()
  }
  table.merge([listedLock('a', 4)])
  t.equal(names(table), 'a#4', 'then the list is believed again')
  t.end()
})

void t.test('locks are in the order of the service’s lists', (t) => {
  const table = new LockTable()
  table.merge(['😀', 'ﬀ', 'b', 'a/2', 'a', 'B', '😀x', 'é'].map((name, index) => listedLock(name, index + 1)))
  t.equal(table.locks.map(({ name }) => name).join(' '), 'B a a/2 b é ﬀ 😀 😀x')
  t.equal(table.locks, table.locks, 'and not sorted anew as long as nothing changes')
  t.end()
})
