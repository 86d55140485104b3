import t from 'tap'
import { durationMs, wholeNumber, failureOf as failureAt, InterruptedError, UsageError } from '../../src/cli/command.js'
import { cut, cutMiddle, lengthText, ordinal, Screen, tableLines, widthOf, wireJson } from '../../src/cli/output.js'
import { readRunTask } from '../../src/cli/run.js'
import { LockLostError, LockRequestError, LockServiceUnavailableError } from '../../src/client/index.js'

const failureOf = (error: unknown) => failureAt(error, 'http://locks:8000')

void t.test('times have units, or are seconds', (t) => {
  const times = { '30s': 30_000, '500ms': 500, '2m': 120_000, '1h': 3_600_000, '5': 5000, '0.25': 250, '1.5s': 1500, '0': 0 }
  for (const [text, ms] of Object.entries(times)) t.equal(durationMs('--ttl', text), ms, text)
  for (const text of ['', 's', '-1', '+1', '1e3', '1 s', '5x', '1d', 'Infinity', '.5', '5.', '0x10', '9'.repeat(13)]) {
    t.throws(() => durationMs('--ttl', text), new UsageError(`--ttl is '${text}'; expected a time such as 500ms, 30s, 2m or 1h`))
  }
  t.end()
})

void t.test('whole numbers keep to their range', (t) => {
  t.equal(wholeNumber('-E', '0', 0, 255), 0)
  t.equal(wholeNumber('-E', '255', 0, 255), 255)
  for (const text of ['256', '-1', '1.0', '', ' 1', '1e2']) t.throws(() => wholeNumber('-E', text, 0, 255), UsageError, text)
  t.end()
})

void t.test('what run is told', (t) => {
  t.strictSame(readRunTask(['x', '--', 'make', '--wait', '--', '-h']), {
    resourceName: 'x',
    command: ['make', '--wait', '--', '-h'],
    ttlMs: 30_000,
    waitSeconds: undefined,
    onLost: 'kill',
    graceMs: 5000,
    graceIsCut: false,
    onRevoke: undefined,
    holdAtLeastSeconds: undefined,
    sharing: { mode: undefined, limit: undefined, permits: undefined },
    conflictCode: 75
  })
  t.match(readRunTask('--ttl 2m --wait 500ms --on-lost warn --kill-after 10 -E 0 x -- true'.split(' ')), {
    ttlMs: 120_000,
    waitSeconds: 0.5,
    onLost: 'warn',
    graceMs: 10_000,
    conflictCode: 0
  })
  t.match(readRunTask(['x', '--no-wait', '-E5', '--', 'true']), { waitSeconds: 0, conflictCode: 5 })
  t.match(readRunTask(['x', '--ttl=3s', '--', 'true']), { graceMs: 1000, graceIsCut: false }, 'a default grace yields to the lease')
  t.match(readRunTask(['x', '--ttl=3s', '--kill-after=2s', '--', 'true']), { graceMs: 1000, graceIsCut: true })
  t.end()
})

for (const [line, sentence] of [
  ['-- true', 'A name is missing'],
  ['x', 'The command to run stands after --'],
  ['x true', 'The command to run stands after --'],
  ['x y -- true', 'The command to run stands after --'],
  ['x --', 'There is no command after --'],
  ['x --wait 3s --no-wait -- true', '--wait and --no-wait exclude each other'],
  ['x --ttl 0 -- true', '--ttl must be greater than 0'],
  ['x --on-lost stop -- true', "--on-lost is 'stop'; expected kill or warn"],
  ['x -E 256 -- true', "-E is '256'; expected a whole number from 0 to 255"],
  ['x --hurry -- true', "Unknown option '--hurry'"],
  ['x --ttl -- true', "Option '--ttl <value>' argument missing"]
] as const) {
  void t.test(`run refuses: ${line}`, (t) => {
    t.throws(() => readRunTask(line.split(' ')), new UsageError(sentence))
    t.end()
  })
}

void t.test('every failure has its exit code', (t) => {
  t.match(failureOf(new InterruptedError('SIGINT')), { code: 130, sentence: undefined })
  t.match(failureOf(new InterruptedError('SIGTERM')), { code: 143 })
  t.match(failureOf(new InterruptedError('SIGHUP')), { code: 129 })
  t.match(failureOf(new LockLostError('x', 7, 'expired')), { code: 76 })
  t.match(failureOf(new LockRequestError(401, 'UNAUTHORIZED', 'A key is needed')), { code: 77, sentence: 'A key is needed; RLM_API_KEY must hold a key that the service knows' })
  t.match(failureOf(new LockRequestError(403, 'FORBIDDEN', 'The key may not')), { code: 77, sentence: 'The key may not' })
  const faults = [{ type: 'string_too_long', loc: ['body', 'resource_name'], msg: 'too long' }]
  t.match(failureOf(new LockRequestError(422, 'INVALID_REQUEST', faults)), { code: 64, sentence: 'resource_name: too long' })
  const away = new LockServiceUnavailableError('The lock service answered 503 STORAGE_UNAVAILABLE', { status: 503, outcomeUnknown: false })
  t.match(failureOf(away), { code: 69, sentence: `${away.message}; RLM_URL is 'http://locks:8000'` })
  t.match(failureOf(new Error('a bug')), { code: 70, sentence: /^Error: a bug\n\s+at / })
  t.end()
})

void t.test('a wrong URL is told as such', (t) => {
  t.match(failureOf(new LockRequestError(404, 'NOT_FOUND', 'Nothing is here')), { code: 64, sentence: /^RLM_URL is 'http:\/\/locks:8000', where no lock service answers: 404 is/ })
  t.match(failureOf(new LockRequestError(405, 'METHOD_NOT_ALLOWED', 'Not this way')), { code: 64 })
  const revoked = new LockRequestError(401, 'UNAUTHORIZED', 'The API key is not valid')
  t.match(failureOf(new LockLostError('x', 7, 'unconfirmed', { cause: revoked })), { code: 76, sentence: /is lost: [^:]+: The API key is not valid; RLM_API_KEY / })
  t.end()
})

void t.test('lengths, places, columns', (t) => {
  const lengths = { 0: '0ms', 999: '999ms', 1000: '1s', 61_000: '1m 1s', 3_600_000: '1h', 3_601_000: '1h', 90_000_000: '1d 1h' }
  for (const [ms, text] of Object.entries(lengths)) t.equal(lengthText(Number(ms)), text)
  t.equal(lengthText(-5), '0ms')
  t.same([1, 2, 3, 4, 11, 12, 13, 21, 102, 111].map(ordinal), ['1st', '2nd', '3rd', '4th', '11th', '12th', '13th', '21st', '102nd', '111th'])
  t.same(tableLines([['A', 'LONG', 'C'], ['aaa', 'b', 'c']]), ['A    LONG  C', 'aaa  b     c'])
  t.equal(cut('12345', 5), '12345')
  t.equal(cut('123456', 5), '1234…')
  t.end()
})

void t.test('columns are counted as a terminal shows them', (t) => {
  const widths = { abc: 3, 'é': 1, '漢字': 4, 'ｶﾅ': 2, 'Ａ': 2, 한국: 4, '🔒': 2, '👩‍🔧': 2, '🇨🇭': 2, '1️⃣': 2, '✔': 1, 'e\u0301': 1, '\u200B': 0, '…': 1, 'ไทย': 3 }
  for (const [text, width] of Object.entries(widths)) t.equal(widthOf(text), width, text)
  t.same(tableLines([['漢字', 'x'], ['abc', 'y'], ['🔒', 'z']]), ['漢字  x', 'abc   y', '🔒    z'])
  t.equal(cut('漢字漢字', 6), '漢字…')
  t.equal(cutMiddle('tenants/acme/invoices/42', 12), 'tenant…es/42')
  t.equal(cutMiddle('漢字漢字漢字', 7), '漢…字')
  t.equal(cutMiddle('abc', 3), 'abc')
  t.end()
})

void t.test('a table that is too wide for the screen has its names cut in the middle', (t) => {
  const rows = [['RESOURCE', 'HOLDER', 'ENDS IN'], [`${'a'.repeat(40)}/1`, 'host/12345/abcdef', 'never'], ['漢'.repeat(30), 'p', '12s']]
  const lines = tableLines(rows, { columns: 50, names: [0, 1] })
  for (const line of lines) t.ok(widthOf(line) <= 50, line)
  t.match(lines[1], /^a+…a+\/1 +host\S+ +never$/)
  t.match(lines[2], /^漢+…漢+ +p +12s$/)
  t.same(tableLines(rows), tableLines(rows, { columns: 200, names: [0, 1] }), 'and not where there is room')
  t.equal(tableLines([['a'.repeat(40), 'b'.repeat(40)]], { columns: 10, names: [0, 1] })[0]?.length, 10)
  t.end()
})

void t.test('nothing in a name moves what a terminal shows', (t) => {
  const shown: string[] = []
  const screen = new Screen({ write: (text) => shown.push(text) }, {})
  screen.line('a\u202Eb\u2066c\u200Fd\u001B[2Je')
  t.same(shown, ['a\uFFFDb\uFFFDc\uFFFDd\uFFFD[2Je\n'])
  t.same(tableLines([['a\nb', '\u001B[31mred', '\u061C']]), ['a\uFFFDb  \uFFFD[31mred  \uFFFD'])
  const json = wireJson({ resourceName: 'a\u202Eb\u0085' })
  t.notMatch(json, /[\u202E\u0085]/)
  t.same(JSON.parse(json), { resource_name: 'a\u202Eb\u0085' })
  t.end()
})

void t.test('JSON is spelled as the HTTP API spells it, and metadata as its owner does', (t) => {
  const json = wireJson({ lockedAt: new Date(0), nested: [{ lockId: 1 }], metadata: { camelCase: 1 }, expiresAt: null })
  t.same(JSON.parse(json), { locked_at: '1970-01-01T00:00:00.000+00:00', nested: [{ lock_id: 1 }], metadata: { camelCase: 1 }, expires_at: null })
  t.end()
})
