import t from 'tap'
import { LockError } from '../src/locks/errors.js'
import { openLog } from '../src/log.js'

void t.test('a key does not get into the log, wherever somebody logs the header', (t) => {
  const lines: string[] = []
  const log = openLog('info', { write: (line) => lines.push(line) })
  const headers = { authorization: 'Bearer rlm_secret', host: 'x' }
  for (const what of [headers, { headers }, { req: { headers } }]) log.error(what, 'm')
  t.equal(lines.length, 3)
  for (const line of lines) {
    t.notMatch(line, 'rlm_secret')
    t.match(line, /"host":"x"/, 'the rest is told')
  }
  t.end()
})

void t.test('of an error the log shows code and message, and the stack of a bug', (t) => {
  const lines: Record<string, unknown>[] = []
  const log = openLog('info', { write: (line) => lines.push(JSON.parse(line) as Record<string, unknown>) })
  const cause = Object.assign(new Error('gone'), { code: '57P01', client: { secretKey: 4711 } })
  log.error({ err: new LockError('STORAGE_UNAVAILABLE', { cause }), cause }, 'm')
  log.error(Object.assign(new TypeError('odd'), { client: { secretKey: 4711 } }))
  t.match(lines, [{ err: { code: 'STORAGE_UNAVAILABLE' }, cause: { code: '57P01', message: 'gone' } }, { msg: 'odd', err: { type: 'TypeError', message: 'odd', stack: /log\.test/ } }])
  t.notMatch(JSON.stringify(lines[0]), 'stack')
  t.notMatch(JSON.stringify(lines), '4711')
  t.end()
})
