import t from 'tap'
import { DATABASES, freshDatabase } from '../support/databases.js'
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
}
