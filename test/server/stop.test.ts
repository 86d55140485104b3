import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { text } from 'node:stream/consumers'
import t, { type Test } from 'tap'
import { freshDatabase } from '../support/databases.js'
import { Service } from '../support/service.js'
import { Session } from '../support/session.js'

for (const signal of ['SIGTERM', 'SIGINT'] as const) {
  void t.test(`${signal} ends the process with code 0 once everything under way is answered`, async (t) => {
    await using database = await freshDatabase('postgres')
    await using service = await Service.start({ settings: { DATABASE_URL: database.url } })
    for (const name of ['held', 'free']) await service.request(name, 'p')
    await service.release('free', 'p')
    await using session = await Session.open(database.url)
    await session.run('begin')
    await session.run('select from resource_locks for update')
    const underWay = [service.release('held', 'p')]
    await session.untilWaiting(1)
    underWay.push(service.request('free', 'q'))
    await session.untilWaiting(2)
    const letGo = async () => {
      await session.run('rollback')
      t.same((await Promise.all(underWay)).map(({ status }) => status), [200, 200])
    }
    await stops(t, service, letGo, signal)
  })
}

void t.test('a request that was half sent is answered, and so is one behind it; an idle connection holds nothing up', async (t) => {
  await using service = await Service.start()
  const idle = await open(service)
  idle.write('GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n')
  await once(idle, 'data')
  const hungUp = once(idle, 'close')
  const half = await open(service)
  const body = JSON.stringify({ resource_name: 'a', process_id: 'p' })
  half.write(`POST /locks/request HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n{`)
  // The answer to a later request says that the server has read the first.
  await service.health()
  const finish = async () => {
    half.write(`${body.slice(1)}GET /locks/status?resource_name=a HTTP/1.1\r\nhost: localhost\r\n\r\n`)
    const answers = (await text(half)).split('HTTP/1.1 ')
    t.match(answers, ['', /^200 OK\r\n[^]*"lock_id":1/, /^200 OK\r\n[^]*connection: close[^]*"is_locked":/i])
  }
  await stops(t, service, async () => {
    await hungUp
    await finish()
  })
})

void t.test('clients that never finish, or never begin, a request do not hold the service up for long', async (t) => {
  await using service = await Service.start()
  const [head, body, silent] = await Promise.all([open(service), open(service), open(service)])
  head.write('GET /livez HTTP/1.1\r\nhost: ')
  body.write('POST /locks/request HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 60\r\n\r\n{')
  await service.health()
  await stops(t, service)
  silent.destroy()
})

async function stops(
  t: Test,
  service: Service,
  meanwhile: () => Promise<void> = () => Promise.resolve(),
  signal: NodeJS.Signals = 'SIGTERM'
): Promise<void> {
  service.signal(signal)
  await service.logged('stopping')
  await meanwhile()
  // A stop that had to be broken off would end with another code.
  t.match(await service.end(), { code: 0, signal: null, stderr: '' })
}

async function open({ port }: Service): Promise<Socket> {
  const socket = connect(port, '127.0.0.1').on('error', () => undefined)
  await once(socket, 'connect')
  return socket
}
