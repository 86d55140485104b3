import t from 'tap'
import { check } from './check.js'
import { decide } from './decided.js'
import { judge } from './linearizability.js'
import type { Operation } from './operation.js'
import { overtaken, type Sighting } from './queue-order.js'
import { compare, type Recorded } from './recorded.js'
import { EXACT, granted, heldBy, look, NEVER, operation, release, request } from './small-histories.js'
import { compareStream, hasCaughtUp } from './streams.js'

const first = operation([1, 2], request('p'), granted('p', 1, 1))

const VERDICTS: readonly (readonly [title: string, 'linearizable' | 'impossible', readonly Operation[]])[] = [
  ['a second holder while the first one holds', 'impossible', [first, operation([3, 4], request('q'), granted('q', 2, 3))]],
  ['a second holder after a release', 'linearizable', [
    first,
    operation([3, 5], release('p'), { kind: 'released', at: 4, process: 'p', lockId: null }),
    operation([3, 6], request('q'), granted('q', 2, 5))
  ]],
  ['a smaller number', 'impossible', [
    operation([1, 2], request('p', { ttlMs: 1 }), granted('p', 5, 1, 2)),
    operation([3, 4], request('q'), granted('q', 4, 3))
  ]],
  ['a grant one millisecond before the lease ends', 'impossible', [
    operation([1, 2], request('p', { ttlMs: 9 }), granted('p', 1, 1, 10)),
    operation([3, 20], request('q'), granted('q', 2, 9))
  ]],
  ['a grant in the millisecond in which the lease ends', 'linearizable', [
    operation([1, 2], request('p', { ttlMs: 9 }), granted('p', 1, 1, 10)),
    operation([3, 20], request('q'), granted('q', 2, 10))
  ]],
  ['free while it is held', 'impossible', [first, operation([3, 4], look, { kind: 'free' })]],
  ['free beside a call that is not answered yet', 'linearizable', [operation([1, 4], request('p'), granted('p', 1, 1)), operation([2, 3], look, { kind: 'free' })]],
  ['a release that nobody was told of, and a later grant', 'linearizable', [
    first,
    operation([3, NEVER], release('p'), { kind: 'unknown' }),
    operation([4, 5], look, heldBy('p', 1)),
    operation([6, 7], look, { kind: 'free' })
  ]],
  ['a request that nobody was told of, found with the holder', 'linearizable', [
    operation([1, NEVER], request('p', { ttlMs: 10 }), { kind: 'unknown' }),
    operation([2, 3], look, { kind: 'free' }),
    operation([4, 5], look, heldBy('p', 7, 13)),
    operation([6, 20], request('q'), granted('q', 8, 13))
  ]],
  ['the same, and another grant before its lease can have ended', 'impossible', [
    operation([1, NEVER], request('p', { ttlMs: 10 }), { kind: 'unknown' }),
    operation([4, 5], look, heldBy('p', 7, 13)),
    operation([6, 20], request('q'), granted('q', 8, 12))
  ]],
  ['two grants for one id', 'impossible', [
    operation([1, 2], request('p', { requestId: 'r', ttlMs: 5 }), granted('p', 1, 1, 6)),
    operation([8, 9], request('p', { requestId: 'r', ttlMs: 5 }), granted('p', 2, 8, 13))
  ]],
  ['a repetition that is answered with the same grant', 'linearizable', [
    operation([1, NEVER], request('p', { requestId: 'r' }), { kind: 'unknown' }),
    operation([3, 4], request('p', { requestId: 'r' }), granted('p', 1, 1, null, true))
  ]],
  ['a repetition that is told that its own grant is in the way', 'impossible', [
    operation([1, 2], request('p', { requestId: 'r' }), granted('p', 1, 1)),
    operation([3, 4], request('p', { requestId: 'r' }), heldBy('p', 1))
  ]],
  ['an id that is said to be used and never was', 'impossible', [operation([1, 2], request('p', { requestId: 'r' }), { kind: 'reused' })]],
  ['a renewal after the end', 'impossible', [
    operation([1, 2], request('p', { ttlMs: 5 }), granted('p', 1, 1, 6)),
    operation([8, 9], { kind: 'renew', process: 'p', lockId: null, ttlMs: 5 }, { kind: 'renewed', grant: { process: 'p', lockId: 1, lockedAt: 1, expiresAt: 13 }, at: 8 })
  ]],
  ['the wrong reason: released, though it ran out', 'impossible', [
    operation([1, 2], request('p', { ttlMs: 5 }), granted('p', 1, 1, 6)),
    operation([8, 9], release('p'), { kind: 'not-held', reason: 'released' })
  ]],
  ['the right reason: it ran out', 'linearizable', [
    operation([1, 2], request('p', { ttlMs: 5 }), granted('p', 1, 1, 6)),
    operation([8, 9], release('p'), { kind: 'not-held', reason: 'expired' })
  ]],
  ['taken away with the number of an earlier grant', 'impossible', [first, operation([3, 4], release(null, 7), { kind: 'released', at: 3, process: 'p', lockId: 7 })]]
]

for (const [title, verdict, operations] of VERDICTS) {
  void t.test(`${title}: ${verdict}`, (t) => {
    t.equal(judge(operations, EXACT).kind, verdict)
    t.end()
  })
}

function violations(...operations: Operation[]): number {
  return check({ operations, events: [], sightings: [] }, EXACT).violations.length
}

void t.test('a waiter whose connection is gone', async (t) => {
  const gone = operation([1, NEVER], request('p', { waits: true, requestId: 'r' }), { kind: 'unknown' })
  const free = operation([5, 6], look, { kind: 'free' })
  const answered = operation([3, 4], request('p', { requestId: 'r' }), granted('p', 1, 2, null, true))
  const seen = operation([3, 4], look, heldBy('p', 1))
  t.equal(violations(gone, seen, free), 0, 'what it was granted may be given back')
  t.equal(violations(gone, answered, free), 1, 'but not once a repetition was answered with it')
  const impatient = operation([1, NEVER], request('p', { requestId: 'r' }), { kind: 'unknown' })
  t.equal(violations(impatient, seen, free), 1, 'nor to one that did not wait')
})

void t.test('a search that is given up is undecided', async (t) => {
  const open = Array.from({ length: 12 }, (_, index) => operation([1, NEVER], request(`p${index}`, { ttlMs: 1 }), { kind: 'unknown' }))
  t.equal(judge([...open, operation([100, 101], look, heldBy('nobody', 99))], EXACT, 50).kind, 'undecided')
})

function told(kind: Recorded['kind'], index: number, process: string): Recorded {
  return { eventId: index, kind, at: 20 + 2 * index, resource: 'a', lockId: index + 1, process }
}

void t.test('what the search alone does not decide is decided by the history', async (t) => {
  const requests = Array.from({ length: 14 }, (_, index) => operation([index, NEVER], request(`p${index}`, { ttlMs: 1 }), { kind: 'unknown' }))
  const last = operation([100, 101], request('q'), granted('q', 15, 100))
  const decided = decide([...requests, last], requests.map((_, index) => told('granted', index, `p${index}`)), EXACT)
  t.equal(decided.filter(({ answer }) => answer.kind === 'granted').length, 15)
  t.equal(judge(decided, EXACT, 100).kind, 'linearizable')
  t.same(decide([...requests, last], [], EXACT), [last], 'what it does not tell of did not happen')
  const taken = operation([10, NEVER], release(null), { kind: 'unknown' })
  t.match(decide([first, taken], [told('force_released', 0, 'p')], EXACT)[1], { answer: { kind: 'released', at: 20 } })
  t.same(decide([first, { ...taken, calledAt: 50 }], [told('force_released', 0, 'p')], EXACT), [first], 'it was asked for later')
})

void t.test('the history of the service', async (t) => {
  let eventId = 0
  const event = (kind: Recorded['kind'], process: string, lockId: number, at: number, resource = 'a'): Recorded => ({ eventId: (eventId += 1), kind, at, resource, lockId, process })
  const released = operation([3, 5], release('p'), { kind: 'released', at: 4, process: 'p', lockId: null })
  t.same(compare([first, released], [event('granted', 'p', 1, 1), event('released', 'p', 1, 4)]), { violations: [], lost: [] })
  t.match(compare([first, released], [event('granted', 'p', 1, 1)]).lost, [/#\d+ .*released/], 'a release that is not there is lost')
  t.match(compare([first], []).lost, [/#\d+ .*granted/], 'and so is a grant')
  t.match(compare([first], [event('granted', 'p', 1, 1), event('granted', 'q', 2, 5)]).violations, [/two grants at once/, /nobody asked for it/])
  t.match(compare([first], [event('granted', 'p', 1, 1), event('released', 'p', 1, 4)]).violations, [/nobody released it/])
  t.match(compare([first], [event('granted', 'p', 1, 1), event('force_released', 'p', 1, 4)]).violations, [/nobody took it away/])
  const part = operation([1, NEVER], request('s', { together: 's', requestId: 's' }), { kind: 'unknown' })
  const set = [part, { ...part, resource: 'b' }]
  t.same(compare(set, []).violations, [], 'nothing')
  t.same(compare(set, [event('granted', 's', 1, 1), event('granted', 's', 2, 1, 'b')]).violations, [], 'or all')
  t.match(compare(set, [event('granted', 's', 1, 1)]).violations, [/granted only a part/], 'but no half')
})

void t.test('what was recorded while the clock was set', async (t) => {
  const back = [{ ...told('granted', 0, 'p'), at: 90 }, { ...told('released', 1, 'p'), lockId: 1, at: 95 }, { ...told('granted', 2, 'q'), at: 20 }]
  const asked = ['p', 'q'].map((process) => operation([1, NEVER], request(process), { kind: 'unknown' }))
  const released = operation([2, NEVER], release('p'), { kind: 'unknown' })
  t.match(compare([...asked, released], back).violations, [/two grants at once/], 'by one clock that is impossible')
  t.same(compare([...asked, released], back, { clocksMs: NEVER }).violations, [])
  t.match(compare(asked, [back[0] ?? told('granted', 0, 'p'), told('granted', 2, 'q')], { clocksMs: NEVER }).violations, [/two grants at once/], 'the first one has to end whatever the clock says')
  t.same(check({ operations: [first, operation([3, 4], look, { kind: 'free' })], events: [told('granted', 0, 'p')], sightings: [] }, { clocksMs: NEVER }).violations, [], 'and no order is judged')
})

void t.test('the stream of a watcher', async (t) => {
  const history = [told('granted', 1, 'p'), told('released', 2, 'p'), told('granted', 4, 'q')]
  const [a, b, c] = history as [Recorded, Recorded, Recorded]
  const elsewhere = { ...told('granted', 3, 'x'), resource: 'b' }
  t.same(compareStream('w', [a, b, elsewhere, c, told('released', 9, 'q')], history), [], 'may tell of others, and of what came later')
  t.match(compareStream('w', [a, c], history), [/w was never told of .*released/])
  t.match(compareStream('w', [a, b, b, c], history), [/told of event 2 after 2/], 'twice')
  t.match(compareStream('w', [b, a, c], history), [/told of event 1 after 2/], 'in another order')
  t.match(compareStream('w', [a, { ...b, process: 'x' }, c], history), [/w was told .*"x".* and the history says/])
  t.match(compareStream('w', [a, b, told('renewed', 3, 'p'), c], history), [/not in the history: .*renewed/])
  t.same([hasCaughtUp([a, b], history), hasCaughtUp([elsewhere, c], history), hasCaughtUp([], [])], [false, true, false])
})

function place(at: number, until = NEVER): Sighting {
  return { resource: 'a', ticket: '1', process: 'w', from: at, to: at, until }
}

void t.test('the order of the line', async (t) => {
  const hasty = operation([20, 31], request('q'), granted('q', 5, 30))
  t.match(overtaken([hasty], [place(10), place(40)], EXACT), [/q was granted a at 30, having asked at 20, before w/])
  t.same(overtaken([hasty], [place(10)], EXACT), [], 'gone before, for all that is known')
  t.same(overtaken([{ ...hasty, answeredAt: 50 }], [place(10), place(40)], EXACT), [], 'what is seen before the answer may be committed with the grant')
  t.same(overtaken([hasty], [place(25), place(40)], EXACT), [], 'come after the other one had asked')
  t.same(overtaken([hasty], [place(10, 15), place(40)], EXACT), [], 'lapsed meanwhile')
  t.same(overtaken([hasty], [place(10, 15), place(28, 60), place(40)], EXACT), [], 'lapsed between two sightings')
  t.same(overtaken([{ ...hasty, resource: 'b' }], [place(10), place(40)], EXACT), [], 'another resource')
})
