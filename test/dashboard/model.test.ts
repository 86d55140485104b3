import t from 'tap'
import type { ListedLock } from '../../src/client/index.js'
import { Figures, type KnownStats } from '../../src/dashboard/page/figures.js'
import { searchFromView, viewFromSearch } from '../../src/dashboard/page/hooks.js'
import { exported, LockTable, type Lock } from '../../src/dashboard/page/lock-table.js'
import { attention } from '../../src/dashboard/page/overview.js'
import { duration, ranges, rate, remaining, shortDuration, shellWord, snippetsFor } from '../../src/dashboard/page/parts.js'
import { rowsOf, usageOf, type RowsQuery } from '../../src/dashboard/page/rows.js'
import { listedLock, sharing } from './listed-locks.js'

const GRANTED = Date.UTC(2024, 0, 15, 10, 30)

function locksOf(...wires: readonly ListedLock[]): readonly Lock[] {
  const table = new LockTable()
  table.merge(wires)
  return table.locks
}

const NO_ROWS_TURNED: RowsQuery = { filter: '', sort: 'name', folded: new Set(), turned: new Set() }

/** Each row in short. */
const rowTexts = (locks: readonly Lock[], query: Partial<RowsQuery>): string[] =>
  rowsOf(locks, { ...NO_ROWS_TURNED, ...query }).map((row) => {
    if (row.kind === 'group') return `[${row.prefix} ${row.members.length} ${row.waiters}]`
    if (row.kind === 'shared') return `${row.open ? '-' : '+'}${row.name} ${row.members.length}/${row.holders} ${row.usage.used}/${row.usage.limit}`
    return row.isShare ? `  #${row.lock.lockId}` : row.lock.name
  })

const texts = (name: string, withKey = false, limit?: number | null): string =>
  snippetsFor(name, 'http://host:8000', withKey, limit).map(({ text }) => text).join('\n')

/** A lock that was granted so many seconds before `now`, which is ten hours after GRANTED. */
const NOW = GRANTED + 36_000_000
const aged = (name: string, seconds: number, more: Partial<ListedLock> = {}): ListedLock =>
  listedLock(name, 1, { lockedAt: new Date(NOW - seconds * 1000), expiresAt: null, ttlSeconds: null, ...more })

void t.test('rows are grouped by prefix, other names last, and folded and filtered', (t) => {
  const locks = locksOf(listedLock('solo', 1), listedLock('b/2', 2, { metadata: { branch: 'main' } }), listedLock('b/1', 3, { waiters: 2 }), listedLock('a:x', 4, { processId: 'Worker B' }))
  const shown = (filter: string, folded: readonly string[] = []) => rowTexts(locks, { filter, folded: new Set(folded) })
  t.strictSame(shown(''), ['[a: 1 0]', 'a:x', '[b/ 2 2]', 'b/1', 'b/2', '[ 1 0]', 'solo'])
  t.strictSame(shown('', ['b/']), ['[a: 1 0]', 'a:x', '[b/ 2 2]', '[ 1 0]', 'solo'])
  t.strictSame(shown(' wORKER b '), ['[a: 1 0]', 'a:x'], 'by holder, in any case')
  t.strictSame(shown('branch=Main'), ['[b/ 1 0]', 'b/2'], 'by a field of the metadata')
  t.strictSame(shown('nothing'), [])
  t.end()
})

void t.test('every sort puts what catches the eye first, inside its group', (t) => {
  const locks = locksOf(
    listedLock('g/1', 1, { processId: 'z', lockedAt: new Date('2024-01-15T10:00:00Z'), expiresAt: null, renewals: 3 }),
    listedLock('g/2', 9, { processId: 'a', waiters: 4 }),
    listedLock('g/3', 5, { processId: 'm', expiresAt: new Date('2024-01-15T10:30:05Z'), renewals: 1 })
  )
  const order = (sort: RowsQuery['sort']) =>
    rowsOf(locks, { ...NO_ROWS_TURNED, sort }).flatMap((row) => (row.kind === 'lock' ? [row.lock.name.slice(2)] : [])).join('')
  t.strictSame((['name', 'holder', 'age', 'ends', 'renewals', 'token', 'waiters'] as const).map(order), ['123', '231', '123', '321', '132', '231', '213'])
  t.end()
})

void t.test('a shared resource is one row that opens to its holders', (t) => {
  const locks = locksOf(
    listedLock('g/gpu', 3, { processId: 'z', waiters: 2, ...sharing(4, 1) }),
    listedLock('g/gpu', 5, { processId: 'm', waiters: 2, expiresAt: new Date(GRANTED), ...sharing(8, 2, 3) }),
    listedLock('g/one', 4, { processId: 'k', expiresAt: new Date(GRANTED + 5000) }),
    listedLock('g/read', 7, sharing(null))
  )
  t.strictSame(rowTexts(locks, {}), ['[g/ 4 2]', '+g/gpu 2/2 3/4', 'g/one', '+g/read 1/1 1/null'], 'its waiters are counted once')
  t.strictSame(rowTexts(locks, { turned: new Set(['g/gpu']) }), ['[g/ 4 2]', '-g/gpu 2/2 3/4', '  #3', '  #5', 'g/one', '+g/read 1/1 1/null'])
  t.strictSame(rowTexts(locks, { sort: 'ends', turned: new Set(['g/gpu']) }).slice(1, 4), ['-g/gpu 2/2 3/4', '  #5', '  #3'], 'where the first of its holders would be')
  t.strictSame(rowTexts(locks, { sort: 'holder' }), ['[g/ 4 2]', 'g/one', '+g/gpu 2/2 3/4', '+g/read 1/1 1/null'])
  t.strictSame(rowTexts(locks, { filter: 'slot=3' }), ['[g/ 1 2]', '-g/gpu 1/2 3/4', '  #5'], 'open where only some of its holders are shown; what is used is of all')
  t.strictSame(rowTexts(locks, { filter: 'mode=shared', turned: new Set(['g/read']) }), ['[g/ 3 2]', '+g/gpu 2/2 3/4', '-g/read 1/1 1/null', '  #7'])
  t.strictSame(rowTexts(locks, { folded: new Set(['g/']) }), ['[g/ 4 2]'])
  t.end()
})

void t.test('what a list has yet to tell of a share is unknown, not 0', (t) => {
  const [first] = locksOf(listedLock('a', 1, sharing(2, 1)))
  t.strictSame(first && usageOf([first, { ...first, share: undefined }]), { used: undefined, limit: undefined })
  t.end()
})

void t.test('an export has of each lock what a list has', (t) => {
  const [one, two] = locksOf(listedLock('a', 1), listedLock('b', 2, sharing(2, 1)))
  t.notMatch(JSON.stringify(one && exported(one)), 'mode')
  t.match(two && exported(two), { resource_name: 'b', lock_id: 2, mode: 'shared', limit: 2, permits: 1, slots: [1] })
  t.end()
})

void t.test('look here first: waited for, held unusually long, expiring without renewal', (t) => {
  const soon = (seconds: number): Partial<ListedLock> => ({ expiresAt: new Date(NOW + seconds * 1000), ttlSeconds: 60 })
  const found = attention(
    locksOf(
      ...[1, 2, 3, 4].map((index) => aged(`g/${index}`, 30, { waiters: index === 3 ? 2 : 0 })),
      aged('g/stuck', 300, { waiters: 5 }),
      aged('small/hour', 3600),
      aged('small/minutes', 600),
      aged('dead', 50, { ...soon(8), renewals: 4 }),
      aged('leaving', 55, soon(5)),
      aged('healthy', 50, { ...soon(40), renewals: 4 }),
      aged('over', 70, soon(-1)),
      aged('shared/all', 1000, { ...sharing(null), waiters: 1 }),
      aged('shared/all', 2000, { ...sharing(null), lockId: 2, waiters: 1 })
    ),
    NOW
  )
  t.strictSame(found.waitedFor.map(({ lock }) => lock.name), ['g/stuck', 'g/3', 'shared/all'], 'each resource once')
  t.strictSame(found.long.map(({ lock, measure }) => [lock.name, measure]), [
    ['small/hour', undefined],
    ['shared/all', undefined],
    ['g/stuck', 10]
  ])
  t.equal(found.long[1]?.lock.lockId, 2, 'of several holders the one that comes first')
  t.strictSame(found.expiring.map(({ lock }) => lock.name), ['dead', 'leaving'], 'first who renewed and then no more')
  t.end()
})

void t.test('figures that cannot be read are unknown, not 0', (t) => {
  const figures = new Figures()
  t.match(figures.latest, { held: undefined, grantsPerSecond: undefined, waitP95Seconds: undefined })
  t.equal(figures.since, undefined)
  figures.add({ held: 3, waiters: 0, grants: 10, conflicts: 5, expiries: 1, instance: 'i', countedSince: new Date(GRANTED) }, 0)
  t.equal(figures.since, GRANTED)
  t.match(figures.latest, { held: 3, waiting: 0, grantsPerSecond: undefined, expired: 1 }, 'a rate takes two readings')
  figures.add({ held: 3, waiters: 0, grants: 30, conflicts: 5, expiries: 1, instance: 'i', waitSecondsP95: null }, 2000)
  t.match(figures.latest, { grantsPerSecond: 10, conflictsPerSecond: 0, waitP95Seconds: null })
  figures.add(undefined, 4000)
  t.match(figures.latest, { held: undefined, grantsPerSecond: undefined, expired: undefined })
  figures.add({ held: 3, grants: 4, conflicts: 5, instance: 'i' }, 6000)
  t.match(figures.latest, { waiting: undefined, grantsPerSecond: undefined }, 'nor does a counter that went back say anything')
  t.equal(figures.samples.length, 4)
  t.end()
})

void t.test('counters that a key with a prefix may not see are unknown, not 0', (t) => {
  const figures = new Figures()
  const hidden: KnownStats = { held: 3, waiters: 0, grants: null, conflicts: null, expiries: null, instance: 'i' }
  figures.add(hidden, 0)
  figures.add(hidden, 2000)
  t.match(figures.latest, { held: 3, waiting: 0, grantsPerSecond: undefined, conflictsPerSecond: undefined, expired: undefined })
  t.end()
})

void t.test('counters of several instances behind one address are not mixed up', (t) => {
  const figures = new Figures()
  const read = (instance: string, grants: number, at: number) =>
    figures.add({ held: 1, grants, conflicts: 0, expiries: 2, instance, countedSince: new Date(instance === 'a' ? 500 : 700) }, at)
  read('a', 1000, 0)
  read('b', 5, 1000)
  t.equal(figures.latest.grantsPerSecond, undefined)
  read('a', 1020, 2000)
  read('b', 15, 3000)
  t.match(figures.latest, { grantsPerSecond: 15, expired: 4 }, 'ten a second on the one, five on the other')
  t.equal(figures.since, 500, 'the sum counts since the first of them began')
  read('b', 25, 20_000)
  t.match(figures.latest.grantsPerSecond, 10 / 17, 'one that has gone no longer counts')
  t.end()
})

void t.test('times and rates are short and say no more than is known', (t) => {
  t.strictSame(
    [0, 999, 59_999, 60_000, 61_000, 3_599_000, 3_600_000, 3_660_000, 90_000_000, -5].map(duration),
    ['0 s', '0 s', '59 s', '1 min', '1 min 1 s', '59 min 59 s', '1 h', '1 h 1 min', '1 d 1 h', '0 s']
  )
  t.strictSame([1, 1000, 1001].map(remaining), ['1 s', '1 s', '2 s'])
  t.strictSame([0, 0.0421, 1.25, 75].map(shortDuration), ['0 ms', '42 ms', '1.3 s', '1 min 15 s'])
  t.strictSame([[3], [1, 2, 3, 7], [2, 4]].map(ranges), ['3', '1–3, 7', '2, 4'])
  t.strictSame([0, 0.4, 12.34, 1234.5].map(rate), ['0', '0.4', '12.3', '1,235'])
  t.end()
})

void t.test('snippets are safe to paste into a shell', (t) => {
  t.equal(shellWord('deploy/production'), 'deploy/production')
  t.equal(shellWord("$(rm -rf ~); it's"), String.raw`'$(rm -rf ~); it'\''s'`)
  t.equal(shellWord('-n'), "'-n'")
  t.match(texts('a b'), "RLM_URL=http://host:8000 rlm run 'a b' -- CMD")
  t.match(texts('a&b=c'), "curl 'http://host:8000/locks/status?resource_name=a%26b%3Dc'")
  t.notMatch(texts('-rf'), 'rlm', 'what would be read as an option is left out')
  t.match(texts('a', false, 5), /rlm run a --limit 5 -- CMD[^]*"limit":5/, 'a share, where the others have shares')
  t.match(texts('a', false, null), /rlm run a --shared -- CMD[^]*"mode":"shared"/)
  t.notMatch(texts('a'), /shared|limit|share/)
  t.notMatch(texts('a'), 'RLM_API_KEY')
  t.match(texts('a', true), '-H "Authorization: Bearer $RLM_API_KEY"')
  t.end()
})

void t.test('the view is kept in the address, and comes back from it', (t) => {
  const view = { filter: 'a b&c=<', sort: 'age', resource: 'x/ü?q=1' } as const
  t.strictSame(viewFromSearch(searchFromView(view)), view)
  t.equal(searchFromView(viewFromSearch('')), '')
  t.match(viewFromSearch('?sort=nonsense'), { sort: 'name', filter: '', resource: null })
  t.end()
})
