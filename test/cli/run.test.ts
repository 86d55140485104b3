import { createServer } from 'node:http'
import { once } from 'node:events'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { eventually } from '../support/eventually.js'
import { temporaryFolder } from '../support/program.js'
import { rlm, rlmHere, startRlm } from '../support/rlm.js'
import { Service } from '../support/service.js'

t.jobs = 3
const service = await Service.start()
t.teardown(() => service[Symbol.asyncDispose]())
const { url } = service

const run = (name: string, options: string, ...command: string[]) => rlm(['run', name, ...options.split(' ').filter(Boolean), '--', ...command], { url })
/** For what is refused before a command is started. */
const refused = (name: string, options: string, settings = {}) => rlmHere(['run', name, ...options.split(' ').filter(Boolean), '--', 'echo', 'run'], { url, settings })
const isLocked = async (name: string): Promise<unknown> => (await service.status(name)).body.data?.['is_locked']

void t.test('the command sees the lock, has its streams for itself, and its exit code is passed on', async (t) => {
  const script = 'echo "$RLM_RESOURCE $RLM_LOCK_ID $RLM_FENCING_TOKEN $OTHER $*"; echo err >&2; exit 3'
  const ending = await rlm(['run', 'nightly report', '--', 'sh', '-c', script, 'sh', '--help', '--'], { url, settings: { OTHER: 'other' } })
  const token = /^nightly report (\d+) (\d+) other --help --\n$/.exec(ending.stdout)
  t.ok(token, ending.stdout)
  t.equal(token?.[1], token?.[2])
  t.match(ending, { code: 3, stderr: 'err\n' }, 'nothing beside what the command says')
  t.equal(await isLocked('nightly report'), false)
})

void t.test('the lock is held while the command runs, and renewed with its lease', async (t) => {
  await using folder = await temporaryFolder()
  const go = join(folder.path, 'go')
  const running = startRlm(['run', 'held', '--ttl', '6s', '--kill-after', '500ms', '--', 'sh', '-c', `echo started; until [ -e '${go}' ]; do sleep 0.1; done`], { url })
  await running.find((stdout) => stdout.includes('started') || undefined)
  const { data } = (await service.status('held')).body
  t.match(data, { is_locked: true, locked_by: /^[^/]+\/\d+\/[0-9a-f]{8}$/ })
  const renewed = await eventually('its lease is renewed', async () => {
    const now = (await service.status('held')).body.data
    return now?.['expires_at'] === data?.['expires_at'] ? undefined : now
  })
  t.match(renewed, { is_locked: true, lock_id: data?.['lock_id'] }, 'the same grant')
  await writeFile(go, '')
  t.match(await running.end(), { code: 0, stderr: '' })
  t.equal(await isLocked('held'), false)
})

void t.test('a signal that ends the command counts as in a shell', async (t) => {
  t.match(await run('signal', '', 'sh', '-c', 'kill -KILL $$'), { code: 137, stderr: '' })
  t.match(await run('signal', '', 'sh', '-c', 'kill -TERM $$'), { code: 143, stderr: '' })
})

void t.test('somebody else has it', async (t) => {
  await service.request('taken', 'p')
  const sentence = "rlm: Resource 'taken' is locked by process 'p'\n"
  t.match(await run('taken', '--no-wait', 'echo', 'run'), { code: 75, stdout: '', stderr: sentence })
  t.match(await refused('taken', '--wait 300ms'), { code: 75, stderr: sentence })
  t.match(await refused('taken', '--wait 0 -E 0'), { code: 0, stderr: sentence })
  t.match(await refused('taken', '--no-wait --conflict-exit-code 9'), { code: 9 })
})

void t.test('a command that cannot be run leaves no lock', async (t) => {
  await using folder = await temporaryFolder()
  const file = join(folder.path, 'plain')
  await writeFile(file, 'no program', { mode: 0o644 })
  const there = join(folder.path, 'folder')
  await mkdir(there)
  t.match(await run('spawn', '--no-wait', 'no-such-program-anywhere'), { code: 127, stdout: '', stderr: 'rlm: no-such-program-anywhere: not found\n' })
  t.match(await run('spawn', '--no-wait', file), { code: 126, stdout: '', stderr: `rlm: ${file}: cannot be run: EACCES\n` })
  t.match(await run('spawn', '--no-wait', there), { code: 126, stdout: '' })
  t.equal(await isLocked('spawn'), false)
})

void t.test('usage', async (t) => {
  for (const args of [['run', 'x'], ['run', 'x', '--ttl', 'soon', '--', 'echo', 'run'], ['run', 'x', '--no-wait', '--wait', '1', '--', 'echo', 'run']]) {
    t.match(await rlmHere(args, { url }), { code: 64, stdout: '', stderr: /^rlm: [^\n]+\nTry: rlm run --help\n$/ }, args.join(' '))
  }
  t.match(await refused('x'.repeat(256), ''), { code: 64, stderr: /^rlm: resource_name: / }, 'what the service refuses')
  t.match(await refused('x', '--ttl 999999h'), { code: 64, stderr: /^rlm: ttl_seconds: / })
  for (const bad of ['127.0.0.1:8000', 'ftp://host', 'http://user:secret@host']) {
    const { code, stderr } = await refused('x', '', { RLM_URL: bad })
    t.equal(code, 64, bad)
    t.match(stderr, /^rlm: RLM_URL /)
    t.notMatch(stderr, /secret/)
  }
  const { code, stderr } = await refused('x', '', { RLM_API_KEY: 'a\u00FCkey' })
  t.equal(code, 64)
  t.match(stderr, /^rlm: RLM_API_KEY /)
  t.notMatch(stderr, /\u00FCkey/, 'a key is not told')
})

void t.test('no service', async (t) => {
  const server = createServer((_request, response) => void response.writeHead(404, { 'content-type': 'text/html' }).end('<h1>Another program</h1>'))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  const other = `http://127.0.0.1:${typeof address === 'object' ? address?.port : ''}`
  t.match(await rlmHere(['status', 'x'], { url: other }), { code: 69, stdout: '', stderr: /^rlm: The lock service answered 404[^\n]*http:\S+\n$/ }, 'what answers there is another program')
  server.close()
  // No program that runs beside this one is given so low a port.
  const nobody = 'http://127.0.0.1:2'
  const [look, work] = await Promise.all([rlmHere(['status', 'x'], { url: nobody }), rlmHere(['run', 'x', '--no-wait', '--', 'echo', 'run'], { url: nobody })])
  for (const ending of [look, work]) t.match(ending, { code: 69, stdout: '', stderr: /^rlm: The lock service at http:\S+ did not answer: nothing listens there \(ECONNREFUSED\)\n$/ })
})
