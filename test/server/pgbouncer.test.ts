import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { chmod, chown, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import pg from 'pg'
import t from 'tap'
import { emptyDatabase, type TestDatabase } from '../support/databases.js'
import { eventually } from '../support/eventually.js'
import { freePort } from '../../scripts/postgres-server.js'
import { inProject, runProgram, temporaryFolder } from '../support/program.js'
import { fatalSentence } from '../support/program.js'
import { Service } from '../support/service.js'

const NOBODY = 65_534

/** The URL of that database through a PgBouncer of its own. */
async function pooled(database: TestDatabase, mode: string): Promise<AsyncDisposable & { readonly url: string }> {
  const folder = await temporaryFolder()
  const direct = new URL(database.url)
  const port = await freePort()
  await writeFile(join(folder.path, 'users'), `"${direct.username}" "${direct.password}"\n`)
  const settings = { listen_addr: '127.0.0.1', listen_port: port, unix_socket_dir: '', auth_type: 'scram-sha-256', auth_file: join(folder.path, 'users'), pool_mode: mode }
  const lines = Object.entries(settings).map(([name, value]) => `${name} = ${value}`)
  await writeFile(join(folder.path, 'ini'), ['[databases]', `* = host=${direct.hostname} port=${direct.port}`, '[pgbouncer]', ...lines, ''].join('\n'))
  await chmod(folder.path, 0o755)
  const asRoot = process.getuid?.() === 0
  if (asRoot) await chown(join(folder.path, 'users'), NOBODY, NOBODY)
  const program = spawn('pgbouncer', ['-q', join(folder.path, 'ini')], { stdio: 'ignore', ...(asRoot ? { uid: NOBODY, gid: NOBODY } : {}) })
  const ended = once(program, 'exit')
  const url = Object.assign(new URL(direct), { port: String(port) }).href
  await eventually('the pooler answers', async () => {
    const client = new pg.Client({ connectionString: url })
    client.on('error', () => undefined)
    return await client.connect().then(() => client.end()).then(() => true, () => undefined)
  })
  return {
    url,
    async [Symbol.asyncDispose]() {
      program.kill('SIGTERM')
      await ended
      await folder[Symbol.asyncDispose]()
    }
  }
}

if (spawnSync('pgbouncer', ['--version']).error !== undefined) t.pass('pgbouncer is not on the PATH: not tested')
else {
  void t.test('PgBouncer with pool_mode = session serves the whole walk', async (t) => {
    await using database = await emptyDatabase('postgres')
    await using pooler = await pooled(database, 'session')
    await using service = await Service.start({ settings: { DATABASE_URL: pooler.url } })
    const walk = spawnSync('bash', [inProject('scripts/smoke.sh'), service.url], { encoding: 'utf8' })
    t.match(walk, { status: 0, stdout: 'answered as documented' })
    t.same(service.log.filter(({ level }) => Number(level) >= 50), [])
    await service.stop()
  })

  void t.test('PgBouncer with pool_mode = statement is refused in a sentence', async (t) => {
    await using database = await emptyDatabase('postgres')
    await using pooler = await pooled(database, 'statement')
    const { code, stdout, stderr } = await runProgram('src/server.js', { settings: { DATABASE_URL: pooler.url, PORT: '0' } })
    t.equal(code, 1)
    t.match(fatalSentence(stderr) + stdout, /transaction blocks not allowed in statement pooling mode.*see PgBouncer in docs\/operations\.md/)
  })
}
