import { randomBytes } from 'node:crypto'
import t from 'tap'
import { onServer } from '../../scripts/database-templates.js'
import { emptyDatabase, serverUrl } from '../support/databases.js'
import { eventually } from '../support/eventually.js'
import { fatalSentence, runProgram } from '../support/program.js'
import { Service } from '../support/service.js'

const PASSWORD = `hunter2-${randomBytes(6).toString('hex')}`

void t.test('the password of the database is in no line of the log and in no answer, whatever goes wrong', async (t) => {
  await using database = await emptyDatabase('postgres')
  const role = `keeper_${randomBytes(6).toString('hex')}`
  const name = new URL(database.url).pathname.slice(1)
  await onServer(database.url, `create role ${role} login password '${PASSWORD}'; grant all on schema public to ${role}`)
  const url = Object.assign(new URL(database.url), { username: role, password: PASSWORD }).href
  const answers: unknown[] = []
  let said = ''
  {
    await using service = await Service.start({ settings: { DATABASE_URL: url, DATABASE_LISTEN_URL: url, LOG_LEVEL: 'trace' } })
    await service.logged(
      `Dashboard at ${service.url}/dashboard, API documentation at ${service.url}/docs; the locks are kept in the PostgreSQL database '${name}' at ${new URL(url).host}`
    )
    const everything = async (): Promise<void> => {
      for (const [method, path, body] of [
        ['POST', '/locks/request', { resource_name: 'a', process_id: 'p', wait_seconds: 0.05 }],
        ['POST', '/locks/request', { resource_name: 5 }],
        ['GET', '/locks/all-locked'],
        ['GET', '/locks/history'],
        ['GET', '/locks/stats'],
        ['GET', '/health'],
        ['GET', '/openapi.json'],
        ['GET', '/nowhere']
      ] as const) {
        answers.push(await service.call(method, path, body))
      }
      answers.push(await (await fetch(`${service.url}/metrics`)).text())
    }
    await everything()
    // First nobody gets in any more, then the tables are gone: faults of the connection, of the log-in and of a statement.
    await onServer(serverUrl(), `alter role ${role} nologin`, `select pg_terminate_backend(pid) from pg_stat_activity where datname = '${name}'`)
    await eventually('the database is away', async () => (await service.health()).status === 503 || undefined)
    await everything()
    await onServer(serverUrl(), `alter role ${role} login`)
    await onServer(database.url, 'drop table resource_locks cascade')
    await eventually('the database is back', async () => (await service.health()).status === 200 || undefined)
    await everything()
    await service.stop()
    said = service.stdout + service.stderr
  }
  t.match(said, /"level":50/, 'there was something to say')
  t.match(JSON.stringify(answers), /STORAGE_UNAVAILABLE.*INTERNAL/)
  t.notMatch(said, PASSWORD)
  t.notMatch(JSON.stringify(answers), PASSWORD)
  await onServer(database.url, `drop owned by ${role}`)
  await onServer(serverUrl(), `drop database ${name} with (force)`)
  await onServer(serverUrl(), `drop role ${role}`)
})

void t.test('nor in what is said by a program that cannot start', async (t) => {
  const { hostname, port } = new URL(serverUrl())
  const urls = [
    `postgres://nobody:${PASSWORD}@${hostname}:${port}/postgres`,
    `postgres://nobody:${PASSWORD}%zz@${hostname}:${port}/postgres`,
    `postgres://nobody:${PASSWORD}@127.0.0.1:1/postgres`,
    `postgres://nobody:${PASSWORD}@no.such.host.invalid/postgres`,
    `postgres://nobody:${PASSWORD}@${hostname}:${port}/post%zzgres`,
    `postgres://nobody:${PASSWORD}@${hostname}:${port}/postgres?sslmode=verify-full&sslrootcert=/no/such/file`
  ]
  const commands = ['serve', 'migrate', 'raise-numbers']
  for (const [index, url] of urls.entries()) {
    const command = commands[index % commands.length] ?? ''
    const { code, stdout, stderr } = await runProgram('src/rlm.js', { args: [command], settings: { DATABASE_URL: url, PORT: '0', LOG_LEVEL: 'trace' } })
    t.equal(code, 1, stderr)
    t.not(stderr, '')
    t.notMatch(stdout + stderr, PASSWORD, `${command} ${index}`)
    if (url.includes('%zz')) t.match(fatalSentence(stderr), /^DATABASE_URL is not a well-formed PostgreSQL URL; .*\.$/)
    t.notMatch(stderr, /\n\s+at /, 'no stack trace')
  }
})
