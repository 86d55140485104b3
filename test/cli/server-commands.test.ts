import t from 'tap'
import { keysCommand, readKeysTask } from '../../src/cli/server-commands.js'
import { StartupError } from '../../src/locks/errors.js'
import { rlmHere } from '../support/rlm.js'

const create = { kind: 'create', name: 'worker', scopes: ['read', 'write'], prefix: '', validForMs: null }

void t.test('what can be asked for', (t) => {
  for (const [line, task] of [
    ['list', { kind: 'list' }],
    ['revoke worker', { kind: 'revoke', key: 'worker' }],
    ['revoke 7', { kind: 'revoke', key: '7' }],
    ['create worker', create],
    ['create --scopes admin worker', { ...create, scopes: ['admin'] }],
    ['create worker --scopes write,read,write', create],
    ['create worker --prefix reports/', { ...create, prefix: 'reports/' }],
    ['create worker --expires 30m', { ...create, validForMs: 1_800_000 }],
    ['create worker --expires=12h', { ...create, validForMs: 43_200_000 }],
    ['create worker --expires 36500d', { ...create, validForMs: 36_500 * 86_400_000 }]
  ] as const) {
    t.strictSame(readKeysTask(line.split(' ').filter((word) => word !== '')), task, line)
  }
  t.end()
})

void t.test('what cannot be understood is said in one sentence, and no database is opened', async (t) => {
  for (const [args, sentence] of [
    [['remove', 'x'], "There is no 'remove'"],
    [['list', 'x'], 'list takes no name'],
    [['list', '--scopes', 'read'], 'list takes no options'],
    [['revoke'], 'revoke takes one name or id'],
    [['revoke', 'a', 'b'], 'revoke takes one name or id'],
    [['create'], 'create takes one name'],
    [['create', '7'], 'The name of a key should begin with a letter'],
    [['create', 'a b'], 'The name of a key should begin with a letter'],
    [['create', 'a', '--scopes', 'read,root'], "--scopes knows read, write and admin, not 'root'"],
    [['create', 'a', '--scopes', ''], "--scopes knows read, write and admin, not ''"],
    [['create', 'a', '--prefix', ''], '--prefix should have at least 1 character'],
    [['create', 'a', '--prefix', 'a\n'], '--prefix should have no control characters'],
    [['create', 'a', '--prefix', 'e\u0301'], '--prefix should be in Unicode normalisation form C'],
    [['create', 'a', '--expires', '0d'], "--expires is '0d'; expected"],
    [['create', 'a', '--expires', '3'], "--expires is '3'; expected"],
    [['create', 'a', '--expires', '36501d'], "--expires is '36501d'; expected"],
    [['create', 'a', '--nope'], "Unknown option '--nope'"],
    [['create', 'a', '--prefix'], "Option '--prefix <value>' argument missing"]
  ] as const) {
    const open = (): never => t.fail('opened') as never
    const refused = await keysCommand(args, { open, print: () => undefined, note: () => undefined }).catch((error: unknown) => error)
    t.ok(refused instanceof StartupError, args.join(' '))
    t.match(refused, { message: new RegExp(`^${sentence.replaceAll(/[().]/g, '\\$&')}[^\\n]*; see 'rlm keys --help'\\.$`) }, args.join(' '))
  }
})

void t.test('help is printed without a database, and names rlm', async (t) => {
  for (const args of [['keys'], ['keys', 'help'], ['keys', 'create', 'worker', '--help'], ['help', 'keys']]) {
    t.match(await rlmHere(args), { code: 0, stdout: /^Usage: rlm keys .*\n {2}rlm keys create NAME /s, stderr: '' }, args.join(' '))
  }
})
