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
    t.match(await second.request('b', 'q'), { status: 200, body: { data: { lock_id: 3 } } })
    t.match(await second.release('a', 'p'), { status: 200 })
  })

  void t.test(`every acknowledged grant outlives kill -9 under load, again and again, and numbers grow: ${kind}`, async (t) => {
    await using database = await freshDatabase(kind)
    const options = { settings: { DATABASE_URL: database.url } }
    const known = new Map<string, Known>()
    for (let round = 1; round <= 2; round += 1) {
      await using service = await Service.start(options)
      t.same(await learn(service, known), [], 'what was acknowledged is there')
      let left = 300
      const acknowledged = (): void => {
        left -= 1
        if (left === 0) service.signal('SIGKILL')
      }
      const workers = Array.from({ length: 8 }, (_, index) => hammer(service, `w${index}`, known, acknowledged))
      t.same((await Promise.all(workers)).flat(), [], 'every answer was to be expected')
      t.match(await service.end(), { signal: 'SIGKILL' })
    }
    await using service = await Service.start(options)
    t.same(await learn(service, known), [], 'what was acknowledged is there')
    const numbers = [...known.values()].map(({ last }) => last)
    t.equal(new Set(numbers).size, numbers.length, 'no number was given to two names')
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

/** What one worker was told about a name of its own. */
interface Known {
  state: 'held' | 'free' | 'unknown'
  /** The largest number that it was given. */
  last: number
}

/** Compares the service with what is known, and takes over from it what is not. */
async function learn(service: Service, known: Map<string, Known>): Promise<string[]> {
  const wrong: string[] = []
  for (const [name, entry] of known) {
    const data = (await service.status(name)).body.data ?? {}
    const state = data['is_locked'] === true ? 'held' : 'free'
    const number = state === 'held' ? Number(data['lock_id']) : entry.last
    const fits = entry.state === 'unknown' ? number >= entry.last : state === entry.state && number === entry.last
    if (!fits) wrong.push(`${name}: known ${JSON.stringify(entry)}, found ${JSON.stringify(data)}`)
    known.set(name, { state, last: number })
  }
  return wrong
}

/** Takes and lets go of ten names in turn until the service is gone; resolves to what should not have been answered. */
async function hammer(service: Service, worker: string, known: Map<string, Known>, acknowledged: () => void): Promise<string[]> {
  for (let turn = 0; ; turn += 1) {
    const name = `${worker}/${turn % 10}`
    const { state, last } = known.get(name) ?? { state: 'free', last: 0 }
    known.set(name, { state: 'unknown', last })
    const answer = await (state === 'held' ? service.release(name, worker) : service.request(name, worker)).catch(() => null)
    if (answer === null) return []
    const number = state === 'held' ? last : Number(answer.body.data?.['lock_id'])
    if (answer.status !== 200 || (state !== 'held' && number <= last)) return [`${name} after ${last}: ${JSON.stringify(answer)}`]
    known.set(name, { state: state === 'held' ? 'free' : 'held', last: number })
    acknowledged()
  }
}
