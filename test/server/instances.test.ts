import t from 'tap'
import { freshDatabase } from '../support/databases.js'
import { Service } from '../support/service.js'

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
