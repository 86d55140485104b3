import t from 'tap'
import { DATABASES, freshDatabase } from '../support/databases.js'
import { Load, Service } from '../support/service.js'

for (const kind of DATABASES) {
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
