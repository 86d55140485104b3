import t from 'tap'
import { openLog } from '../src/log.js'

void t.test('a key does not get into the log, wherever somebody logs the header', (t) => {
  const lines: string[] = []
  const log = openLog('info', { write: (line) => lines.push(line) })
  const headers = { authorization: 'Bearer rlm_secret', host: 'x' }
  for (const what of [headers, { headers }, { req: { headers } }, { err: Object.assign(new Error('e'), { headers }) }]) log.error(what, 'm')
  t.equal(lines.length, 4)
  for (const line of lines) {
    t.notMatch(line, 'rlm_secret')
    t.match(line, /"host":"x"/, 'the rest is told')
  }
  t.end()
})
