import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import Database from 'better-sqlite3'
import t from 'tap'
import { keysCommand } from '../../src/cli/server-commands.js'
import { digestOf } from '../../src/locks/api-keys.js'
import { openKeys } from '../../src/storage/index.js'
import { DATABASES, freshDatabase } from '../support/databases.js'
import { eventually } from '../support/eventually.js'
import { refused, runCommand, temporaryFolder } from '../support/program.js'
import { Service } from '../support/service.js'

/** The command as `npm run keys` runs it, in this process instead of one of its own: the database is another program's all the same. */
async function keys(databaseUrl: string, args: string): Promise<{ stdout: string; stderr: string }> {
  const said = { stdout: '', stderr: '' }
  await keysCommand(args.split(' '), {
    open: () => openKeys(databaseUrl),
    print: (line) => (said.stdout += `${line}\n`),
    note: (line) => (said.stderr += `${line}\n`)
  })
  return said
}

/** Makes a key and says what was printed. */
async function create(databaseUrl: string, args: string): Promise<string> {
  return (await keys(databaseUrl, `create ${args}`)).stdout.trim()
}

async function statusWith(service: Service, secret: string): Promise<number> {
  const response = await fetch(`${service.url}/locks/status?resource_name=a`, { headers: { authorization: `Bearer ${secret}` } })
  await response.body?.cancel()
  return response.status
}

const becomes = (service: Service, secret: string, status: number): Promise<true> =>
  eventually(`the key is answered with ${status}`, async () => ((await statusWith(service, secret)) === status ? true : undefined))

/** Resolves when the service knows of the first key. */
const asksForKeys = (service: Service): Promise<true> => becomes(service, 'rlm_unknown', 401)

for (const kind of DATABASES) {
  void t.test(`keys are made, listed, rotated and revoked beside a running service (${kind})`, async (t) => {
    await using database = await freshDatabase(kind, 'real')
    const { url } = database
    const settings = { DATABASE_URL: url }
    await using service = await Service.start({ settings })
    t.match(await service.request('a', 'p'), { status: 200 }, 'nobody needs a key yet')
    t.match(await keys(url, 'list'), { stdout: 'There are no keys.\n', stderr: '' })

    const made = await keys(url, 'create worker --expires 90d')
    t.match(made, { stdout: /^rlm_[A-Za-z0-9_-]{43}\n$/, stderr: /^Key 1 'worker' was made: read, write for all resources, until 20/ })
    const first = made.stdout.trim()
    await asksForKeys(service)
    t.equal(await statusWith(service, first), 200)
    t.match(await service.request('b', 'p'), { status: 401 })

    const second = await create(url, 'worker')
    await becomes(service, second, 200)
    t.equal(await statusWith(service, first), 200, 'two live keys')
    await t.rejects(keys(url, 'revoke worker'), { message: "There are several keys 'worker'; say which by its id: 1 and 2." })
    t.match(await keys(url, 'revoke 1'), { stdout: '', stderr: /^Key 1 'worker' was revoked/ })
    await becomes(service, first, 401)
    t.equal(await statusWith(service, second), 200)
    await t.rejects(keys(url, 'revoke 1'), { message: "The key '1' was revoked before." })
    await t.rejects(keys(url, 'revoke nobody'), { message: "There is no key 'nobody'." })

    await create(url, 'reader --scopes read --prefix reports/')
    const { stdout } = await keys(url, 'list')
    const [head = '', ...lines] = stdout.trimEnd().split('\n')
    t.match(head, /^ID +NAME +SCOPES +PREFIX +CREATED +EXPIRES +STATE$/)
    const at = String.raw`20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ`
    t.match(lines, [
      new RegExp(`^1 +worker +read,write +- +${at} +${at} +revoked$`),
      new RegExp(`^2 +worker +read,write +- +${at} +- +live$`),
      new RegExp(`^3 +reader +read +reports/ +${at} +- +live$`)
    ])
    for (const secret of [first, second]) {
      for (const hidden of [secret, secret.slice(4), digestOf(secret)]) t.notOk((stdout + service.stdout + service.stderr).includes(hidden))
    }
    await service.stop()
    await using again = await Service.start({ settings })
    t.strictSame([await statusWith(again, first), await statusWith(again, second)], [401, 200], 'after a restart at once')
  })
}

void t.test('keys are made while the service has much to write, and neither fails', async (t) => {
  await using database = await freshDatabase('sqlite', 'real')
  const { url } = database
  await using service = await Service.start({ settings: { DATABASE_URL: url } })
  const first = await create(url, 'load')
  await asksForKeys(service)
  const enough = new AbortController()
  const statuses = new Map<number, number>()
  const loading = Array.from({ length: 8 }, async (_, worker) => {
    const headers = { authorization: `Bearer ${first}`, 'content-type': 'application/json' }
    for (let number = 0; !enough.signal.aborted; number += 1) {
      const body = JSON.stringify({ resource_name: `r${worker}/${number}`, process_id: 'p', ttl_seconds: 60 })
      const response = await fetch(`${service.url}/locks/request`, { method: 'POST', headers, body })
      await response.body?.cancel()
      statuses.set(response.status, (statuses.get(response.status) ?? 0) + 1)
    }
  })
  try {
    for (let number = 0; number < 50; number += 1) await keys(url, `create k${number}`)
    await keys(url, 'revoke k0')
  } finally {
    enough.abort()
    await Promise.all(loading)
  }
  t.strictSame([...statuses.keys()], [200], `${statuses.get(200)} requests`)
  t.match(await service.stop(), { code: 0, stderr: '' })
  t.equal((await keys(url, 'list')).stdout.split('\n').filter((line) => /^\d.* live$/.test(line)).length, 50)
})

const warnsOfRebinding = ({ level, msg }: Readonly<Record<string, unknown>>): boolean => level === 40 && /DNS rebinding.*ALLOWED_HOSTS/.test(String(msg))

void t.test('the first key is made before the service has ever run, which then accepts requests with it', async (t) => {
  await using folder = await temporaryFolder()
  const settings = { DATABASE_URL: `sqlite:${join(folder.path, 'x.db')}`, HOST: '0.0.0.0', PORT: '0' }
  const sentence = /HOST is '0\.0\.0\.0', which other machines can reach, and there is no API key yet.*npm run keys.*HOST=127\.0\.0\.1.*ALLOW_ANONYMOUS=true/
  await refused(t, 'server', { settings }, sentence)
  const { code, stdout, stderr } = await runCommand('keys', { settings, args: ['create', 'worker'] })
  t.match({ code, stderr }, { code: 0, stderr: /^Key 1 'worker' was made/ })
  const secret = stdout.trim()
  await using service = await Service.start({ settings })
  t.equal(service.log.find(warnsOfRebinding), undefined, 'a page that rebinds has no key')
  t.strictSame([await statusWith(service, secret), await statusWith(service, 'rlm_other')], [200, 401])
  // The table is emptied behind its back: it must not open to the network.
  new Database(join(folder.path, 'x.db')).exec('delete from api_keys').close()
  await becomes(service, secret, 401)
  t.match(await service.request('a', 'p'), { status: 401 })
  t.match(await service.health(), { status: 200 })
})

void t.test('ALLOW_ANONYMOUS lets others in only as long as there is no key', async (t) => {
  await using folder = await temporaryFolder()
  const settings = { DATABASE_URL: `sqlite:${join(folder.path, 'x.db')}`, HOST: '0.0.0.0', ALLOW_ANONYMOUS: 'true' }
  await using service = await Service.start({ settings })
  t.equal(service.log.filter(warnsOfRebinding).length, 1, 'one line says what that means')
  t.match(await service.request('a', 'p'), { status: 200 })
  const secret = await create(settings.DATABASE_URL, 'worker')
  await asksForKeys(service)
  t.equal(await statusWith(service, secret), 200)
  t.match(await service.request('b', 'p'), { status: 401 })
})

void t.test('a database that cannot have keys is refused in one sentence', async (t) => {
  await refused(t, 'keys', { settings: { DATABASE_URL: 'sqlite::memory:' }, args: ['list'] }, /a database in memory/)
  await refused(t, 'keys', { settings: { DATABASE_URL: 'sqlite:no/x.db' }, args: ['list'] }, /The folder of the SQLite file .* does not exist/)
  await refused(t, 'keys', { settings: { DATABASE_URL: 'postgres://u:hunter2@127.0.0.1:1/x' }, args: ['list'] }, /PostgreSQL cannot be reached/)
  await using folder = await temporaryFolder()
  await refused(t, 'keys', { cwd: folder.path, settings: {}, args: ['create', '7'] }, /The name of a key/)
  t.strictSame(await readdir(folder.path), [], 'nothing was made')
})

void t.test('the text of a key is in no file', async (t) => {
  await using folder = await temporaryFolder()
  const secret = await create(`sqlite:${join(folder.path, 'x.db')}`, 'worker')
  const files = await readdir(folder.path)
  t.ok(files.includes('x.db'))
  for (const file of files) t.notOk((await readFile(join(folder.path, file))).includes(secret), file)
})
