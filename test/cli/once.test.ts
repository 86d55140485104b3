import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { eventually } from '../support/eventually.js'
import { inProject, temporaryFolder } from '../support/program.js'
import { rlmHere, startRlm } from '../support/rlm.js'
import { Service } from '../support/service.js'

const MACHINES = 10
const MINUTE_MS = 60_000
/** `TAP_TIMEOUT=0 ONCE_ROUNDS=100 node dist/test/cli/once.test.js` is the longer proof. */
const ROUNDS = Number(process.env['ONCE_ROUNDS'] ?? 3)

const service = await Service.start()
t.teardown(() => service[Symbol.asyncDispose]())
const { url } = service
const dataOf = async (name: string) => (await service.status(name)).body.data ?? {}
/** Ends the present period. */
const endPeriod = (name: string) => service.call('POST', '/locks/force-release', { resource_name: name, reason: 'the next period' })

void t.test(`ten machines at the same second, with clocks up to a minute apart, ${ROUNDS} periods: one run in each, and the others are silent`, { timeout: 0 }, async (t) => {
  await using folder = await temporaryFolder()
  const ran = join(folder.path, 'ran')
  // From half a minute slow to half a minute fast.
  const clocks = Array.from({ length: MACHINES }, (_, index) => ({ file: join(folder.path, `clock-${index}`), shiftMs: Math.round((index / (MACHINES - 1) - 0.5) * MINUTE_MS) }))
  for (const { file, shiftMs } of clocks) await writeFile(file, String(shiftMs))
  const start = (clock: string) =>
    startRlm(['once', 'report', '--every', '1h', '--', 'sh', '-c', 'echo run >> "$0"', ran], { url, settings: { NODE_OPTIONS: `--import=${inProject('dist/test/torture/moved-clock.js')}`, TORTURE_CLOCK: clock } })
  for (let round = 1; round <= ROUNDS; round += 1) {
    const endings = await Promise.all(clocks.map(({ file }) => start(file).end()))
    t.same(endings.map(({ code, stdout, stderr }) => [code, stdout, stderr]), endings.map(() => [0, '', '']), `round ${round}`)
    t.equal(await readFile(ran, 'utf8'), 'run\n'.repeat(round), `round ${round}: one ran`)
    const { kept, remaining_seconds: left } = await dataOf('report')
    t.ok(kept === true && Number(left) > 3000 && Number(left) <= 3540, 'kept for the hour, less a minute')
    await endPeriod('report')
  }
})

void t.test('a run that fails counts, unless it is to be tried again; one that cannot be run does not', async (t) => {
  const once = (...args: string[]) => startRlm(['once', 'fails', '--every', '100s', ...args], { url }).end()
  t.match(await once('--retry-failed', '--', 'sh', '-c', 'exit 3'), { code: 3 })
  t.match(await once('--', 'no-such-program-anywhere'), { code: 127 })
  t.match(await once('--', 'sh', '-c', 'exit 4'), { code: 4, stderr: '' })
  t.match(await once('--', 'sh', '-c', 'exit 5'), { code: 0, stdout: '', stderr: '' })
  const { kept, remaining_seconds: left } = await dataOf('fails')
  t.ok(kept === true && Number(left) > 60 && Number(left) <= 90, 'a tenth of a short period is left for a cron that is early')
  t.match(await rlmHere(['status', 'fails'], { url }), { stdout: /^'fails' is kept after the lock of '/ })
})

void t.test('a run that lasts longer than its period keeps nothing', async (t) => {
  t.match(await startRlm(['once', 'long', '--every', '1ms', '--', 'true'], { url }).end(), { code: 0 })
  t.match(await dataOf('long'), { is_locked: false })
})

void t.test('once says what it does not understand', async (t) => {
  for (const args of [['x', '--', 'true'], ['x', '--every', '0', '--', 'true'], ['x', '--every', '1h'], ['x', '--every', '1h', '--wait', '1s', '--', 'true'], ['x', '--every', 'soon', '--', 'true']]) {
    t.match(await rlmHere(['once', ...args], { url }), { code: 64 }, args.join(' '))
  }
})

void t.test('a command is told that its lock is asked back, and what it does then is its own affair', async (t) => {
  const polite = startRlm(['run', 'drained', '--on-revoke', 'TERM', '--', 'sh', '-c', "trap 'echo done; exit 7' TERM; echo at work; while :; do sleep 0.02; done"], { url })
  await polite.find((stdout) => /at work/.exec(stdout)?.[0])
  t.match(await rlmHere(['revoke', 'drained', '--reason', 'host-7 is drained', '--grace', '5m'], { url }), { code: 0, stdout: /^Asked '.*' \(lock \d+\) to end 'drained' by / })
  t.match(await polite.end(), { code: 7, stdout: 'at work\ndone\n', stderr: 'rlm: the lock is asked back: host-7 is drained; the command gets TERM\n' })
  t.match(await dataOf('drained'), { is_locked: false })
  t.match(await rlmHere(['revoke', 'drained', '--reason', 'why', '--grace', '1s'], { url }), { code: 1, stderr: /was left alone/ })
  for (const args of [['--grace', '1s'], ['--reason', 'x'], ['--reason', 'x', '--grace', 'soon']]) t.match(await rlmHere(['revoke', 'drained', ...args], { url }), { code: 64 })

  const other = startRlm(['run', 'told', '--on-revoke', 'USR1', '--kill-after', '500ms', '--', 'sh', '-c', "trap 'echo USR1' USR1; echo at work; while :; do sleep 0.02; done"], { url })
  await other.find((stdout) => /at work/.exec(stdout)?.[0])
  const revoked: unknown = JSON.parse((await rlmHere(['revoke', 'told', '--reason', 'why', '--grace', '6s', '--json'], { url })).stdout)
  t.match(revoked, { revoked: true, revoke_at: String, process_id: String })
  await other.find((stdout) => /USR1/.exec(stdout)?.[0])
  t.match(await other.end(), { code: 76 }, 'the grace is over, and so is the lock')
})

void t.test('a lock may be held at least for a while, however soon the command ends', async (t) => {
  t.match(await startRlm(['run', 'short', '--ttl', '60s', '--hold-at-least', '30s', '--', 'true'], { url }).end(), { code: 0 })
  t.match(await dataOf('short'), { kept: true })
  await endPeriod('short')
  for (const bad of [['--hold-at-least', '31s'], ['--on-revoke', 'KILL']]) t.match(await rlmHere(['run', 'short', ...bad, '--', 'true'], { url }), { code: 64 })
  await eventually('it is free', async () => (await dataOf('short'))['is_locked'] === false || undefined)
})
