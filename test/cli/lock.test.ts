import t from 'tap'
import { eventually } from '../support/eventually.js'
import { rlmHere, startRlm, Terminal } from '../support/rlm.js'
import { Service } from '../support/service.js'

t.jobs = 3
const service = await Service.start()
t.teardown(() => service[Symbol.asyncDispose]())
const { url } = service
const statusOf = async (name: string) => (await service.status(name)).body.data ?? {}

void t.test('lock holds a lock until control C', async (t) => {
  await using terminal = Terminal.rlm(['lock', 'held', '--ttl', '6s'], { RLM_URL: url })
  await terminal.until(/Holding 'held' \(lock \d+\) until Ctrl-C\./)
  const { lock_id: token, expires_at: end } = await statusOf('held')
  await eventually('it is renewed', async () => ((await statusOf('held'))['expires_at'] === end ? undefined : true))
  t.match(await statusOf('held'), { is_locked: true, lock_id: token })
  terminal.control('C')
  t.equal(await terminal.end(), 0)
  t.match(await statusOf('held'), { is_locked: false })
})

void t.test('lock tells the grant as JSON, waits in line, and says when somebody else has it', async (t) => {
  const first = startRlm(['lock', 'line', '--json'], { url })
  const grant: unknown = JSON.parse(await first.find((stdout) => (stdout.endsWith('\n') ? stdout : undefined)))
  t.match(grant, { resource_name: 'line', lock_id: Number, fencing_token: Number, expires_at: String, process_id: new RegExp(`/${first.pid}/`) })
  t.match(await rlmHere(['lock', 'line', '--no-wait'], { url }), { code: 75, stdout: '', stderr: /^rlm: Resource 'line' is locked by process '/ })
  t.match(await rlmHere(['lock', 'line', '--wait', '100ms', '-E', '9'], { url }), { code: 9 })
  const second = startRlm(['lock', 'line'], { url })
  await eventually('it waits', async () => (await statusOf('line'))['waiters'] === 1 || undefined)
  first.signal('SIGTERM')
  t.match(await first.end(), { code: 0, stderr: '' })
  await second.find((stdout) => stdout.includes('Holding') || undefined)
  await service.call('POST', '/locks/force-release', { resource_name: 'line', reason: 'a test' })
  second.signal('SIGINT')
  t.match(await second.end(), { code: 76, stderr: /^rlm: Lock \d+ of resource 'line' is lost: / }, 'a loss that shows at the end')
})

void t.test('lock ends when its lock is lost, and runs no command', async (t) => {
  const holding = startRlm(['lock', 'lost', '--ttl', '60s'], { url })
  await holding.find((stdout) => stdout.includes('Holding') || undefined)
  await service.call('POST', '/locks/force-release', { resource_name: 'lost', reason: 'a test' })
  t.match(await holding.end(), { code: 76, stderr: /^rlm: Lock \d+ of resource 'lost' is lost: / })
  t.match(await rlmHere(['lock', 'x', '--', 'true'], { url }), { code: 64, stdout: '', stderr: /^rlm: rlm run NAME -- COMMAND runs a command/ })
})
