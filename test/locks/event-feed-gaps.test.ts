import t from 'tap'
import type { FeedItem } from '../../src/locks/event-feed.js'
import { LockService } from '../../src/locks/lock-service.js'
import type { LockStore } from '../../src/locks/store.js'
import { acquire, allEvents, kindOrCode, release } from '../support/commands.js'
import { DATABASES, freshDatabase } from '../support/databases.js'
import { eventually } from '../support/eventually.js'
import { Proxy } from '../support/proxy.js'
import { Session } from '../support/session.js'
import { instances, openOn } from '../support/store.js'

const serviceOn = (store: LockStore): LockService => new LockService(store, { defaultTtlMs: null })
const take = (store: LockStore, name: string) => store.submit(acquire(name, 'p'))

/** The names of the next events. */
async function names(items: AsyncGenerator<FeedItem>, events: number): Promise<string[]> {
  const seen: string[] = []
  while (seen.length < events) {
    const { value, done } = await items.next()
    if (done === true) break
    if (value.kind === 'events') seen.push(...value.events.map(({ resourceName }) => resourceName))
    if (value.kind === 'end') seen.push(value.reason)
  }
  return seen
}

/** A transaction that has drawn the id of an event and not committed it. */
async function openEvent(url: string, name: string): Promise<Session> {
  const session = await Session.open(url)
  await session.run('begin')
  await session.run(`insert into lock_events (at, kind, resource_name, lock_id, process_id) values (0, 'granted', $1, 99, 'x')`, [name])
  return session
}

for (const end of ['commit', 'rollback'] as const) {
  const late = end === 'commit' ? ['late'] : []

  void t.test(`a transaction that began an event before a watch from now on: ${end}`, async (t) => {
    await using database = await freshDatabase('postgres')
    await using store = await openOn(database)
    await using open = await openEvent(database.url, 'late')
    await take(store, 'earlier')
    const items = serviceOn(store).watch({ prefix: '', processId: null, after: null }, 5000)
    t.match(await items.next(), { value: { kind: 'quiet' } }, 'the watcher is connected at once')
    await take(store, 'now')
    await open.run(end)
    t.same(await names(items, late.length + 1), [...late, 'now'])
    await items.return(undefined)
  })

  void t.test(`a transaction that began an event before a watcher came back: ${end}`, async (t) => {
    await using database = await freshDatabase('postgres')
    await using proxy = await Proxy.start(Number(new URL(database.url).port))
    await using store = await openOn({ ...database, url: proxy.through(database.url) })
    await take(store, 'seen')
    await using open = await openEvent(database.url, 'late')
    await take(store, 'earlier')
    let pages = 0
    proxy.intercept((request) => {
      pages += request.includes('from "lock_events"') ? 1 : 0
      return undefined
    })
    const items = serviceOn(store).watch({ prefix: '', processId: null, after: 1 }, 5000)
    const seen = names(items, late.length + 2)
    await eventually('pages', () => Promise.resolve(pages >= 6 || undefined))
    await take(store, 'now')
    await open.run(end)
    t.same(await seen, [...late, 'earlier', 'now'])
    await items.return(undefined)
  })

  void t.test(`a transaction that begins an event between the queries of a page: ${end}`, async (t) => {
    await using database = await freshDatabase('postgres')
    await using proxy = await Proxy.start(Number(new URL(database.url).port))
    await using store = await openOn(database)
    await using watched = await openOn({ ...database, url: proxy.through(database.url) })
    const items = serviceOn(watched).watch({ prefix: '', processId: null, after: null }, 5000)
    await items.next()
    let open: Session | undefined
    let pages = 0
    proxy.intercept((request) => {
      if (!request.includes('from "lock_events"')) return
      pages += 1
      if (pages > 1) return
      return openEvent(database.url, 'late').then(async (session) => {
        open = session
        await take(store, 'now')
      })
    })
    const seen = names(items, late.length + 1)
    // Pages on which the id is still missing.
    await eventually('pages', () => Promise.resolve(pages >= 3 || undefined))
    await open?.run(end)
    t.same(await seen, [...late, 'now'])
    await items.return(undefined)
    await open?.[Symbol.asyncDispose]()
  })
}

void t.test('a transaction that writes no event delays nothing', async (t) => {
  await using database = await freshDatabase('postgres')
  await using store = await openOn(database)
  await using other = await Session.open(database.url)
  await other.run('create table other ()')
  await other.run('begin')
  await other.run('insert into other default values')
  const items = serviceOn(store).watch({ prefix: '', processId: null, after: null }, 5000)
  await items.next()
  await using open = await openEvent(database.url, 'never')
  await take(store, 'now')
  await open.run('rollback')
  t.same(await names(items, 1), ['now'])
  await items.return(undefined)
  await other.run('rollback')
})

for (const kind of DATABASES) {
  void t.test(`a watcher that comes back again and again sees the history, every event once and in order: ${kind}`, async (t) => {
    await using database = await freshDatabase(kind)
    await using store = await openOn(database)
    await using all = await instances(kind, store, database)
    const service = serviceOn(all.at(1))
    const seen: number[] = []
    let newest = Number.POSITIVE_INFINITY

    const watching = (async () => {
      let after = 0
      while (after < newest) {
        let left = 1 + Math.floor(Math.random() * 40)
        for await (const item of service.watch({ prefix: '', processId: null, after }, 50)) {
          for (const { eventId } of item.kind === 'events' ? item.events.slice(0, left) : []) {
            after = eventId
            seen.push(after)
            left -= 1
          }
          if (left === 0 || after >= newest) break
        }
      }
    })()
    const work = async (worker: number): Promise<void> => {
      for (let round = 0; round < 25; round += 1) {
        const own = [`${worker}/a`, `${worker}/b`, `shared${round % 3}`]
        const where = all.at(worker)
        await kindOrCode(where.submit(acquire(own, `p${worker}`)))
        await Promise.all(own.map((name) => where.submit(release(name, `p${worker}`))))
      }
    }
    await Promise.all(Array.from({ length: 8 }, (_, worker) => work(worker)))
    newest = (await store.reads.history({ ...allEvents, limit: 1 })).events[0]?.eventId ?? 0
    await watching

    const told: number[] = []
    for (let before: number | null = null; ; ) {
      const { events, more } = await store.reads.history({ ...allEvents, before })
      told.push(...events.map(({ eventId }) => eventId))
      before = told.at(-1) ?? null
      if (!more) break
    }
    t.same(seen, told.toReversed())
  })
}
