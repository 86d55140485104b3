import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { freshDatabase } from '../support/databases.js'
import { PATIENCE_MS } from '../support/eventually.js'
import { Service, type Answer } from '../support/service.js'
import { Session } from '../support/session.js'

const WAITERS = 500

interface Told {
  readonly event: string
  readonly at: string
  readonly process_id: string
  readonly lock_id: number
}

void t.test(`${WAITERS} who wait on three instances are served in the order of the queue, one at a time`, async (t) => {
  await using database = await freshDatabase('postgres', 'real')
  const settings = { DATABASE_URL: database.url, MAX_WAIT_SECONDS: String(PATIENCE_MS / 1000) }
  const starting = [Service.start({ settings }), Service.start({ settings }), Service.start({ settings })] as const
  await using first = await starting[0]
  await using second = await starting[1]
  await using third = await starting[2]
  const services = [first, second, third]
  await using session = await Session.open(database.url)

  await first.request('hot', 'holder')
  const waiting = Array.from({ length: WAITERS }, async (_, index) => {
    const service = services[index % 3] ?? first
    const process = `p${index}`
    const { status } = await service.request('hot', process, { wait_seconds: PATIENCE_MS / 1000 })
    if (status !== 200) return status
    await sleep(1 + Math.random() * 2)
    return (await service.release('hot', process)).status
  })
  let queue: { process_id: string }[] = []
  while (queue.length < WAITERS) {
    await sleep(50)
    queue = await session.run<{ process_id: string }>("select process_id from lock_waiters where resource_name = 'hot' order by ticket")
  }
  const began = performance.now()
  await first.release('hot', 'holder')
  t.ok((await Promise.all(waiting)).every((status) => status === 200), 'each was granted the lock and released it')
  t.comment(`${((performance.now() - began) / WAITERS).toFixed(1)} ms from one to the next, the holding included`)

  const told = (await history(first)).toReversed().slice(2)
  const grants = told.filter(({ event }) => event === 'granted')
  t.same(grants.map(({ process_id }) => process_id), queue.map(({ process_id }) => process_id))
  const overlaps = told.filter(({ event, at, process_id, lock_id }, index) => {
    const before = told[index - 1]
    if (event === 'released') return before?.event !== 'granted' || before.process_id !== process_id || before.lock_id !== lock_id
    return before !== undefined && (before.event !== 'released' || before.lock_id >= lock_id || before.at > at)
  })
  t.same(overlaps, [])
  t.equal(told.length, 2 * WAITERS)
  t.match(await second.status('hot'), { body: { data: { is_locked: false, waiters: 0 } } })
})

/** All that the history tells of the resource, newest first. */
async function history(service: Service): Promise<Told[]> {
  const events: Told[] = []
  for (let cursor: string | null = ''; cursor !== null; ) {
    const { body }: Answer = await service.call('GET', `/locks/history?resource_name=hot&limit=1000${cursor === '' ? '' : `&cursor=${cursor}`}`)
    events.push(...(body.data?.['events'] as Told[]))
    cursor = (body.data?.['next_cursor'] ?? null) as string | null
  }
  return events
}
