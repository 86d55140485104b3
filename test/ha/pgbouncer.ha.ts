import { spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Test } from 'tap'
import { onServer } from '../../scripts/database-templates.js'
import { freePort } from '../../scripts/postgres-server.js'
import { emptyDatabase, serverUrl } from '../support/databases.js'
import { fatalSentence, inProject, runProgram } from '../support/program.js'
import { Service } from '../support/service.js'
import { Session } from '../support/session.js'
import { Part, unprivilegedFolder, withPrograms } from './support.js'

/** The URL of a database through a PgBouncer of its own. */
async function pooled(databaseUrl: string, mode: string, more: Readonly<Record<string, string>> = {}): Promise<AsyncDisposable & { readonly url: string }> {
  const folder = await unprivilegedFolder()
  const direct = new URL(databaseUrl)
  const port = await freePort()
  await writeFile(join(folder.path, 'users'), `"${direct.username}" "${direct.password}"\n`)
  const settings = { listen_addr: '127.0.0.1', listen_port: port, unix_socket_dir: '', auth_type: 'scram-sha-256', auth_file: join(folder.path, 'users'), pool_mode: mode, ...more }
  const lines = Object.entries(settings).map(([name, value]) => `${name} = ${value}`)
  await writeFile(join(folder.path, 'ini'), ['[databases]', `* = host=${direct.hostname} port=${direct.port}`, '[pgbouncer]', ...lines, ''].join('\n'))
  const pooler = Part.startUnprivileged(['pgbouncer', '-q', join(folder.path, 'ini')], folder.path)
  const url = Object.assign(new URL(direct), { port: String(port) }).href
  await pooler.until('the pooler answers', async () => {
    await (await Session.open(url))[Symbol.asyncDispose]()
    return true
  })
  return {
    url,
    async [Symbol.asyncDispose]() {
      await pooler[Symbol.asyncDispose]()
      await folder[Symbol.asyncDispose]()
    }
  }
}

async function servesTheWalk(t: Test, settings: Readonly<Record<string, string>>): Promise<void> {
  await using service = await Service.start({ settings })
  const walk = spawnSync('bash', [inProject('scripts/smoke.sh'), service.url], { encoding: 'utf8' })
  t.match(walk, { status: 0, stdout: 'answered as documented' })
  t.same(service.log.filter(({ level }) => Number(level) >= 50), [])
  await service.stop()
}

/** Since 1.21 it knows prepared statements in transaction mode. */
function knowsPreparedStatements(): boolean {
  const [, major = '0', minor = '0'] = /^PgBouncer (\d+)\.(\d+)/.exec(spawnSync('pgbouncer', ['--version'], { encoding: 'utf8' }).stdout) ?? []
  return Number(major) > 1 || Number(minor) >= 21
}

withPrograms(['pgbouncer'], 'PgBouncer with pool_mode = session serves the whole walk', async (t) => {
  await using database = await emptyDatabase('postgres')
  await using pooler = await pooled(database.url, 'session')
  await servesTheWalk(t, { DATABASE_URL: pooler.url })
})

withPrograms(['pgbouncer'], 'PgBouncer with pool_mode = transaction and what docs/operations.md says of it serves the whole walk', async (t) => {
  if (!knowsPreparedStatements()) {
    t.pass('not tested: this PgBouncer is older than 1.21, and knows no prepared statements in this mode')
    return
  }
  await using database = await emptyDatabase('postgres')
  const [role, password] = [`locks_${randomBytes(4).toString('hex')}`, randomBytes(8).toString('hex')]
  const page = await readFile(inProject('docs/operations.md'), 'utf8')
  const settings = Array.from(page.matchAll(/^alter role locks (set .*;)$/gm), ([, setting]) => `alter role ${role} ${setting}`)
  t.equal(settings.length, 8)
  await onServer(serverUrl(), `create role ${role} login password '${password}'; alter database ${new URL(database.url).pathname.slice(1)} owner to ${role}; ${settings.join(' ')}`)
  try {
    const url = Object.assign(new URL(database.url), { username: role, password }).href
    await using pooler = await pooled(url, 'transaction', { max_prepared_statements: '100' })
    await servesTheWalk(t, { DATABASE_URL: pooler.url, DATABASE_LISTEN_URL: url })
  } finally {
    await onServer(serverUrl(), `drop database ${new URL(database.url).pathname.slice(1)} with (force)`)
    await onServer(serverUrl(), `drop role ${role}`)
  }
})

withPrograms(['pgbouncer'], 'PgBouncer with pool_mode = statement is refused in a sentence', async (t) => {
  await using database = await emptyDatabase('postgres')
  await using pooler = await pooled(database.url, 'statement')
  const { code, stdout, stderr } = await runProgram('src/server.js', { settings: { DATABASE_URL: pooler.url, PORT: '0' } })
  t.equal(code, 1)
  t.match(fatalSentence(stderr) + stdout, /transaction blocks not allowed in statement pooling mode.*see PgBouncer in docs\/operations\.md/)
})
