import t from 'tap'
import { eventually } from '../support/eventually.js'
import { temporaryFolder } from '../support/program.js'
import { rlm, rlmHere, startRlm } from '../support/rlm.js'
import { Service } from '../support/service.js'

void t.test('keys: made by rlm, and asked for', async (t) => {
  await using folder = await temporaryFolder()
  const settings = { DATABASE_URL: 'sqlite:locks.db' }
  await using service = await Service.start({ cwd: folder.path, settings })
  const { url } = service
  const make = async (...options: string[]) => (await rlm(['keys', 'create', ...options], { cwd: folder.path, settings })).stdout.trim()
  const withKey = (key: string, ...args: string[]) => rlmHere(args, { url, settings: { RLM_API_KEY: key } })

  t.match(await rlm(['keys', '--help']), { code: 0, stdout: /keys create NAME/, stderr: '' })
  t.match(await rlm(['keys', 'lend'], { cwd: folder.path, settings }), { code: 1, stdout: '' })
  const [team, writer, reader] = [await make('team', '--prefix', 'team/'), await make('writer', '--scopes', 'write'), await make('reader', '--scopes', 'read')]
  t.match(await rlm(['keys', 'list'], { cwd: folder.path, settings }), { code: 0, stdout: /team.*\n.*writer.*\n.*reader/ })
  await eventually('keys are asked for', async () => (await service.status('x')).status === 401 || undefined)
  const asReader = { headers: { authorization: `Bearer ${reader}` } }
  await eventually('the last one is known', async () => (await fetch(`${url}/locks/status?resource_name=x`, asReader)).ok || undefined)

  const asked = { code: 77, stdout: '', stderr: /^rlm: [^\n]+RLM_API_KEY must hold a key that the service knows\n$/ }
  t.match(await rlmHere(['run', 'team/x', '--', 'echo', 'run'], { url }), asked)
  t.match(await withKey('rlm_unknown', 'run', 'team/x', '--', 'echo', 'run'), asked)
  t.match(await withKey(reader, 'run', 'team/x', '--', 'echo', 'run'), { code: 77, stdout: '', stderr: /^rlm: [^\n]+\n$/ }, 'may only look')
  t.match(await withKey(team, 'run', 'other/x', '--', 'echo', 'run'), { code: 77, stdout: '' }, 'has another prefix')
  t.match(await rlm(['run', 'team/x', '--', 'echo', 'run'], { url, settings: { RLM_API_KEY: team } }), { code: 0, stdout: 'run\n', stderr: '' })
  t.match(await withKey(team, 'force-release', 'team/x', '--reason', 'r'), { code: 77 })

  t.match(await rlmHere(['doctor'], { url }), { code: 77, stdout: /\nbad +key +[^\n]+\n$/ })
  t.match(await withKey(team, 'doctor', 'team/'), { code: 0, stdout: /with a key\n.*\ngood +locking.*\ngood +clock/s })
  t.match(await withKey(reader, 'doctor'), { code: 0, stdout: /\ndoubtful +locking +The API key does not have the scope 'write': run, lock and release are refused\ndoubtful +clock +unknown without a lock\n$/ })
  t.match(await withKey(writer, 'doctor'), {
    code: 0,
    stdout: /\ndoubtful +key +accepted; The API key does not have the scope 'read': ls, status and history are refused\ngood +latency .*\ngood +locking.*\ngood +clock/s
  })
  t.match(await withKey(team, 'doctor'), { code: 77, stdout: /\nbad +key +[^\n]+; name a prefix that the key may use: rlm doctor PREFIX\n$/ })

  const running = startRlm(['run', 'team/y', '--ttl', '12s', '--kill-after', '500ms', '--', 'sh', '-c', 'echo ready; exec sleep 600'], { url, settings: { RLM_API_KEY: team } })
  await running.find((stdout) => stdout.includes('ready') || undefined)
  await rlm(['keys', 'revoke', 'team'], { cwd: folder.path, settings })
  t.match(
    await running.end(),
    { code: 76, stderr: /^rlm: Lock \d+ of resource 'team\/y' [^\n]+: The API key is not valid: it is unknown, revoked or expired; RLM_API_KEY [^\n]+; stopping the command\n$/ },
    'a key that is revoked meanwhile is shown as the cause'
  )
})
