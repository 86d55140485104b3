import t from 'tap'
import { DATABASES, freshDatabase } from '../support/databases.js'
import { Load } from '../support/load.js'
import { Service } from '../support/service.js'

for (const kind of DATABASES) {
  void t.test(`a lock that was taken before kill -9 is there after the restart: ${kind}`, async (t) => {
    await using database = await freshDatabase(kind)
    const options = { settings: { DATABASE_URL: database.url } }
    await using first = await Service.start(options)
    const { process_id, ...grant } = (await first.request('a', 'p', { ttl_seconds: 3600, metadata: { n: 1 } })).body.data ?? {}
    await first.request('b', 'p')
    await first.release('b', 'p')
    t.match(await first.kill(), { code: null, signal: 'SIGKILL' })

    await using second = await Service.start(options)
    t.match(await second.status('a'), { status: 200, body: { data: { is_locked: true, locked_by: process_id, ...grant } } })
    t.match(await second.request('a', 'q'), { status: 409, body: { locked_by: 'p' } })
    t.match(await second.request('c', 'q'), { status: 200, body: { data: { lock_id: 3 } } })
    t.match(await second.request('b', 'q'), { status: 200, body: { data: { lock_id: 4 } } })
    t.match(await second.release('a', 'p'), { status: 200 })
  })

  void t.test(`every acknowledged grant outlives kill -9 under load, again and again, and numbers grow: ${kind}`, async (t) => {
    await using database = await freshDatabase(kind)
    const options = { settings: { DATABASE_URL: database.url } }
    const load = new Load()
    for (let round = 1; round <= 2; round += 1) {
      await using service = await Service.start(options)
      await load.check(service)
      await load.run(service, 8, () => {
        if (load.acknowledged >= round * 300) service.signal('SIGKILL')
        return false
      })
      t.match(await service.end(), { signal: 'SIGKILL' })
    }
    await using service = await Service.start(options)
    await load.check(service)
    t.same(load.faults, [])
    t.equal(load.refused.size, 0)
    t.equal(new Set(load.numbers).size, load.numbers.length, 'no number was given to two names')
  })
}

void t.test('ten requests for one name over three instances give one grant', async (t) => {
  await using database = await freshDatabase('postgres')
  const options = { settings: { DATABASE_URL: database.url } }
  const starting = [Service.start(options), Service.start(options), Service.start(options)] as const
  await using first = await starting[0]
  await using second = await starting[1]
  await using third = await starting[2]
  const services = [first, second, third]
  let last = 0
  for (let round = 0; round < 10; round += 1) {
    const answers = await Promise.all(
      Array.from({ length: 10 }, (_, index) => (services[index % 3] ?? first).request('a', `p${index}`))
    )
    const granted = answers.filter(({ status }) => status === 200)
    const winner = granted[0]?.body.data ?? {}
    t.equal(granted.length, 1)
    t.equal(answers.filter(({ status, body }) => status === 409 && body['lock_id'] === winner['lock_id']).length, 9)
    t.ok(Number(winner['lock_id']) > last)
    last = Number(winner['lock_id'])
    t.match(await third.release('a', String(winner['process_id'])), { status: 200 })
  }
})
