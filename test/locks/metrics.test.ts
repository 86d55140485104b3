import t from 'tap'
import { Histogram, RecentValues, Statistics } from '../../src/locks/metrics.js'

void t.test('a value belongs to the first bucket that it does not exceed', (t) => {
  const histogram = new Histogram([1, 5])
  for (const value of [0, 1, 1.001, 5, 6, Infinity]) histogram.observe(value)
  t.strictSame(histogram.counts, [2, 2, 2])
  t.equal(new Histogram([1]).sum, 0)
  t.end()
})

void t.test('percentiles speak of the last five minutes and of the last thousand values', (t) => {
  let now = 0
  const recent = new RecentValues(() => now)
  t.equal(recent.percentile(0.5), null)
  recent.add(7)
  t.strictSame([0, 0.5, 1].map((share) => recent.percentile(share)), [7, 7, 7])
  for (const value of [3, 1, 2]) recent.add(value)
  t.strictSame([0.5, 0.75, 0.95].map((share) => recent.percentile(share)), [2, 3, 7])
  now += 299_999
  recent.add(100)
  t.equal(recent.percentile(0.5), 3)
  now += 1
  t.equal(recent.percentile(0.5), 100, 'what is older does not count')
  for (let value = 0; value < 5000; value += 1) recent.add(value)
  t.equal(recent.percentile(0), 5000 - 1024, 'nor does what was before so many')
  now += 300_000
  t.equal(recent.percentile(0.95), null, 'nobody waited: unknown')
  t.end()
})

void t.test('the tally of conflicts keeps the most contended names', (t) => {
  const statistics = new Statistics()
  const conflict = (name: string): void =>
    statistics.requested({ kind: 'held', conflicts: [{ resourceName: name as never, processId: 'p' as never, lockId: 1, lockedAt: 0, expiresAt: null }], at: 0, waiters: 0 }, 1, undefined)
  for (let number = 0; number < 3000; number += 1) {
    conflict(`name ${number}`)
    conflict('hot')
  }
  statistics.requested({ kind: 'granted', grants: [], replayed: true }, 7, undefined)
  statistics.requested({ kind: 'request-id-reused' }, 750, 500)
  t.strictSame([statistics.requests.replayed.sum, statistics.requests.request_id_reused.sum], [0.007, 0.25], 'the time in line is counted apart')
  t.match(statistics.mostContended(1), [{ name: 'hot', conflicts: 3000 }])
  t.ok(statistics.mostContended(10_000).length <= 1000)
  t.equal(statistics.counters.conflicts, 6000)
  t.end()
})
