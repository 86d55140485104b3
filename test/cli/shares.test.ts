import t from 'tap'
import { eventually } from '../support/eventually.js'
import { rlmHere, startRlm } from '../support/rlm.js'
import { Service } from '../support/service.js'

t.jobs = 2
const service = await Service.start()
t.teardown(() => service[Symbol.asyncDispose]())
const { url } = service

/** A command that says its slots and goes on until it is told to end. */
const WORK = ['sh', '-c', 'echo "slots ${RLM_SLOTS-none}"; exec sleep 1000']
const slotsIn = (stdout: string) => /slots (.*)\n/.exec(stdout)?.[1]

void t.test('so many commands run at a time, each with numbers of its own', async (t) => {
  const heavy = startRlm(['run', 'export', '--limit', '3', '--permits', '2', '--', ...WORK], { url })
  t.equal(await heavy.find(slotsIn), '1 2')
  const light = startRlm(['run', 'export', '--limit', '3', '--', ...WORK], { url })
  t.equal(await light.find(slotsIn), '3')
  t.match(await rlmHere(['run', 'export', '--limit', '3', '--no-wait', '--', 'true'], { url }), { code: 75 })
  t.match(await rlmHere(['ls', 'export'], { url }), { stdout: /^RESOURCE +HOLDER +SHARE +TOKEN .*\nexport +\S+ +2 of 3 \(slots 1, 2\) +\d+ .*\nexport +\S+ +1 of 3 \(slot 3\)/ })
  t.match(await rlmHere(['status', 'export'], { url }), { stdout: /^'export' is shared by 2 holders, 3 of 3 permits\.\n.*slots 1, 2.*\n.*slot 3.*\n {2}waiting {2}0\n$/ })
  for (const command of [heavy, light]) {
    command.signal('SIGTERM')
    t.match(await command.end(), { code: 143 })
  }
  t.match(await rlmHere(['status', 'export'], { url }), { stdout: "'export' is not locked.\n" })
})

void t.test('commands share a lock, and one without --shared waits for them', async (t) => {
  const reader = startRlm(['run', 'book', '--shared', '--', ...WORK], { url })
  t.equal(await reader.find(slotsIn), 'none')
  t.match(await rlmHere(['run', 'book', '--shared', '--no-wait', '--', 'true'], { url }), { code: 0 })
  t.match(await rlmHere(['run', 'book', '--no-wait', '--', 'true'], { url }), { code: 75 })
  t.match(await rlmHere(['ls', 'book'], { url }), { stdout: / shared / })
  const writer = startRlm(['run', 'book', '--', 'true'], { url })
  await eventually('it waits', async () => ((await rlmHere(['queue', 'book'], { url })).stdout.includes('\n1 ') ? true : undefined))
  t.match(await rlmHere(['queue', 'book'], { url }), { stdout: new RegExp(`^PLACE +PROCESS +SHARE +WAITING SINCE\\n1 +\\S+/${writer.pid}/\\S+ +all +\\d{4}-`) })
  reader.signal('SIGTERM')
  t.match(await writer.end(), { code: 0 })
  t.match(await rlmHere(['queue', 'book'], { url }), { stdout: "No process waits for 'book'.\n" })
  await reader.end()
  for (const process_id of ['one', 'two']) await service.call('POST', '/locks/request', { resource_name: 'book', process_id, mode: 'shared' })
  const asked = await rlmHere(['revoke', 'book', '--reason', 'a test', '--grace', '60s', '--json'], { url })
  t.match(JSON.parse(asked.stdout), { revoked: true, all: [{ process_id: 'one' }, { process_id: 'two' }] })
  t.match(await rlmHere(['force-release', 'book', '--reason', 'a test'], { url }), { code: 0, stdout: /^Took 'book' away from 'one' \(lock \d+\), 'two' \(lock \d+\)\.\n$/ })
  for (const bad of [['--permits', '2'], ['--limit', '0'], ['--limit', '2', '--permits', '3'], ['--limit', 'x']]) {
    t.match(await rlmHere(['run', 'book', ...bad, '--', 'true'], { url }), { code: 64 }, bad.join(' '))
  }
})
