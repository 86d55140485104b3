import t from 'tap'
import type { Command, OutcomeOf } from '../../src/locks/commands.js'
import { processId, resourceName } from '../../src/locks/lock.js'
import { commandFromBrief, commandToBrief, fromBrief, toBrief } from '../../src/storage/sqlite/encoding.js'
import { acquire, inspect, release, renew } from '../support/commands.js'
import { START } from '../support/databases.js'

const grant = { lockId: 7, resourceName: resourceName('a'), processId: processId('p'), lockedAt: START, expiresAt: START + 500, metadata: null }
const earlier = { ...grant, lockedAt: START - 250, expiresAt: null, metadata: { host: 'x' } }
const { metadata: _, ...conflict } = { ...grant, processId: processId('q') }
const kept = { ...conflict, lockId: 0, lockedAt: null, expiresAt: null }

const CASES: readonly (readonly [name: string, form: 'number' | 'list' | 'whole', command: Command, outcome: OutcomeOf<Command>])[] = [
  ['a new grant', 'number', acquire('a', 'p', 500), { kind: 'granted', grants: [grant], replayed: false }],
  ['a grant without end', 'number', acquire('a', 'p'), { kind: 'granted', grants: [{ ...grant, expiresAt: null }], replayed: false }],
  ['a replayed grant', 'whole', acquire('a', 'p', 500), { kind: 'granted', grants: [earlier], replayed: true }],
  ['a refusal', 'list', acquire('a', 'p'), { kind: 'held', conflicts: [conflict], at: START, waiters: 3 }],
  ['a refusal for the first in line', 'list', acquire('a', 'p'), { kind: 'held', conflicts: [kept], at: START, waiters: 1 }],
  ['a release', 'list', release('a', 'p'), { kind: 'released', grant: earlier, releasedAt: START }],
  ['a lock taken away', 'whole', { ...release('a', 'p'), processId: null }, { kind: 'released', grant: earlier, releasedAt: START }],
  ['a release of nothing', 'whole', release('a', 'p'), { kind: 'not-held', reason: 'expired' }],
  ['a look', 'whole', inspect('a'), { kind: 'inspected', at: START, grant: earlier, waiters: 0 }]
]

void t.test('what goes from thread to thread in brief comes out whole', (t) => {
  for (const [name, form, command, outcome] of CASES) {
    const sent = JSON.parse(JSON.stringify(toBrief(command, outcome, START))) as ReturnType<typeof toBrief>
    t.equal(typeof sent === 'number' ? 'number' : Array.isArray(sent) ? 'list' : 'whole', form, name)
    t.strictSame(fromBrief(command, sent, START), outcome, name)
  }
  t.end()
})

const COMMANDS: readonly (readonly [name: string, form: 'list' | 'whole', command: Command])[] = [
  ['a request', 'list', acquire('a', 'p', 500)],
  ['a request with all that it may have', 'list', { ...acquire('a', 'p'), metadata: { host: 'x' }, key: 'k' }],
  ['a request for several', 'whole', acquire(['a', 'b'], 'p', 500)],
  ['a request with an id', 'whole', { ...acquire('a', 'p'), idempotencyKey: { id: 'i', fingerprint: 'f' } }],
  ['a request from a place in line', 'whole', { ...acquire('a', 'p'), ticket: 7 }],
  ['a release', 'list', release('a', 'p')],
  ['a release of one grant with a key', 'list', { ...release('a', 'p'), lockId: 7, key: 'k' }],
  ['a lock taken away', 'whole', { ...release('a', 'p'), processId: null, reason: 'stuck' }],
  ['a release unless it was told', 'whole', { ...release('a', 'p'), unlessClaimed: { id: 'i', fingerprint: 'f' } }],
  ['a renewal', 'whole', renew('a', 'p')],
  ['a look', 'whole', inspect('a')]
]

void t.test('so do the commands', (t) => {
  for (const [name, form, command] of COMMANDS) {
    const text = JSON.stringify(commandToBrief(command))
    t.equal(text.startsWith('[') ? 'list' : 'whole', form, name)
    t.strictSame(commandFromBrief(JSON.parse(text) as ReturnType<typeof commandToBrief>), JSON.parse(JSON.stringify(command)), name)
  }
  t.end()
})

void t.test('an answer to some other command is a bug, not an outcome', (t) => {
  t.throws(() => fromBrief(inspect('a'), 7, START))
  t.throws(() => fromBrief(acquire('a', 'p'), ['released', 7, 0, null, null], START))
  t.throws(() => fromBrief(release('a', 'p'), ['held', processId('q'), 7, 0, null, 0], START))
  t.end()
})
