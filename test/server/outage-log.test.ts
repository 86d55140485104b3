import { once } from 'node:events'
import { createServer, type AddressInfo } from 'node:net'
import t from 'tap'
import { freshDatabase } from '../support/databases.js'
import { eventually } from '../support/eventually.js'
import { Proxy } from '../support/proxy.js'
import { Service } from '../support/service.js'

/** The service tries so often to reach a database that is away, before it is back. */
const ATTEMPTS = 40
const LONGEST_LINE = 500

void t.test('an outage of PostgreSQL is two short lines in the log, whatever goes on meanwhile', async (t) => {
  await using database = await freshDatabase('postgres', 'real')
  const { port } = new URL(database.url)
  await using proxy = await Proxy.start(Number(port))
  await using service = await Service.start({ settings: { DATABASE_URL: proxy.through(database.url), SWEEP_INTERVAL_SECONDS: '0.1', COMPAT_APIS: 'documents' } })
  // Several connections that lie idle, and one of a waiter.
  await Promise.all(Array.from({ length: 8 }, (_, index) => service.request(`r${index}`, 'p')))
  await Promise.all(Array.from({ length: 8 }, () => service.call('GET', '/locks/all-locked')))
  const waiter = service.request('r0', 'q', { wait_seconds: 60 })
  const before = service.log.length

  let attempts = 0
  const enough = (): boolean => attempts >= ATTEMPTS
  const away = createServer((socket) => {
    attempts += 1
    socket.destroy()
  }).listen(0, '127.0.0.1')
  await once(away, 'listening')
  proxy.retarget((away.address() as AddressInfo).port)
  proxy.cut()
  const failed = await Promise.all(
    Array.from({ length: 4 }, async (_, caller) => {
      let refused = 0
      while (!enough()) {
        const answer = caller === 3 ? await service.health() : await service.request(`r${caller}`, 'p')
        if (answer.status === 503) refused += 1
      }
      return refused
    })
  )
  t.ok(failed.every((count) => count > 0))
  proxy.retarget(Number(port))
  away.close()
  await eventually('the database is back', async () => (await service.health()).status === 200 || undefined)
  await service.logged('the database is back')
  t.equal((await waiter).status, 503)
  t.equal((await service.request('another', 'p')).status, 200)

  const lines = service.log.slice(before)
  t.match(lines, [
    { level: 50, msg: 'the database is away', message: String },
    { level: 30, msg: 'the database is back', seconds: Number }
  ])
  t.equal(lines.length, 2, JSON.stringify(lines.slice(0, 5)))
  for (const line of service.stdout.split('\n')) t.ok(line.length < LONGEST_LINE)
})
