import t from 'tap'
import type { Sharing } from '../../../src/locks/lock.js'
import { judge } from './linearizability.js'
import type { Answer, Ask, Operation, UsageTold } from './operation.js'
import { compare, type Recorded } from './recorded.js'
import { overtaken } from './queue-order.js'
import { faultsOfShares, type HeldGrant } from './shares.js'
import { EXACT, free, granted, look, NEVER, notHeld, operation, release, released, request, told, unknown } from './small-histories.js'

/* Small histories of shares, of what is kept, and of locks that are revoked or converted: right ones, and each way to be wrong. */

const reader: Sharing = { limit: null, permits: 1 }
const of = (limit: number, permits = 1): Sharing => ({ limit, permits })

/** A share from that instant on, for so long. */
function share(process: string, lockId: number, at: number, sharing: Sharing | null, slots: readonly number[] = [], ttlMs: number | null = null): Operation {
  return operation([at, at + 0.5], request(process, { sharing, ttlMs }), { kind: 'granted', grant: told(process, lockId, at, ttlMs === null ? null : at + ttlMs, { sharing, slots }), replayed: false })
}

function refused(process: string, at: number, sharing: Sharing | null, by: string, lockId: number, usage?: UsageTold, more: { readonly expiresAt?: number; readonly kept?: true } = {}): Operation {
  const answer: Answer = { kind: 'held', by: { process: by, lockId, expiresAt: null, ...more }, ...(usage === undefined ? {} : { usage }) }
  return operation([at, at + 0.5], request(process, { sharing }), answer)
}

const usage = (holders: number, used: number, limit: number | null): UsageTold => ({ holders, used, limit })
const free1 = (process: string, at: number): Operation => operation([at, at + 0.5], release(process), released(process, at, { freeAt: null }))
const convert = (process: string, sharing: Sharing | null): Ask => ({ kind: 'convert', process, lockId: null, sharing })
const converted = (at: number, process: string, sharing: Sharing | null, lockId: number, lockedAt: number, slots: readonly number[] = []): Operation =>
  operation([at, at + 0.5], convert(process, sharing), { kind: 'converted', grant: told(process, lockId, lockedAt, null, { sharing, slots }) })
const revoke = (at: number, graceMs: number, process: string, lockId: number, lockedAt: number, end: number, revokeAt = end): Operation =>
  operation([at, at + 0.5], { kind: 'revoke', process: null, lockId: null, graceMs }, { kind: 'revoked', all: [told(process, lockId, lockedAt, end)], lockId, revokeAt })
const renewed = (at: number, process: string, ttlMs: number, end: number, revokedAt: number | null = null): Operation =>
  operation([at, at + 0.5], { kind: 'renew', process, lockId: null, ttlMs }, { kind: 'renewed', grant: told(process, 1, 1, end), at, revokedAt })

const r1 = share('p', 1, 1, reader)
const writer = operation([1, 1.5], request('p', { ttlMs: 5 }), granted('p', 1, 1, 6))
const delayed = operation([1, 1.5], request('p', { ttlMs: 5, terms: { holdAtLeastMs: 0, lockDelayMs: 10 } }), granted('p', 1, 1, 6))
const freed = operation([7, 7.5], release(null), released('p', 7, { lockId: 1, freeAt: null }))
const held = operation([1, 1.5], request('p', { ttlMs: 50, terms: { holdAtLeastMs: 20, lockDelayMs: 0 } }), granted('p', 1, 1, 51))
const keeping = operation([3, 3.5], release('p', null, { keepMs: 10 }), released('p', 3, { freeAt: 13 }))
const next = (at: number): Operation => operation([at, at + 0.5], request('q'), granted('q', 2, at))

const VERDICTS: readonly (readonly [title: string, 'linearizable' | 'impossible', readonly Operation[]])[] = [
  ['two readers', 'linearizable', [r1, share('q', 2, 2, reader)]],
  ['a writer beside a reader', 'impossible', [r1, share('q', 2, 2, null)]],
  ['a reader beside a writer', 'impossible', [share('p', 1, 1, null), share('q', 2, 2, reader)]],
  ['a semaphore that is full to the last permit', 'linearizable', [share('p', 1, 1, of(3, 2), [1, 2]), share('q', 2, 2, of(3), [3])]],
  ['one permit too many', 'impossible', [share('p', 1, 1, of(3, 2), [1, 2]), share('q', 2, 2, of(3, 2), [3, 4])]],
  ['a limit that another holder has lowered', 'impossible', [share('p', 1, 1, of(3), [1]), share('q', 2, 2, of(2), [2]), share('r', 3, 3, of(5), [3])]],
  ['a reader over the limit of a semaphore', 'impossible', [share('p', 1, 1, of(1), [1]), share('q', 2, 2, reader)]],
  ['a permit of a share that has expired', 'linearizable', [share('p', 1, 1, of(1), [1], 9), share('q', 2, 10, of(1), [1])]],
  ['the same one millisecond before its end', 'impossible', [share('p', 1, 1, of(1), [1], 9), share('q', 2, 9, of(1), [1])]],
  ['two shares of one process', 'impossible', [r1, share('p', 2, 2, reader)]],
  ['a share with a smaller number', 'impossible', [share('p', 5, 1, reader), share('q', 4, 2, reader)]],
  ['a slot that another one holds', 'impossible', [share('p', 1, 1, of(3), [1]), share('q', 2, 2, of(3), [1])]],
  ['a slot above the limit', 'impossible', [share('p', 1, 1, of(2), [3])]],
  ['not the smallest slot', 'impossible', [share('p', 1, 1, of(3), [2])]],
  ['the slot of one that was released', 'linearizable', [share('p', 1, 1, of(3), [1]), share('q', 2, 2, of(3), [2]), free1('p', 3), share('r', 3, 4, of(3), [1])]],
  ['a refusal where all is taken', 'linearizable', [share('p', 1, 1, of(1), [1]), refused('q', 2, of(1), 'p', 1, usage(1, 1, 1))]],
  ['a refusal although it fits', 'impossible', [share('p', 1, 1, of(2), [1]), refused('q', 2, of(2), 'p', 1, usage(1, 1, 2))]],
  ['a refusal for permits that were given back', 'impossible', [share('p', 1, 1, of(2), [1]), share('q', 2, 2, of(2), [2]), free1('q', 3), refused('r', 4, of(2), 'p', 1, usage(1, 1, 2))]],
  ['a refusal that miscounts', 'impossible', [r1, share('q', 2, 2, reader), refused('w', 3, null, 'p', 1, usage(1, 1, null))]],
  ['a share that nobody was told of, found among the holders', 'linearizable', [
    operation([1, NEVER], request('u', { sharing: reader }), unknown),
    share('p', 2, 2, reader),
    operation([3, 4], look, { kind: 'held', by: { process: 'p', lockId: 2, expiresAt: null }, all: [told('u', 1, 1, null, { sharing: reader, slots: [] }), told('p', 2, 2, null, { sharing: reader, slots: [] })], usage: usage(2, 2, null) })
  ]],
  ['a holder that is not among them', 'impossible', [
    r1,
    share('q', 2, 2, reader),
    operation([3, 4], look, { kind: 'held', by: { process: 'q', lockId: 2, expiresAt: null }, all: [told('q', 2, 2, null, { sharing: reader, slots: [] })], usage: usage(1, 1, null) })
  ]],
  ['an upgrade of the only holder', 'linearizable', [r1, converted(2, 'p', null, 2, 2)]],
  ['an upgrade beside another one', 'impossible', [r1, share('q', 2, 2, reader), converted(3, 'p', null, 3, 3)]],
  ['an upgrade that keeps its number', 'impossible', [r1, converted(2, 'p', null, 1, 1)]],
  ['an upgrade that is refused to the only holder', 'impossible', [r1, operation([2, 3], convert('p', null), { kind: 'held', by: { process: 'p', lockId: 1, expiresAt: null }, usage: usage(1, 1, null) })]],
  ['a downgrade', 'linearizable', [share('p', 1, 1, null), converted(2, 'p', of(2), 1, 1, [1]), share('q', 2, 3, of(2), [2])]],
  ['a downgrade with another number', 'impossible', [share('p', 1, 1, null), converted(2, 'p', reader, 2, 2)]],
  ['a conversion that nobody was told of', 'linearizable', [share('p', 1, 1, null), operation([2, NEVER], convert('p', reader), unknown), share('q', 2, 3, reader)]],
  ['a grant within the time for which it is kept', 'impossible', [writer, keeping, next(12)]],
  ['a grant after that', 'linearizable', [writer, keeping, next(13)]],
  ['free while it is kept', 'impossible', [writer, keeping, operation([5, 6], look, free)]],
  ['kept, and said to be', 'linearizable', [writer, keeping, operation([5, 6], look, { kind: 'held', by: { process: 'p', lockId: 1, expiresAt: 13, kept: true } }), refused('q', 7, null, 'p', 1, undefined, { expiresAt: 13, kept: true })]],
  ['kept, and said to be held', 'impossible', [writer, keeping, refused('q', 7, null, 'p', 1, undefined, { expiresAt: 13 })]],
  ['a release that does not keep what it should', 'impossible', [writer, operation([3, 3.5], release('p', null, { keepMs: 10 }), released('p', 3, { freeAt: null }))]],
  ['a release before the lock was held long enough', 'linearizable', [held, operation([3, 3.5], release('p'), released('p', 3, { freeAt: 21 })), next(21)]],
  ['the same, and free too early', 'impossible', [held, operation([3, 3.5], release('p'), released('p', 3, { freeAt: 21 })), next(20)]],
  ['a kept resource that was taken away', 'linearizable', [writer, keeping, operation([4, 4.5], release(null), released('p', 4, { lockId: 1, freeAt: null })), next(5)]],
  ['a renewal while it is kept', 'impossible', [writer, keeping, renewed(4, 'p', 5, 9)]],
  ['a release with a keep that nobody was told of', 'impossible', [writer, operation([3, NEVER], release('p', null, { keepMs: 10 }), unknown), operation([4, 4.5], look, free)]],
  ['a grant within a lock delay', 'impossible', [delayed, next(15)]],
  ['a grant after that delay', 'linearizable', [delayed, next(16)]],
  ['a renewal within a lock delay', 'impossible', [delayed, renewed(7, 'p', 5, 12)]],
  ['within a lock delay the reason is that it expired', 'linearizable', [delayed, operation([7, 8], release('p'), notHeld('expired'))]],
  ['taken away, and delayed', 'linearizable', [delayed, operation([3, 3.5], release(null), released('p', 3, { lockId: 1, freeAt: 13 })), next(13)]],
  ['taken away, and not delayed', 'impossible', [delayed, operation([3, 3.5], release(null), released('p', 3, { lockId: 1, freeAt: null }))]],
  ['taken away without its delay', 'linearizable', [delayed, operation([3, 3.5], release(null, null, { freesAtOnce: true }), released('p', 3, { lockId: 1, freeAt: null })), next(4)]],
  ['taken away within the delay, it is free', 'linearizable', [delayed, freed, next(8)]],
  ['taken away within the delay, and delayed once more', 'impossible', [delayed, operation([7, 7.5], release(null), released('p', 7, { lockId: 1, freeAt: 17 }))]],
  ['the reason stays that it expired', 'linearizable', [delayed, freed, operation([8, 9], release('p'), notHeld('expired'))]],
  ['it expired, and was released, it is said', 'impossible', [delayed, freed, operation([8, 9], release('p'), notHeld('released'))]],
  ['taken away while it was held, it did not expire', 'impossible', [delayed, operation([3, 3.5], release(null), released('p', 3, { lockId: 1, freeAt: 13 })), operation([7, 8], release('p'), notHeld('expired'))]],
  ['released and kept, and then taken away, it did not expire', 'impossible', [writer, keeping, operation([4, 4.5], release(null), released('p', 4, { lockId: 1, freeAt: null })), operation([7, 8], release('p'), notHeld('expired'))]],
  ['released in time, there is no delay', 'linearizable', [delayed, free1('p', 3), next(4)]],
  ['a revocation draws the end in', 'linearizable', [share('p', 1, 1, null), revoke(2, 8, 'p', 1, 1, 10), next(10)]],
  ['a grant within the grace', 'impossible', [share('p', 1, 1, null), revoke(2, 8, 'p', 1, 1, 10), next(9)]],
  ['a renewal past the grace', 'impossible', [writer, revoke(2, 8, 'p', 1, 1, 6, 10), renewed(4, 'p', 20, 24, 10)]],
  ['a renewal up to the grace', 'linearizable', [writer, revoke(2, 8, 'p', 1, 1, 6, 10), renewed(4, 'p', 20, 10, 10)]],
  ['a renewal that does not tell of it', 'impossible', [writer, revoke(2, 8, 'p', 1, 1, 6, 10), renewed(4, 'p', 3, 7, null)]],
  ['a second revocation that gives more time', 'impossible', [share('p', 1, 1, null), revoke(2, 8, 'p', 1, 1, 10), revoke(3, 50, 'p', 1, 1, 53)]],
  ['a revocation that nobody was told of', 'linearizable', [share('p', 1, 1, null), operation([2, NEVER], { kind: 'revoke', process: null, lockId: null, graceMs: 3 }, unknown), next(6)]],
  ['of all shares, one that was not taken away', 'impossible', [r1, share('q', 2, 2, reader), operation([3, 3.5], release(null), released('p', 3, { lockId: 1, all: [told('p', 1, 1)], freeAt: null }))]],
  ['shares that are over, of which the last expired', 'linearizable', [
    share('p', 1, 1, reader, [], 9),
    share('q', 2, 2, reader),
    free1('q', 3),
    operation([12, 13], { kind: 'revoke', process: null, lockId: null, graceMs: 1 }, notHeld('expired'))
  ]],
  ['an exclusive lock that expired, and was released, it is said', 'impossible', [writer, operation([12, 13], { kind: 'revoke', process: null, lockId: null, graceMs: 1 }, notHeld('released'))]],
  ['all shares taken away', 'linearizable', [r1, share('q', 2, 2, reader), operation([3, 3.5], release(null), released('p', 3, { lockId: 1, all: [told('p', 1, 1), told('q', 2, 2)], freeAt: null })), share('w', 3, 4, null)]]
]

for (const [title, verdict, operations] of VERDICTS) {
  void t.test(`${title}: ${verdict}`, (t) => {
    const found = judge(operations, EXACT)
    t.equal(found.kind, verdict, found.kind === 'impossible' ? found.why : '')
    t.end()
  })
}

let eventId = 0
const event = (kind: Recorded['kind'], process: string, lockId: number, at: number, reason: string | null = null): Recorded => ({ eventId: (eventId += 1), kind, at, resource: 'a', lockId, process, reason })
const asked = (process: string, sharing: Sharing | null, more: Partial<Extract<Ask, { kind: 'request' }>> = {}): Operation => operation([1, NEVER], request(process, { sharing, ...more }), unknown)
const askedTo = (ask: Ask): Operation => operation([1, NEVER], ask, unknown)

void t.test('what shares the history may tell of', (t) => {
  const readers = [asked('p', reader, { ttlMs: 4 }), asked('q', reader, { ttlMs: 7 }), asked('w', null)]
  const both = [event('granted', 'p', 1, 1), event('granted', 'q', 2, 2)]
  t.same(compare(readers, both).violations, [], 'readers beside each other')
  t.same(compare(readers, [...both, event('granted', 'w', 3, 9), event('expired', 'p', 1, 5), event('expired', 'q', 2, 9)]).violations, [], 'their expiry may be told after the next grant')
  t.match(compare(readers, [...both, event('granted', 'w', 3, 9), event('expired', 'p', 1, 5), event('expired', 'q', 2, 10)]).violations, [/two grants at once/], 'but must lie before it')
  t.match(compare([...readers, askedTo({ kind: 'renew', process: 'q', lockId: null, ttlMs: 1 })], [...both, event('granted', 'w', 3, 9), event('renewed', 'q', 2, 10)], { clocksMs: NEVER }).violations, [/two grants at once/], 'whatever the clock says')
  const some = [asked('p', of(3, 2)), asked('q', of(3, 2)), asked('r', of(5))]
  t.match(compare(some, both).violations, [/4 permits of 3 are taken/])
  t.same(compare(some, [event('granted', 'p', 1, 1), event('granted', 'r', 2, 2)]).violations, [])
  t.match(compare([asked('p', of(2)), asked('p', of(2))], [event('granted', 'p', 1, 1), event('granted', 'p', 2, 2), event('revoked', 'p', 1, 3)]).violations, [/a process holds two grants/, /nobody revoked it/])
  t.end()
})

void t.test('what the history tells of conversions', (t) => {
  const up = [event('granted', 'p', 1, 1), event('released', 'p', 1, 3, 'converted'), event('granted', 'p', 2, 3)]
  t.same(compare([asked('p', reader), askedTo(convert('p', null))], up).violations, [])
  t.match(compare([asked('p', reader)], up).violations, [/nobody converted it/, /nobody asked for it/])
  const beside = [event('granted', 'q', 1, 1), event('granted', 'p', 2, 2), event('released', 'p', 2, 3, 'converted'), event('granted', 'p', 3, 3), event('revoked', 'q', 1, 4)]
  t.match(compare([asked('p', reader), asked('q', reader), askedTo(convert('p', null)), askedTo({ kind: 'revoke', process: null, lockId: null, graceMs: 1 })], beside).violations, [/two grants at once/])
  const down = [event('granted', 'p', 1, 1), event('converted', 'p', 1, 3), event('granted', 'q', 2, 4), event('renewed', 'p', 1, 5)]
  t.same(compare([asked('p', null), asked('q', reader), askedTo(convert('p', of(2)))], down).violations, [])
  t.match(compare([asked('p', null), asked('q', reader), askedTo(convert('p', of(1)))], down).violations, [/two grants at once/])
  t.match(compare([converted(3, 'p', null, 7, 3)], []).lost, [/converted/], 'what was acknowledged must be there')
  t.end()
})

void t.test('what the history tells of the time for which a resource is kept', (t) => {
  const keep = [asked('p', null), asked('q', null), askedTo(release('p', null, { keepMs: 10 }))]
  const kept = (at: number): Recorded[] => [event('granted', 'p', 1, 1), event('released', 'p', 1, 3), event('granted', 'q', 2, at)]
  t.same(compare(keep, kept(13)).violations, [])
  t.match(compare(keep, kept(12)).violations, [/two grants at once/])
  t.same(compare(keep, kept(12), { clocksMs: NEVER }).violations, [], 'unless the clock was set')
  const freed = (at: number): Recorded[] => [...kept(13).slice(0, 2), event('force_released', 'p', 1, at), event('granted', 'q', 2, at)]
  t.same(compare([...keep, askedTo(release(null))], freed(5)).violations, [], 'unless it was taken away from those after whom it was kept')
  t.same(compare([...keep, asked('p', null, { waits: true }), askedTo(release(null))], freed(5)).violations, [], 'which is possible, even if it may not have been kept')
  t.match(compare([...keep, askedTo(release(null))], freed(14)).violations, [/it speaks of a grant that has ended/], 'but not when it was kept no longer')
  const delay = [asked('p', null, { terms: { holdAtLeastMs: 0, lockDelayMs: 10 } }), asked('q', null), askedTo(release(null))]
  t.match(compare(delay, [event('granted', 'p', 1, 1), event('expired', 'p', 1, 3), event('granted', 'q', 2, 12)]).violations, [/two grants at once/])
  t.same(compare(delay, [event('granted', 'p', 1, 1), event('expired', 'p', 1, 3), event('force_released', 'p', 1, 5), event('granted', 'q', 2, 6)]).violations, [], 'taken away, it is free')
  t.match(compare(delay, [event('granted', 'p', 1, 1), event('force_released', 'p', 1, 5), event('granted', 'q', 2, 6)]).violations, [/two grants at once/], 'taken away before it expired, it is not')
  t.match(compare(delay, [event('granted', 'p', 1, 1), event('expired', 'p', 1, 3), event('force_released', 'p', 1, 14)]).violations, [/it speaks of a grant that has ended/], 'but not when it is kept no longer')
  t.end()
})

const place = (at: number, isUnlimited: boolean) => ({ resource: 'a', ticket: '1', process: 'w', from: at, to: at, until: NEVER, isUnlimited })
const hasty = (sharing: Sharing | null): Operation => ({ ...share('q', 5, 30, sharing), called: 20, calledAt: 20 })

void t.test('shares without a limit pass each other in the queue, and nobody else', (t) => {
  t.same(overtaken([hasty(reader)], [place(10, true), place(40, true)], EXACT), [])
  t.match(overtaken([hasty(reader)], [place(10, false), place(40, false)], EXACT), [/before w/], 'a writer waits no longer than for what was held before it')
  t.match(overtaken([hasty(of(3))], [place(10, true), place(40, true)], EXACT), [/before w/])
  t.end()
})

const grantOf = (process: string, lockId: number, sharing: Sharing | null, slots: readonly number[], from: number, until: number): HeldGrant => ({ resource: 'a', process, lockId, sharing, slots, from, until })

void t.test('grants of which nothing but their beginning and end is known', (t) => {
  const good = [grantOf('p', 1, reader, [], 0, 10), grantOf('q', 2, reader, [], 5, 12), grantOf('w', 3, null, [], 12, 20), grantOf('p', 4, of(1), [1], 20, 30), grantOf('q', 5, of(1), [1], 30, 31)]
  t.same(faultsOfShares(good), [])
  t.match(faultsOfShares([...good, grantOf('x', 6, reader, [], 30, 33)]), [/2 permits of 1 are held/])
  t.match(faultsOfShares([grantOf('p', 1, reader, [], 0, 10), grantOf('w', 2, null, [], 9, 10)]), [/2 permits of 1 are held/])
  t.match(faultsOfShares([grantOf('p', 1, of(3, 2), [1, 2], 0, 9), grantOf('q', 2, of(3), [2], 1, 9)]), [/a slot of it is held by another/])
  t.match(faultsOfShares([grantOf('p', 2, reader, [], 0, 9), grantOf('q', 1, reader, [], 1, 9)]), [/its number is not above/])
  t.match(faultsOfShares([grantOf('p', 1, reader, [], 0, 9), grantOf('p', 2, reader, [], 1, 9)]), [/its process holds another grant/])
  t.match(faultsOfShares([grantOf('p', 1, of(2), [3], 0, 9)]), [/a slot is above its limit/])
  t.end()
})
