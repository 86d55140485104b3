import t from 'tap'
import type { FeedItem } from '../../src/locks/event-feed.js'
import { LockService } from '../../src/locks/lock-service.js'
import { processId, resourceName } from '../../src/locks/lock.js'
import type { LockStore } from '../../src/locks/store.js'
import { sweep } from '../support/commands.js'
import { DATABASES, freshDatabase } from '../support/databases.js'
import { onEachStore, openOn } from '../support/store.js'

const serviceOn = (store: LockStore): LockService => new LockService(store, { defaultTtlMs: null })
const take = (service: LockService, name: string) => service.request({ resourceNames: [resourceName(name)], processId: processId('p') })

/** Reads items until so many events have come or the stream has ended. */
async function read(items: AsyncGenerator<FeedItem>, events: number): Promise<string[]> {
  const seen: string[] = []
  let left = events
  while (left > 0) {
    const { value, done } = await items.next()
    if (done === true) break
    if (value.kind === 'end') seen.push(`end: ${value.reason}`)
    if (value.kind !== 'events') continue
    left -= value.events.length
    seen.push(...value.events.map((event) => `${event.kind} ${event.resourceName} ${event.lockId}`))
  }
  return seen
}

for (const kind of DATABASES) {
  void t.test(`watching on ${kind}`, async (t) => {
    const onStore = onEachStore(t, kind)

    await onStore('a watcher sees what happens from now on, by prefix and in order', async (t, store) => {
      const service = serviceOn(store)
      await take(service, 'x/before')
      const items = service.watch({ prefix: 'x/', processId: null, after: null }, 5000)
      await items.next()
      await take(service, 'x/1')
      await take(service, 'y')
      await service.release({ resourceName: resourceName('x/1'), processId: processId('p') })
      await service.forceRelease(resourceName('x/before'), 'why', undefined)
      t.strictSame(await read(items, 3), ['granted x/1 2', 'released x/1 2', 'force_released x/before 1'])
      await items.return(undefined)
    })

    await onStore('a watcher of one process hears of nobody else, and that its stream goes on however much others do', async (t, store) => {
      const service = serviceOn(store)
      const items = service.watch({ prefix: '', processId: 'q', after: null }, 100)
      await items.next()
      const heard = { any: false }
      const next = items.next().then(({ value }) => {
        heard.any = true
        return value as FeedItem
      })
      for (let index = 0; !heard.any; index += 1) await take(service, `n${index}`)
      t.match(await next, { kind: 'quiet' })
      await service.request({ resourceNames: [resourceName('own')], processId: processId('q') })
      t.match(await read(items, 1), [/^granted own /])
      await items.return(undefined)
    })

    await onStore('what has happened already comes together, a hundred events at once', async (t, store) => {
      const service = serviceOn(store)
      await Promise.all(Array.from({ length: 121 }, (_, index) => take(service, `n${index}`)))
      const items = service.watch({ prefix: '', processId: null, after: 1 }, 5000)
      const sizes: number[] = []
      for await (const item of items) {
        if (item.kind === 'events') sizes.push(item.events.length)
        if (sizes.length === 2) break
      }
      t.strictSame(sizes, [100, 20])
    })

    await onStore('a watcher of the processes with a prefix hears of those alone', async (t, store) => {
      const service = serviceOn(store)
      const items = service.watch({ prefix: '', processId: null, processPrefix: 'q/', after: null }, 5000)
      await items.next()
      await take(service, 'n')
      await service.request({ resourceNames: [resourceName('own')], processId: processId('q/7') })
      t.match(await read(items, 1), [/^granted own /])
      await items.return(undefined)
    })

    await onStore('a watcher that comes back goes on after the last event that it saw', async (t, store) => {
      const service = serviceOn(store)
      for (let index = 0; index < 20; index += 1) await take(service, `n${index}`)
      const items = service.watch({ prefix: '', processId: null, after: 5 }, 5000)
      t.strictSame((await read(items, 15)).slice(0, 2), ['granted n5 6', 'granted n6 7'])
      await take(service, 'live')
      t.strictSame(await read(items, 1), ['granted live 21'])
      await items.return(undefined)
    })

    await onStore('an id that the history no longer reaches is told as such', async (t, store, database) => {
      const service = serviceOn(store)
      for (let index = 0; index < 3; index += 1) await take(service, `n${index}`)
      await database.advance(8 * 86_400_000)
      await take(service, 'new')
      await store.submit(sweep)
      t.strictSame(await read(service.watch({ prefix: '', processId: null, after: 1 }, 5000), 1), ['end: too_old'])
      const items = service.watch({ prefix: '', processId: null, after: 3 }, 5000)
      t.strictSame(await read(items, 1), ['granted new 4'])
      await items.return(undefined)
    })

    await onStore('draining ends all watching', async (t, store) => {
      const service = serviceOn(store)
      const items = service.watch({ prefix: '', processId: null, after: null }, 60_000)
      await items.next()
      const rest = read(items, 1)
      await service.drain()
      t.strictSame(await rest, ['end: draining'])
    })

    await onEachStore(t, kind, { keepHistoryMs: 0 })('without a history there is nothing to watch', async (t, store) => {
      t.strictSame(await read(serviceOn(store).watch({ prefix: '', processId: null, after: null }, 5000), 1), ['end: no_history'])
    })
  })
}

void t.test('watching across instances', async (t) => {
  await using database = await freshDatabase('postgres')
  await using one = await openOn(database)
  await using two = await openOn(database)

  await t.test('a watcher sees what happens on another instance', async (t) => {
    const items = serviceOn(one).watch({ prefix: '', processId: null, after: null }, 5000)
    await items.next()
    await take(serviceOn(two), 'there')
    t.strictSame(await read(items, 1), ['granted there 1'])
    await items.return(undefined)
  })
})
