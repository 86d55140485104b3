import t from 'tap'
import { LockTable } from '../../src/dashboard/page/lock-table.js'
import { eventOf, listedLock, sharing } from './listed-locks.js'

const names = (table: LockTable): string => table.locks.map(({ name, lockId }) => `${name}#${lockId}`).join(' ')

void t.test('a list and the events after it give the present state', (t) => {
  const table = new LockTable()
  table.beginRound()
  table.merge([listedLock('a', 1), listedLock('b', 2)])
  table.endRound()
  t.equal(table.apply(eventOf('granted', 'c', 3)), true)
  t.equal(table.apply(eventOf('released', 'a', 1)), true)
  t.equal(names(table), 'b#2 c#3')
  t.match(table.grantsOf('b'), [{ process: 'p', lockedAt: Date.UTC(2024, 0, 15, 10, 30), expiresAt: Date.UTC(2024, 0, 15, 10, 31), ttlMs: 60_000, share: null }])
  t.match(table.grantsOf('c'), [{ expiresAt: undefined, renewals: undefined, waiters: undefined, share: undefined }], 'what an event does not say is unknown')
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
  t.equal(table.apply(eventOf('revoked', 'a', 7)), true, 'as is a request to end')
  t.equal(names(table), 'a#7')
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

void t.test('several shares of a name stand side by side, whether a list or an event tells of them first', (t) => {
  const table = new LockTable()
  table.merge([listedLock('gpu', 3, sharing(4, 1)), listedLock('gpu', 5, sharing(4, 2, 3))])
  t.equal(table.apply(eventOf('granted', 'gpu', 8)), true)
  t.equal(table.apply(eventOf('granted', 'gpu', 8)), false, 'each once')
  table.merge([listedLock('gpu', 5, sharing(4, 2, 3)), listedLock('gpu', 8, sharing(4, 4))])
  t.equal(names(table), 'gpu#3 gpu#5 gpu#8')
  t.match(table.grantsOf('gpu').map(({ share }) => share?.slots), [[1], [2, 3], [4]])
  t.equal(table.apply(eventOf('released', 'gpu', 5)), true)
  table.merge([listedLock('gpu', 5, sharing(4, 2, 3)), listedLock('gpu', 7, sharing(4, 3))])
  t.equal(names(table), 'gpu#3 gpu#7 gpu#8', 'one ends and the others stay, also those before it')
  t.equal(table.has({ name: 'gpu', lockId: 5 }), false)
  table.beginRound()
  table.merge([listedLock('gpu', 8, sharing(4, 4))])
  table.endRound()
  t.equal(names(table), 'gpu#8', 'what a whole reading does not show is gone')
  t.end()
})

void t.test('an exclusive lock is alone: shares before it are over, and it ends with the next grant', (t) => {
  const table = new LockTable()
  table.merge([listedLock('a', 1, sharing(null)), listedLock('a', 2, sharing(null))])
  table.merge([listedLock('a', 4)])
  t.equal(names(table), 'a#4')
  table.merge([listedLock('a', 2, sharing(null))])
  t.equal(table.apply(eventOf('granted', 'a', 3)), false)
  t.equal(names(table), 'a#4', 'late news of them changes nothing')
  table.merge([listedLock('a', 6, sharing(null)), listedLock('a', 7, sharing(null))])
  t.equal(names(table), 'a#6 a#7')
  table.merge([listedLock('a', 4)])
  t.equal(names(table), 'a#6 a#7', 'nor does a page from before they were granted')
  t.end()
})

void t.test('a lock that becomes a share keeps its number, and stays when others join it', (t) => {
  const table = new LockTable()
  table.merge([listedLock('a', 1)])
  t.equal(table.apply(eventOf('converted', 'a', 1)), true)
  t.match(table.grantsOf('a'), [{ share: { limit: undefined, permits: undefined, slots: [] } }], 'how much it takes is unknown')
  table.merge([listedLock('a', 1)])
  table.apply(eventOf('granted', 'a', 2))
  t.equal(names(table), 'a#1 a#2', 'a page from before it was converted changes nothing')
  table.merge([listedLock('a', 1, sharing(3, 1)), listedLock('a', 2, sharing(3, 2))])
  t.equal(table.apply(eventOf('converted', 'b', 9)), true, 'also of a lock that is not known yet, a reason to look')
  t.equal(names(table), 'a#1 a#2')
  t.end()
})

void t.test('shares that are merged in any order, with pages that are late, end up as what is valid', (t) => {
  const page = [listedLock('s', 1, sharing(3, 1)), listedLock('s', 2, sharing(3, 2))]
  const steps = [
    (table: LockTable) => table.merge(page),
    (table: LockTable) => table.apply(eventOf('released', 's', 1)),
    (table: LockTable) => table.apply(eventOf('granted', 's', 3)),
    (table: LockTable) => table.merge([listedLock('s', 2, sharing(3, 2)), listedLock('s', 3, sharing(3, 1))])
  ]
  for (const order of permutations(steps)) {
    const table = new LockTable()
    for (const step of order) step(table)
    t.equal(names(table), 's#2 s#3')
  }
  t.end()
})

function permutations<Item>(items: readonly Item[]): Item[][] {
  if (items.length === 0) return [[]]
  return items.flatMap((item, index) => permutations(items.toSpliced(index, 1)).map((rest) => [item].concat(rest)))
}
