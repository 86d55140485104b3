import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import Database from 'better-sqlite3'
import t from 'tap'
import { eventually } from '../support/eventually.js'
import { shellWord, temporaryFolder } from '../support/program.js'
import { Proxy } from '../support/proxy.js'
import { startRlm, Worker } from '../support/rlm.js'
import { Service } from '../support/service.js'

t.jobs = 3
const service = await Service.start()
t.teardown(() => service[Symbol.asyncDispose]())
const { url } = service
const statusOf = async (name: string) => (await service.status(name)).body.data ?? {}
const takeAway = (name: string, of = service) => of.call('POST', '/locks/force-release', { resource_name: name, reason: 'a test' })

/** A shell that starts both, and waits for them whatever it is told. */
const family = (child: Worker, grandchild: Worker): string[] => [
  'sh',
  '-c',
  `trap : TERM; sh -c ${shellWord(`trap : TERM; ${grandchild.shellCommand}; :`)} & ${child.shellCommand}; wait`
]

void t.test('a service that dies under it: all that ignores TERM is dead before the lease ends', async (t) => {
  await using folder = await temporaryFolder()
  await using dying = await Service.start({ cwd: folder.path, settings: { DATABASE_URL: 'sqlite:locks.db' } })
  const [child, grandchild] = [new Worker(folder.path, 'child'), new Worker(folder.path, 'grandchild')]
  const running = startRlm(['run', 'x', '--ttl', '15s', '--kill-after', '3s', '--', ...family(child, grandchild)], { url: dying.url })
  await Promise.all([child.untilAtWork(), grandchild.untilAtWork()])
  await dying.kill()
  const { code, stdout, stderr } = await running.end()
  const endedAt = Date.now()
  const database = new Database(join(folder.path, 'locks.db'), { readonly: true })
  const expiresAt = Number(database.prepare("select expires_at from resource_locks where resource_name = 'x'").pluck().get())
  database.close()
  t.equal(code, 76)
  t.match(stderr, /^rlm: Lock 1 of resource 'x' was not renewed and ends in [^\n]+; stopping the command\n$/)
  t.equal(stdout, '')
  for (const worker of [child, grandchild]) {
    const asked = worker.beats.find(({ what }) => what === 'TERM')
    t.ok(asked !== undefined && worker.lastAt > asked.at, 'it was asked to end, and went on')
    t.ok(worker.lastAt < expiresAt, `its last work was ${expiresAt - worker.lastAt} ms before the end of the lease`)
    t.ok(worker.lastAt <= endedAt, 'nothing outlived the command')
  }
})

void t.test('a lock that is taken away: the command is asked to end, and may take the grace for it', async (t) => {
  const script = 'trap "sleep 0.3; echo tidied; exit 0" TERM; echo ready; while :; do sleep 0.05; done'
  const running = startRlm(['run', 'taken', '--ttl', '60s', '--', 'sh', '-c', script], { url })
  await running.find((stdout) => stdout.includes('ready') || undefined)
  await takeAway('taken')
  t.match(await service.request('taken', 'other'), { status: 200 })
  t.match(await running.end(), {
    code: 76,
    stdout: 'ready\ntidied\n',
    stderr: /^rlm: Lock \d+ of resource 'taken' is lost: [^\n]+; stopping the command\n/
  })
  t.match(await statusOf('taken'), { locked_by: 'other' }, 'the next holder is left alone')
})

void t.test('--on-lost warn only says so', async (t) => {
  for (const [code, ends] of [[0, 76], [5, 5]] as const) {
    const name = `warned ${code}`
    const script = `echo ready; until [ -e "$0" ]; do sleep 0.05; done; echo done; exit ${code}`
    await using folder = await temporaryFolder()
    const go = join(folder.path, 'go')
    const running = startRlm(['run', name, '--ttl', '60s', '--on-lost', 'warn', '--', 'sh', '-c', script, go], { url })
    await running.find((stdout) => stdout.includes('ready') || undefined)
    await takeAway(name)
    await eventually('it says so', () => Promise.resolve(running.stderr.includes('\n') || undefined))
    await writeFile(go, '')
    const ending = await running.end()
    t.match(ending, { code: ends, stdout: 'ready\ndone\n', stderr: /^rlm: Lock \d+ of resource '[^']+' is lost: [^\n]+; the command goes on\n$/ })
  }
})

void t.test('a loss that shows only at the end is told: success without the lock is none', async (t) => {
  // Nobody hears of it sooner: there is no history to follow, and the lock is renewed after ten minutes.
  await using unheard = await Service.start({ settings: { HISTORY_RETENTION_DAYS: '0' } })
  for (const [code, ends] of [[0, 76], [5, 5]] as const) {
    const name = `late ${code}`
    const script = `echo ready; until [ -e "$0" ]; do sleep 0.05; done; exit ${code}`
    await using folder = await temporaryFolder()
    const go = join(folder.path, 'go')
    const running = startRlm(['run', name, '--ttl', '30m', '--', 'sh', '-c', script, go], { url: unheard.url })
    await running.find((stdout) => stdout.includes('ready') || undefined)
    await takeAway(name, unheard)
    await writeFile(go, '')
    t.match(await running.end(), { code: ends, stderr: /^rlm: Lock \d+ of resource '[^']+' is lost: it was released or taken away\n$/ })
  }
})

void t.test('a process that sleeps past the lease kills its command as soon as it wakes', async (t) => {
  await using folder = await temporaryFolder()
  const worker = new Worker(folder.path, 'worker')
  const running = startRlm(['run', 'paused', '--ttl', '8s', '--kill-after', '500ms', '--', 'sh', '-c', worker.shellCommand], { url })
  await worker.untilAtWork()
  const { lock_id: token } = await statusOf('paused')
  running.signal('SIGSTOP')
  await eventually('the lease ends', async () => (await statusOf('paused'))['is_locked'] === false || undefined)
  const next = (await service.request('paused', 'next')).body.data?.['lock_id']
  t.ok(Number(next) > Number(token), 'the next token is larger, for what only a token can keep out')
  running.signal('SIGCONT')
  t.match(await running.end(), { code: 76, stderr: /is lost: [^\n]+; stopping the command\n$/ })
  const endedAt = Date.now()
  await new Promise((resolve) => setTimeout(resolve, 200))
  t.ok(worker.lastAt <= endedAt)
  t.match(await statusOf('paused'), { locked_by: 'next' })
})

void t.test('a command that is stopped with its rlm past the lease never works again', async (t) => {
  await using folder = await temporaryFolder()
  const worker = new Worker(folder.path, 'worker')
  const running = startRlm(['run', 'suspended', '--ttl', '8s', '--', 'sh', '-c', worker.shellCommand], { url })
  await worker.untilAtWork()
  running.signal('SIGTSTP')
  await eventually('the lease ends', async () => (await statusOf('suspended'))['is_locked'] === false || undefined)
  const freeAt = Date.now()
  running.signal('SIGCONT')
  t.match(await running.end(), { code: 76 })
  t.ok(worker.lastAt < freeAt, `it last worked ${freeAt - worker.lastAt} ms before`)
})

void t.test('a service that is away for less than the lease is not noticed', async (t) => {
  await using folder = await temporaryFolder()
  const go = join(folder.path, 'go')
  await using proxy = await Proxy.start(service.port)
  const script = 'echo ready; until [ -e "$0" ]; do sleep 0.05; done'
  const running = startRlm(['run', 'away', '--ttl', '15s', '--kill-after', '1s', '--', 'sh', '-c', script, go], { url: proxy.through(url) })
  await running.find((stdout) => stdout.includes('ready') || undefined)
  const { expires_at: before } = await statusOf('away')
  // The first renewal does not arrive.
  await proxy.hold('requests')
  proxy.cut()
  await eventually('it is renewed', async () => ((await statusOf('away'))['expires_at'] === before ? undefined : true))
  await writeFile(go, '')
  t.match(await running.end(), { code: 0, stderr: '' })
  t.match(await statusOf('away'), { is_locked: false })
})
