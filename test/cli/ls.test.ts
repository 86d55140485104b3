import t from 'tap'
import { rlmHere, startRlm } from '../support/rlm.js'
import { Service } from '../support/service.js'

const service = await Service.start()
t.teardown(() => service[Symbol.asyncDispose]())
const { url } = service
const rlm = (...args: string[]) => rlmHere(args, { url })
const json = async (...args: string[]): Promise<unknown> => JSON.parse((await rlm(...args, '--json')).stdout)
const TIME = String.raw`\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ`

void t.test('status', async (t) => {
  await service.request('held', 'worker 1', { ttl_seconds: 600, metadata: { job: 7 } })
  t.match(await rlm('status', 'held'), {
    code: 0,
    stderr: '',
    stdout: new RegExp(
      `^'held' is locked by 'worker 1'\\.\n  token +\\d+\n  since +${TIME}\n  ends +${TIME}, in 9m 5\\ds unless renewed\n  waiting +0\n  metadata +\\{"job":7\\}\n$`
    )
  })
  t.match(await json('status', 'held'), { resource_name: 'held', is_locked: true, locked_by: 'worker 1', remaining_seconds: Number, metadata: { job: 7 } })
  t.match(await rlm('status', 'free'), { code: 0, stdout: "'free' is not locked.\n" })
  await service.request('endless', 'worker 1')
  t.match(await rlm('status', 'endless'), { stdout: /\n {2}ends +never\n/ })
})

void t.test('ls', async (t) => {
  for (const name of ['list/a', 'list/bb']) await service.request(name, 'p', name.endsWith('a') ? { ttl_seconds: 600 } : {})
  t.match(await rlm('ls', 'list/'), {
    code: 0,
    stderr: '',
    stdout: /^RESOURCE +HOLDER +TOKEN +HELD FOR +ENDS IN\nlist\/a +p +\d+ +\S+ +9m 5\ds\nlist\/bb +p +\d+ +\S+ +never\n$/
  })
  t.match(await json('ls', 'list/'), { total_locks: 2, locks: [{ resource_name: 'list/a', process_id: 'p', lock_id: Number }, { resource_name: 'list/bb', expires_at: null }] })
  t.match(await rlm('ls', 'no such'), { code: 0, stdout: 'Nothing is locked.\n' })
  t.strictSame(await json('ls', 'no such'), { total_locks: 0, locks: [] })
})

void t.test('ls goes on where a page ends', async (t) => {
  const names = Array.from({ length: 1001 }, (_, index) => `pages/${String(index).padStart(4, '0')}`)
  for (let at = 0; at < names.length; at += 100) await service.call('POST', '/locks/request-many', { resource_names: names.slice(at, at + 100), process_id: 'p' })
  const { locks } = (await json('ls', 'pages/')) as { locks: { resource_name: string }[] }
  t.strictSame(locks.map(({ resource_name: name }) => name), names)
})

void t.test('ls --watch without a terminal goes on with a line for all that happens', async (t) => {
  await service.request('seen/before', 'p')
  const lines = startRlm(['ls', 'seen/', '--watch'], { url })
  const objects = startRlm(['ls', 'seen/', '--watch', '--json'], { url })
  for (const watching of [lines, objects]) await watching.find((stdout) => stdout.includes('seen/before') || undefined)
  await service.request('seen/now', 'q')
  await lines.find((stdout) => /\n\S+ \S+Z {2}granted {2}seen\/now {2}q {2}\d+\n/.test(stdout) || undefined)
  await objects.find((stdout) => stdout.split('\n').length > 2 || undefined)
  const [list = '', event = ''] = objects.stdout.split('\n')
  t.match(JSON.parse(list), { total_locks: 1, locks: [{ resource_name: 'seen/before' }] })
  t.match(JSON.parse(event), { event: 'granted', resource_name: 'seen/now', process_id: 'q' })
  for (const watching of [lines, objects]) {
    watching.signal('SIGTERM')
    t.match(await watching.end(), { signal: 'SIGTERM', stderr: '' })
  }
})

void t.test('release', async (t) => {
  const granted = await service.request('let go', 'worker 1')
  const token = Number(granted.body.data?.['lock_id'])
  t.match(await rlm('release', 'let go'), { code: 64, stderr: /--process is missing/ })
  t.match(await rlm('release', 'let go', '--process', 'another'), { code: 1, stdout: '', stderr: "rlm: 'let go' is not held by 'another': another grant is valid\n" })
  t.match(await rlm('release', 'let go', '--process', 'worker 1', '--lock-id', String(token + 1)), { code: 1 })
  t.match(await rlm('release', 'let go', '--process', 'worker 1', '--lock-id', String(token)), { code: 0, stdout: "Released 'let go'.\n", stderr: '' })
  t.match(await rlm('release', 'let go', '--process', 'worker 1', '--json'), { code: 1, stdout: '{"released":false,"resource_name":"let go","process_id":"worker 1","reason":"released"}\n' })
})

void t.test('force-release, and the history of it', async (t) => {
  const token = Number((await service.request('seized', 'worker 1')).body.data?.['lock_id'])
  t.match(await rlm('force-release', 'seized'), { code: 64, stderr: /--reason is missing/ })
  t.match(await rlm('force-release', 'seized', '--reason', 'gone', '--lock-id', String(token + 1)), { code: 1, stderr: "rlm: 'seized' was left alone: another grant is valid by now\n" })
  t.match(await rlm('force-release', 'seized', '--reason', 'it is gone', '--lock-id', String(token)), { code: 0, stdout: `Took 'seized' away from 'worker 1' (lock ${token}).\n` })
  t.match(await rlm('force-release', 'seized', '--reason', 'gone'), { code: 1, stdout: '' })
  t.match(await rlm('history', 'seized'), {
    code: 0,
    stdout: new RegExp(`^AT +EVENT +RESOURCE +HOLDER +TOKEN +REASON\n${TIME} +force-released +seized +worker 1 +${token} +it is gone\n${TIME} +granted +seized +worker 1 +${token}\n$`)
  })
  t.match(await json('history', '--process', 'worker 1', '--limit', '1'), { events: { length: 1 } })
  t.match(await rlm('history', 'nothing'), { code: 0, stdout: 'Nothing is known.\n' })
  t.match(await rlm('history', '--limit', '0'), { code: 64 })
})

void t.test('doctor', async (t) => {
  t.match(await rlm('doctor'), {
    code: 0,
    stderr: '',
    stdout: new RegExp(
      [
        `^good +url +${url}, with no key`,
        'good +service +Resource Lock Manager',
        'good +database +connected',
        'good +key +accepted, or none is needed',
        String.raw`good +latency +\S+ms in the middle of 7, \S+ms to \S+ms`,
        'good +locking +a lock was taken and released',
        String.raw`good +clock +the database's is \S+ (?:behind|ahead of) this machine's, give or take \S+\n$`
      ].join('\n')
    )
  })
  const findings = (await rlm('doctor', '--json')).stdout.trim().split('\n').map((line) => JSON.parse(line) as unknown)
  t.match(findings[0], { check: 'url', verdict: 'good', finding: String })
  t.equal(findings.length, 7)
  await using gone = await Service.start()
  await gone.kill()
  t.match(await rlmHere(['doctor'], { url: gone.url }), { code: 69, stdout: /\nbad +service +The lock service at http:\S+ did not answer: nothing listens there \(ECONNREFUSED\)\n$/ })
})
