import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { eventually } from '../support/eventually.js'
import { inProject, temporaryFolder } from '../support/program.js'
import { Service } from '../support/service.js'
import { Terminal, Worker } from '../support/rlm.js'

t.jobs = 4
const service = await Service.start()
t.teardown(() => service[Symbol.asyncDispose]())
const settings = { RLM_URL: service.url }
const takeAway = (name: string) => service.call('POST', '/locks/force-release', { resource_name: name, reason: 'a test' })

/** `rlm` with pipes whose other ends the test closes. */
function startPiped(args: readonly string[]) {
  const child = spawn(process.execPath, [inProject('dist/src/rlm.js'), ...args], { env: { PATH: process.env['PATH'], ...settings }, stdio: ['ignore', 'pipe', 'pipe'] })
  const ended = once(child, 'exit') as Promise<[number | null, NodeJS.Signals | null]>
  let complaint = ''
  child.stderr.setEncoding('utf8').on('data', (text: string) => (complaint += text))
  const silent = ended.then(([code]) => Promise.reject(new Error(`rlm ended with ${code} and said nothing on its standard output: ${complaint}`)))
  /** Resolves with its first output; rejects when it ends without any. */
  const spoken = Promise.race([once(child.stdout, 'data'), silent])
  spoken.catch(() => undefined)
  return { child, stdout: child.stdout, stderr: child.stderr, spoken, ended }
}

void t.test('a command is stopped when its lock is lost, also when nobody reads what rlm says', async (t) => {
  await using folder = await temporaryFolder()
  const worker = new Worker(folder.path, 'worker')
  const running = startPiped(['run', 'unread', '--ttl', '60s', '--', 'sh', '-c', `exec ${worker.shellCommand}`])
  await worker.untilAtWork()
  running.stderr.destroy()
  await takeAway('unread')
  t.strictSame(await running.ended, [76, null])
  const { length } = worker.beats
  await eventually('another process ran meanwhile', async () => ((await service.status('unread')).status === 200 ? true : undefined))
  t.equal(worker.beats.length, length, 'the command is dead')
})

void t.test('with --on-lost warn, rlm stays with the command when nobody reads what it says', async (t) => {
  await using folder = await temporaryFolder()
  const go = join(folder.path, 'go')
  const script = 'echo ready; until [ -e "$0" ]; do sleep 0.05; done; exit 5'
  const running = startPiped(['run', 'warned', '--ttl', '60s', '--on-lost', 'warn', '--', 'sh', '-c', script, go])
  await running.spoken
  running.stderr.destroy()
  await takeAway('warned')
  // It hears of a loss within a second.
  await new Promise((resolve) => setTimeout(resolve, 1500))
  t.equal(running.child.exitCode, null, 'it waits for the command')
  spawn('touch', [go])
  t.strictSame(await running.ended, [5, null])
})

void t.test('ls --watch ends when nobody reads it', async (t) => {
  const watching = startPiped(['ls', 'piped/', '--watch'])
  await watching.spoken
  watching.stdout.destroy()
  await eventually('it ends with the next line', async () => {
    await service.request('piped/x', 'p')
    await service.release('piped/x', 'p')
    return watching.child.exitCode ?? undefined
  })
  t.strictSame(await watching.ended, [0, null])
})

void t.test('what is written to a full disk fails', async (t) => {
  const listing = spawn('sh', ['-c', '"$0" "$1" status x >/dev/full', process.execPath, inProject('dist/src/rlm.js')], {
    env: { PATH: process.env['PATH'], ...settings },
    stdio: ['ignore', 'ignore', 'pipe']
  })
  const said: string[] = []
  listing.stderr.setEncoding('utf8').on('data', (text: string) => said.push(text))
  t.strictSame(await once(listing, 'close'), [74, null])
  t.match(said.join(''), /^rlm: the standard output cannot be written: ENOSPC\n$/)
})

void t.test('a command does not outlive an rlm that fails', async (t) => {
  await using folder = await temporaryFolder()
  const worker = new Worker(folder.path, 'worker')
  const program = `
    import { ProcessGroup } from ${JSON.stringify(inProject('dist/src/cli/process-group.js'))}
    await ProcessGroup.start(['sh', '-c', process.argv[1]], process.env)
    process.stdin.once('data', () => { throw new Error('a bug') })`
  const failing = spawn(process.execPath, ['--input-type=module', '-e', program, worker.shellCommand], { stdio: ['pipe', 'ignore', 'ignore'] })
  await worker.untilAtWork()
  failing.stdin.write('now\n')
  await once(failing, 'exit')
  const { length } = worker.beats
  await new Promise((resolve) => setTimeout(resolve, 200))
  t.equal(worker.beats.length, length)
})

void t.test('a terminal that hangs up ends rlm with 129, and its command', async (t) => {
  await using folder = await temporaryFolder()
  const [pid, code] = [join(folder.path, 'pid'), join(folder.path, 'code')]
  // The leader of the session gets the signal of the system; it lives on to tell how rlm ended.
  const script = `trap : HUP; sh -c 'echo $$ >"$0"; exec "$@"' '${pid}' "$@"; echo $? >'${code}'`
  {
    await using terminal = Terminal.run((rlm) => ['sh', '-c', script, 'sh', ...rlm, 'run', 'hung up', '--', 'sh', '-c', 'echo ready; exec sleep 30'], settings)
    await terminal.until(/ready/)
  }
  process.kill(Number(await readFile(pid, 'utf8')), 'SIGHUP')
  const ended = await eventually('rlm ends', async () => (await readFile(code, 'utf8').catch(() => '')).trim() || undefined)
  t.equal(ended, '129')
  t.match((await service.status('hung up')).body.data, { is_locked: false })
})
