import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { connect } from 'node:net'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import t, { type Test } from 'tap'
import { eventually } from '../support/eventually.js'
import { fatalSentence, inProject, temporaryFolder } from '../support/program.js'
import { rlm, startRlm, Terminal } from '../support/rlm.js'
import { Service } from '../support/service.js'

const WAITERS = 3

const post = (url: string, path: string, body: object): Promise<Response> =>
  fetch(url + path, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) })

/** Requests for a lock that somebody holds; resolves when all of them wait. */
async function crowd(url: string): Promise<Promise<Response>[]> {
  await post(url, '/locks/request', { resource_name: 'a', process_id: 'p' })
  const waiting = Array.from({ length: WAITERS }, (_, index) =>
    post(url, '/locks/request', { resource_name: 'a', process_id: `w${index}`, wait_seconds: 60 })
  )
  await eventually('all of them wait', async () => {
    const { data } = (await (await fetch(`${url}/locks/status?resource_name=a`)).json()) as { data: { waiters: number } }
    return data.waiters === WAITERS || undefined
  })
  return waiting
}

async function allAreTold(t: Test, waiting: readonly Promise<Response>[]): Promise<void> {
  for (const answer of await Promise.all(waiting)) {
    t.match([answer.status, answer.headers.get('retry-after'), await answer.json()], [503, '1', { code: 'DRAINING' }])
  }
}

/** A request that is half sent, so that the service cannot have ended before the test has sent the rest. */
async function halfSent(url: string): Promise<{ readonly finish: () => Promise<string> }> {
  const socket = connect(Number(new URL(url).port), '127.0.0.1').on('error', () => undefined)
  await once(socket, 'connect')
  const body = JSON.stringify({ resource_name: 'b', process_id: 'p' })
  socket.write(`POST /locks/request HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n{`)
  return {
    finish: () => {
      socket.write(body.slice(1))
      return text(socket)
    }
  }
}

const logOf = (stdout: string) => stdout.split('\n').filter((line) => line.startsWith('{')).map((line) => JSON.parse(line) as { level: number; msg: string })

for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  void t.test(`${signal} to npm start and its whole group, twice and forwarded by npm, answers everybody and ends with code 0`, async (t) => {
    await using folder = await temporaryFolder()
    const { PATH, HOME } = process.env
    const env = { PATH, HOME, PORT: '0', DATABASE_URL: `sqlite:${join(folder.path, 'x.db')}`, npm_config_update_notifier: 'false', npm_config_logs_max: '0' }
    const npm = spawn('npm', ['start', '--ignore-scripts'], { cwd: inProject('.'), detached: true, env, stdio: ['ignore', 'pipe', 'inherit'] })
    const signalGroup = (name: NodeJS.Signals): boolean => process.kill(-(npm.pid ?? 0), name)
    try {
      let stdout = ''
      const stopping = new Promise<void>((resolve) => {
        npm.stdout.setEncoding('utf8').on('data', (more: string) => {
          stdout += more
          if (stdout.includes('"stopping"')) resolve()
        })
      })
      const ended = once(npm, 'close')
      const url = await eventually('it listens', () => Promise.resolve(/Server listening at (http:[^"]+)/.exec(stdout)?.[1]))
      const half = await halfSent(url)
      const waiting = await crowd(url)
      signalGroup(signal)
      await stopping
      signalGroup(signal)
      await allAreTold(t, waiting)
      t.match(await half.finish(), /^HTTP\/1.1 200 /)
      t.strictSame(await ended, [0, null])
      t.strictSame(logOf(stdout).filter(({ level }) => level > 30), [], 'a planned stop is no error')
      t.equal(logOf(stdout).filter(({ msg }) => msg === 'stopping').length, 1)
    } finally {
      if (npm.exitCode === null) signalGroup('SIGKILL')
    }
  })
}

void t.test('rlm serve takes a signal that is repeated within a second as one', async (t) => {
  await using folder = await temporaryFolder()
  const serving = startRlm(['serve'], { cwd: folder.path, settings: { PORT: '0' } })
  const url = await serving.find((stdout) => /Server listening at (http:[^"]+)/.exec(stdout)?.[1])
  const half = await halfSent(url)
  const waiting = await crowd(url)
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) serving.signal(signal)
  await allAreTold(t, waiting)
  t.match(await half.finish(), /^HTTP\/1.1 200 /)
  t.match(await serving.end(), { code: 0, stderr: '' })
})

void t.test('a signal that comes more than a second later ends the process at once', async (t) => {
  await using service = await Service.start()
  await halfSent(service.url)
  await service.health()
  const since = Date.now()
  const ended = service.end()
  await eventually('the process is gone', () => {
    service.signal('SIGINT')
    return Promise.resolve(!service.alive || undefined)
  })
  t.match(await ended, { code: 1, signal: null, stderr: '' })
  t.ok(Date.now() - since >= 1000, 'no earlier')
  t.match(service.log.at(-1), { level: 40, msg: /^stopping at once/ })
})

void t.test('a program that cannot start says why in a line of the log, and as plain text at a terminal', async (t) => {
  const settings = { PORT: 'any', LOG_LEVEL: 'silent' }
  for (const program of ['serve', 'migrate'] as const) {
    const { code, stdout, stderr } = await rlm([program], { settings })
    t.match({ code, stdout }, { code: 1, stdout: '' })
    t.match(fatalSentence(stderr), /^PORT is 'any'; expected a port number/, program)
  }
  t.match(fatalSentence((await rlm(['keys', 'revoke', 'nobody'], { settings: { DATABASE_URL: 'sqlite::memory:' } })).stderr), /^.*\.$/)
  await using terminal = Terminal.rlm(['serve'], settings)
  t.equal(await terminal.end(), 1)
  t.match(terminal.shown, /^PORT is 'any'; expected a port number[^\n{]*\.\r\n$/)
})

void t.test('at start the log says where to look and where the locks are kept', async (t) => {
  await using folder = await temporaryFolder()
  await using service = await Service.start({ cwd: folder.path, settings: { DATABASE_URL: 'sqlite:x.db' } })
  const said = `Dashboard at ${service.url}/dashboard, API documentation at ${service.url}/docs; the locks are kept in the SQLite file ${join(folder.path, 'x.db')}`
  await service.logged(said)
  for (const page of ['/dashboard', '/docs']) t.equal((await fetch(service.url + page)).status, 200)
})
