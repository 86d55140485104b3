import { once } from 'node:events'
import t from 'tap'
import { ProcessGroup, Signals, signalsIn } from '../../src/cli/process-group.js'
import { eventually } from '../support/eventually.js'
import { inProject, Program, startProgram, temporaryFolder } from '../support/program.js'
import { startRlm, Worker } from '../support/rlm.js'
import { Service } from '../support/service.js'

t.jobs = 3
const service = await Service.start()
t.teardown(() => service[Symbol.asyncDispose]())
const { url } = service
const statusOf = async (name: string) => (await service.status(name)).body.data ?? {}

/** A command that starts another one; each says which signal it got. The inner one is in the way of the outer one's ending. */
const FAMILY = `
  for s in HUP INT QUIT TERM USR1 USR2; do trap "echo child $s" $s; done
  sh -c '
    for s in HUP INT QUIT TERM; do trap "echo grandchild $s; exit 0" $s; done
    trap "echo grandchild USR1" USR1; trap "echo grandchild USR2" USR2
    echo ready; n=0; while [ $n -lt 12000 ]; do sleep 0.05; n=$((n + 1)); done'
  exit 7`

for (const signal of ['HUP', 'INT', 'QUIT', 'TERM'] as const) {
  void t.test(`SIG${signal} goes to the command and to what it started`, async (t) => {
    const running = startRlm(['run', `family ${signal}`, '--', 'sh', '-c', FAMILY], { url })
    await running.find((stdout) => stdout.includes('ready') || undefined)
    running.signal(`SIG${signal}`)
    const { code, stdout, stderr } = await running.end()
    t.equal(code, 7, 'the command decides what to make of it')
    t.match(stdout, `grandchild ${signal}\n`)
    t.match(stdout, `child ${signal}\n`)
    t.notMatch(stderr, /rlm/, 'a shell may mention the signal, rlm says nothing')
    t.match(await statusOf(`family ${signal}`), { is_locked: false })
  })
}

void t.test('signals that end nothing are passed on too', async (t) => {
  const running = startRlm(['run', 'users', '--', 'sh', '-c', FAMILY], { url })
  await running.find((stdout) => stdout.includes('ready') || undefined)
  for (const signal of ['USR1', 'USR2'] as const) {
    running.signal(`SIG${signal}`)
    await running.find((stdout) => stdout.includes(`grandchild ${signal}`) || undefined)
  }
  running.signal('SIGTERM')
  t.match(await running.end(), { code: 7 })
})

void t.test('a command that a signal ends by default counts as in a shell', async (t) => {
  const running = startRlm(['run', 'default', '--', 'sh', '-c', 'echo ready; exec sleep 600'], { url })
  await running.find((stdout) => stdout.includes('ready') || undefined)
  running.signal('SIGTERM')
  t.match(await running.end(), { code: 143, stderr: '' })
  t.match(await statusOf('default'), { is_locked: false })
})

for (const [signal, code] of [['SIGHUP', 129], ['SIGINT', 130], ['SIGTERM', 143]] as const) {
  void t.test(`${signal} while waiting leaves the queue`, async (t) => {
    const name = `queue ${signal}`
    await service.request(name, 'p')
    const waiting = startRlm(['run', name, '--', 'echo', 'run'], { url })
    await eventually('it waits', async () => (await statusOf(name))['waiters'] === 1 || undefined)
    waiting.signal(signal)
    t.match(await waiting.end(), { code, stdout: '', stderr: '' }, 'and without a terminal nothing was said')
    await eventually('it is gone', async () => (await statusOf(name))['waiters'] === 0 || undefined)
    await service.release(name, 'p')
    t.match(await service.request(name, 'q'), { status: 200 }, 'nobody was left holding it')
  })
}

void t.test('a command that is stopped together with rlm goes on with it, if the lock is still held', async (t) => {
  await using folder = await temporaryFolder()
  const worker = new Worker(folder.path, 'worker')
  const running = startRlm(['run', 'stopped', '--', 'sh', '-c', `exec ${worker.shellCommand}`], { url })
  await worker.untilAtWork()
  running.signal('SIGTSTP')
  const beats = await eventually('it rests', async () => {
    const before = worker.beats.length
    await new Promise((resolve) => setTimeout(resolve, 300))
    return worker.beats.length === before ? before : undefined
  })
  running.signal('SIGCONT')
  await worker.untilAtWork()
  t.ok(worker.beats.length > beats)
  running.signal('SIGTERM')
  await eventually('it was asked to end', () => Promise.resolve(worker.beats.some(({ what }) => what === 'TERM') || undefined))
  running.signal('SIGQUIT')
  t.match(await running.end(), { code: 131 })
})

void t.test('what the command had started has some time after a signal, and the lock until then', async (t) => {
  await using folder = await temporaryFolder()
  const worker = new Worker(folder.path, 'worker')
  const running = startRlm(['run', 'slower', '--kill-after', '4s', '--', 'sh', '-c', `${worker.shellCommand}; exit 3`], { url })
  await worker.untilAtWork()
  running.signal('SIGTERM')
  t.match(await running.end(), { code: 143 }, 'the command was quick')
  const asked = worker.beats.find(({ what }) => what === 'TERM')
  t.ok(asked !== undefined && worker.lastAt - asked.at > 500, 'what it had started was not')
  const { events } = (await service.call('GET', '/locks/history?resource_name=slower&limit=1')).body.data as { events: { event: string; at: string }[] }
  t.equal(events[0]?.event, 'released')
  t.ok(worker.lastAt <= Date.parse(events[0]?.at ?? ''))
})

void t.test('what has to be done before a stopped command goes on is done before', async (t) => {
  await using folder = await temporaryFolder()
  const worker = new Worker(folder.path, 'worker')
  const group = await ProcessGroup.start(['sh', '-c', `exec ${worker.shellCommand}`], process.env)
  await worker.untilAtWork()
  group.signal('SIGSTOP')
  using signals = new Signals()
  signals.relayTo(group, () => group.signal('SIGKILL'))
  process.kill(process.pid, 'SIGCONT')
  t.equal(await group.ended, 137)
})

async function sendTerm(): Promise<void> {
  const arrived = once(process, 'SIGTERM')
  process.kill(process.pid, 'SIGTERM')
  await arrived
}

void t.test('the same signal within a tenth of a second reaches the command once', async (t) => {
  await using folder = await temporaryFolder()
  const worker = new Worker(folder.path, 'worker')
  const group = await ProcessGroup.start(['sh', '-c', `exec ${worker.shellCommand}`], process.env)
  await worker.untilAtWork()
  let now = 0
  using signals = new Signals({ now: () => now })
  signals.relayTo(group, () => undefined)
  const asked = (): number => worker.beats.filter(({ what }) => what === 'TERM').length
  await sendTerm()
  await eventually('it heard of the first', () => Promise.resolve(asked() === 1 || undefined))
  now = 99
  await sendTerm()
  now = 100
  await sendTerm()
  await eventually('it heard of the third', () => Promise.resolve(asked() === 2 || undefined))
  await worker.untilAtWork()
  t.equal(asked(), 2, 'and not of the second')
  group.signal('SIGKILL')
  await group.ended
})

void t.test('what nohup has ignored stays ignored, by rlm and by its command', async (t) => {
  await using folder = await temporaryFolder()
  const script = 'echo ready; exec sleep 600'
  const command = ['nohup', inProject('dist/src/rlm.js'), 'run', 'nohup', '--', 'sh', '-c', script]
  const running = new Program(command, { RLM_URL: url }, folder.path)
  await running.find((stdout) => stdout.includes('ready') || undefined)
  const { locked_by: holder } = await statusOf('nohup')
  t.equal(Number(String(holder).split('/')[1]), running.pid, 'the shell made way for rlm')
  running.signal('SIGHUP')
  running.signal('SIGTERM')
  t.match(await running.end(), { code: 143, stdout: 'ready\n' }, 'HUP ended nothing')

  const serving = new Program(['nohup', inProject('dist/src/rlm.js'), 'serve'], { PORT: '0' }, folder.path)
  await serving.find((stdout) => stdout.includes('Server listening') || undefined)
  serving.signal('SIGHUP')
  serving.signal('SIGTERM')
  t.match(await serving.end(), { code: 0, stdout: /"signal":"SIGTERM"/ }, 'nor does it end the service')

  const ignoring = await ProcessGroup.start(['sh', '-c', 'kill -HUP $$; kill -INT $$; exit 3'], process.env, ['SIGHUP', 'SIGINT'])
  t.equal(await ignoring.ended, 3)
  const missing = await ProcessGroup.start(['no-such-program-anywhere'], process.env, ['SIGHUP'])
  t.equal(await missing.ended, 127)
})

void t.test('the mask of the system tells the signals that are ignored', (t) => {
  t.strictSame(signalsIn('0000000000000001'), ['SIGHUP'])
  t.strictSame(signalsIn('0000000000384006'), ['SIGINT', 'SIGQUIT', 'SIGTERM', 'SIGTSTP'])
  for (const text of [undefined, '', '0', '0000000001001000', 'none', `1${'0'.repeat(40)}`]) t.strictSame(signalsIn(text), [])
  t.end()
})

void t.test('a command that cannot be killed is said to be still running', async (t) => {
  // As root without the right to kill what others run, which is what everybody is to a setuid program.
  if (process.getuid?.() !== 0) return t.comment('only root can make a process that rlm may not kill')
  const under = ['setpriv', '--bounding-set=-kill', '--inh-caps=-kill']
  const command = ['setpriv', '--reuid=65534', '--clear-groups', 'sh', '-c', 'echo "$$"; exec sleep 600']
  const running = startProgram('src/rlm.js', { args: ['run', 'immortal', '--ttl', '6s', '--', ...command], settings: { RLM_URL: url }, under })
  const pid = await running.find((stdout) => /^(\d+)\n/.exec(stdout)?.[1])
  running.signal('SIGINT')
  await eventually('it says so', () => Promise.resolve(running.stderr.includes('SIGINT cannot be passed on') || undefined))
  await service.call('POST', '/locks/force-release', { resource_name: 'immortal', reason: 'a test' })
  await eventually('it says so', () => Promise.resolve(/is still running: it runs as another user/.test(running.stderr) || undefined))
  t.ok(running.alive, 'and waits for it')
  process.kill(Number(pid), 'SIGKILL')
  t.match(await running.end(), { code: 76 })
})
