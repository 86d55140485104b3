import t from 'tap'
import { eventually } from '../support/eventually.js'
import { temporaryFolder } from '../support/program.js'
import { rlm, rlmHere } from '../support/rlm.js'
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
  const [team, reader] = [await make('team', '--prefix', 'team/'), await make('reader', '--scopes', 'read')]
  t.match(await rlm(['keys', 'list'], { cwd: folder.path, settings }), { code: 0, stdout: /team.*\n.*reader/ })
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
  t.match(await withKey(reader, 'doctor'), { code: 0, stdout: /\ndoubtful +locking +the key may not lock.*\ndoubtful +clock +unknown without a lock\n$/s })
})
