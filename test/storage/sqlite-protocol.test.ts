import t from 'tap'
import type { Command, OutcomeOf } from '../../src/locks/commands.js'
import { LockError, StartupError } from '../../src/locks/errors.js'
import { processId, resourceName } from '../../src/locks/lock.js'
import { RETRY } from '../../src/storage/batcher.js'
import { decodeCommand, decodeError, decodeResult, encodeCommand, encodeError, encodeResult, type EncodedCommand, type EncodedResult } from '../../src/storage/sqlite/protocol.js'
import { acquire, inspect, release, renew, share } from '../support/commands.js'
import { START } from '../../scripts/database-templates.js'

const grant = { lockId: 7, resourceName: resourceName('a'), processId: processId('p'), lockedAt: START, expiresAt: START + 500, metadata: null }
const earlier = { ...grant, lockedAt: START - 250, expiresAt: null, metadata: { host: 'x' } }
const { metadata: _, ...conflict } = { ...grant, processId: processId('q') }
const shared = { ...grant, share: { limit: 5, permits: 2, slots: [1, 3] } }
const theft = { ...acquire('a', 'p'), sharing: [null], steal: true }
const kept = { ...conflict, lockId: 0, lockedAt: null, expiresAt: null }

function sent<T>(value: T): T {
  return JSON.parse(JSON.stringify(value)) as T
}

const OUTCOMES: readonly (readonly [name: string, tag: EncodedResult[0], command: Command, outcome: OutcomeOf<Command>])[] = [
  ['a new grant', 'G', acquire('a', 'p', 500), { kind: 'granted', grants: [grant], replayed: false }],
  ['a grant without end', 'G', acquire('a', 'p'), { kind: 'granted', grants: [{ ...grant, expiresAt: null }], replayed: false }],
  ['a share', 'G', share('a', 'p', { ttlMs: 500, limit: 5, permits: 2 }), { kind: 'granted', grants: [shared], replayed: false }],
  ['a share without slots', 'G', share('a', 'p'), { kind: 'granted', grants: [{ ...grant, expiresAt: null, share: { limit: null, permits: 1, slots: [] } }], replayed: false }],
  ['a theft', 'O', theft, { kind: 'granted', grants: [grant], replayed: false, stolen: [shared] }],
  ['a replayed grant', 'O', acquire('a', 'p', 500), { kind: 'granted', grants: [earlier], replayed: true }],
  ['a held lock', 'H', acquire('a', 'p'), { kind: 'held', conflicts: [conflict], at: START, waiters: 3 }],
  ['a lock that is kept for a waiter', 'H', acquire('a', 'p'), { kind: 'held', conflicts: [kept], at: START, waiters: 1 }],
  ['a release', 'R', release('a', 'p'), { kind: 'released', grant: earlier, releasedAt: START }],
  ['a release of a share', 'R', release('a', 'p'), { kind: 'released', grant: shared, releasedAt: START }],
  ['a release that keeps the resource', 'O', release('a', 'p'), { kind: 'released', grant: earlier, releasedAt: START, freeAt: START + 9 }],
  ['a forced release', 'O', { ...release('a', 'p'), processId: null }, { kind: 'released', grant: earlier, releasedAt: START }],
  ['a release of nothing', 'O', release('a', 'p'), { kind: 'not-held', reason: 'expired' }],
  ['an inspection', 'O', inspect('a'), { kind: 'inspected', at: START, grant: earlier, waiters: 0 }]
]

void t.test('an outcome that went through the protocol is the same', (t) => {
  for (const [name, tag, command, outcome] of OUTCOMES) {
    const encoded = sent(encodeResult(command, { kind: 'done', outcome }, START))
    t.equal(encoded[0], tag, name)
    t.strictSame(decodeResult(command, encoded, START), { kind: 'done', outcome }, name)
  }
  t.end()
})

const COMMANDS: readonly (readonly [name: string, tag: EncodedCommand[0], command: Command])[] = [
  ['a request', 'A', acquire('a', 'p', 500)],
  ['a request with metadata and a key', 'A', { ...acquire('a', 'p'), metadata: { host: 'x' }, key: 'k' }],
  ['a request for a share', 'A', share('a', 'p', { ttlMs: 500, limit: 5, permits: 2, key: 'k' })],
  ['a request for shares of several', 'C', share(['a', 'b'], 'p')],
  ['a theft', 'C', theft],
  ['a request for several', 'C', acquire(['a', 'b'], 'p', 500)],
  ['a request with an idempotency key', 'C', { ...acquire('a', 'p'), idempotencyKey: { id: 'i', fingerprint: 'f' } }],
  ['a request with a ticket', 'C', { ...acquire('a', 'p'), ticket: 7 }],
  ['a release', 'R', release('a', 'p')],
  ['a release of one grant with a key', 'R', { ...release('a', 'p'), lockId: 7, key: 'k' }],
  ['a forced release', 'C', { ...release('a', 'p'), processId: null, reason: 'stuck' }],
  ['a release unless it was claimed', 'C', { ...release('a', 'p'), unlessClaimed: { id: 'i', fingerprint: 'f' } }],
  ['a renewal', 'C', renew('a', 'p')],
  ['an inspection', 'C', inspect('a')]
]

void t.test('so is a command', (t) => {
  for (const [name, tag, command] of COMMANDS) {
    const encoded = sent(encodeCommand(command))
    t.equal(encoded[0], tag, name)
    t.strictSame(decodeCommand(encoded), sent(command), name)
  }
  t.end()
})

void t.test('a failure keeps its type, code, message and stack', (t) => {
  const cause = new Error('the disk')
  const failure = decodeResult(inspect('a'), sent(encodeResult(inspect('a'), { kind: 'failed', error: new LockError('STORAGE_FULL', { cause }) }, START)), START)
  t.match(failure, { kind: 'failed', error: { name: 'LockError', code: 'STORAGE_FULL', cause: { message: 'Error: the disk', stack: cause.stack } } })
  const bug = new TypeError('no such thing')
  t.match(decodeError(sent(encodeError(bug))), { message: 'no such thing', stack: bug.stack })
  t.ok(decodeError(sent(encodeError(new StartupError('In use.')))) instanceof StartupError)
  t.equal(decodeResult(inspect('a'), sent(encodeResult(inspect('a'), RETRY, START)), START), RETRY)
  t.end()
})

void t.test('a result of another command is a bug, not an outcome', (t) => {
  t.throws(() => decodeResult(inspect('a'), ['G', 7], START))
  t.throws(() => decodeResult(acquire('a', 'p'), ['R', 7, 0, null], START))
  t.throws(() => decodeResult(release('a', 'p'), ['H', processId('q'), 7, 0, null, 0], START))
  t.end()
})
