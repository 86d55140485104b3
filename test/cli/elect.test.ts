import t from 'tap'
import { eventually } from '../support/eventually.js'
import { Proxy } from '../support/proxy.js'
import { rlmHere, startRlm } from '../support/rlm.js'
import { Service } from '../support/service.js'

t.jobs = 4
const service = await Service.start()
t.teardown(() => service[Symbol.asyncDispose]())
const { url } = service
const statusOf = async (name: string) => (await service.status(name)).body.data ?? {}

/** A command that says its term and goes on until it is told to end. */
const WORK = ['sh', '-c', 'echo "term $RLM_FENCING_TOKEN"; exec sleep 1000']
const termIn = (stdout: string) => /term (\d+)\n/.exec(stdout)?.[1]

void t.test('elect runs a command on one of several, and on the next when that one is gone', async (t) => {
  const first = startRlm(['elect', 'moves', '--value', 'http://one', '--kill-after', '1s', '--', ...WORK], { url })
  const term = await first.find(termIn)
  t.match(await rlmHere(['leader', 'moves'], { url }), { code: 0, stdout: new RegExp(`^'.*/${first.pid}/.*' leads 'moves' \\(token ${term}\\): http://one\\n$`) })
  const second = startRlm(['elect', 'moves', '--kill-after', '1s', '--', ...WORK], { url })
  await eventually('it waits', async () => (await statusOf('moves'))['waiters'] === 1 || undefined)
  first.signal('SIGTERM')
  t.match(await first.end(), { code: 143, stderr: '' })
  t.ok(Number(await second.find(termIn)) > Number(term))
  const leader: unknown = JSON.parse((await rlmHere(['leader', 'moves', '--json'], { url })).stdout)
  t.match(leader, { leader: new RegExp(`/${second.pid}/`), fencing_token: Number })
  await service.call('POST', '/locks/force-release', { resource_name: 'moves', reason: 'a test' })
  await second.find((stdout) => (stdout.match(/term/g)?.length === 2 ? true : undefined))
  second.signal('SIGINT')
  t.match(await second.end(), { code: 130, stderr: /the lead was lost; campaigning again in 1/ })
  t.match(await rlmHere(['leader', 'moves'], { url }), { code: 1, stdout: "No process leads 'moves'.\n" })
})

void t.test('elect takes up what it was granted by a call whose answer never came', async (t) => {
  await using proxy = await Proxy.start(service.port)
  const held = proxy.hold('answers')
  const program = startRlm(['elect', 'unheard', '--ttl', '10m', '--', ...WORK], { url: proxy.through(url) })
  await held
  const { lock_id: term } = await eventually('it is granted', async () => ((await statusOf('unheard'))['is_locked'] === true ? statusOf('unheard') : undefined))
  // It has given up by then.
  await eventually('it says so', () => Promise.resolve(program.stderr.includes('trying again until it is back') || undefined))
  proxy.cut()
  t.equal(await program.find(termIn), String(term))
  program.signal('SIGTERM')
  t.match(await program.end(), { code: 143 })
})

void t.test('elect campaigns again when the command ends, and ends when it cannot be run or a signal says so', async (t) => {
  const again = startRlm(['elect', 'ends', '--', 'sh', '-c', 'echo "term $RLM_FENCING_TOKEN"; exit 3'], { url })
  // In the second pause, where there is no command that the signal could be passed on to.
  await eventually('it pauses again', () => Promise.resolve(again.stderr.split('campaigning').length === 3 || undefined))
  again.signal('SIGTERM')
  t.match(await again.end(), { code: 143, stderr: /^rlm: the command ended with 3; campaigning again in 1s\nrlm: the command ended with 3; campaigning again in 2s\n$/ })
  t.match(await startRlm(['elect', 'missing', '--', 'no-such-program-anywhere'], { url }).end(), { code: 127, stderr: /not found/ })
  t.match(await statusOf('missing'), { is_locked: false })
  for (const args of [['elect', 'x'], ['elect', 'x', '--ttl', '0', '--', 'true'], ['elect', 'x', '--no-wait', '--', 'true'], ['leader'], ['leader', 'x', 'y']]) {
    t.match(await rlmHere(args, { url }), { code: 64 }, args.join(' '))
  }
})
