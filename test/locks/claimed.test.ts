import t, { type Test } from 'tap'
import { processId, resourceName } from '../../src/locks/lock.js'
import { ScopedLocks } from '../../src/locks/scoped-locks.js'
import { blockCommits } from '../support/session.js'
import { DATABASES, freshDatabase } from '../support/databases.js'
import { Instance, knownKey } from '../support/store.js'

const MINUTE = 60_000

/** Resolves when what was submitted for that name before has happened. */
const settled = (instance: Instance, name: string): Promise<unknown> => instance.release(name, 'nobody')

/*
 * A client's connection breaks just as it is granted, and it repeats the request elsewhere: the grant is released, or the
 * repetition is answered with it, never both.
 */
for (const kind of DATABASES) {
  for (const key of [undefined, 'k']) {
    const test = (title: string, body: (t: Test, one: Instance, other: Instance) => Promise<void>) =>
      t.test(`${title}: ${kind}, ${key === undefined ? 'without keys' : 'with a key'}`, async (t) => {
        await using database = await freshDatabase(kind)
        await using one = await Instance.start(database)
        await using second = kind === 'postgres' ? await Instance.start(database) : null
        await body(t, one, second ?? one)
      })

    void test('a grant that a repetition was answered with is not released', async (t, one) => {
      const gone = new AbortController()
      t.match(await one.ask('a', 'p', { requestId: 'id', key, signal: gone.signal }), { kind: 'granted', replayed: false })
      t.match(await one.now('a', 'p', 'id', key), { kind: 'granted', replayed: true })
      gone.abort()
      await settled(one, 'a')
      t.match(await one.inspect('a'), { grant: { processId: 'p' } })
    })

    void test('a grant that nobody was told of is released, and its id stays used', async (t, one) => {
      const gone = new AbortController()
      await one.ask(['a', 'b'], 'p', { requestId: 'id', key, signal: gone.signal })
      t.match(await one.now(['a', 'b'], 'q', 'id', key), { kind: 'request-id-reused' }, 'the id for other content claims nothing')
      gone.abort()
      await settled(one, 'a')
      t.match(await one.inspect('a'), { grant: null })
      t.match(await one.inspect('b'), { grant: null })
      t.match(await one.now(['a', 'b'], 'p', 'id', key), { kind: 'request-id-reused' })
    })

    void test('a grant that nobody was told of keeps nothing after its end, with an id and without', async (t, one) => {
      for (const requestId of ['id', undefined]) {
        for (const sharing of [undefined, [{ limit: null, permits: 1 }]]) {
          const gone = new AbortController()
          const locks = key === undefined ? one.service : new ScopedLocks(one.service, knownKey(key))
          const asked = { resourceNames: [resourceName('a')], processId: processId('p'), ttlMs: MINUTE, requestId: requestId && `${requestId} ${sharing?.length}`, terms: { holdAtLeastMs: MINUTE, lockDelayMs: 0 }, sharing }
          t.match(await locks.request(asked, { waitMs: 0, signal: gone.signal }), { kind: 'granted' })
          gone.abort()
          await settled(one, 'a')
          t.match(await one.now('a', 'q', undefined, key), { kind: 'granted' }, JSON.stringify({ requestId, sharing }))
          await one.release('a', 'q')
        }
      }
    })

    void test('the client goes away and repeats its request while commits are blocked', async (t, one, other) => {
      for (const names of [['a'], ['b', 'c']]) {
        const id = `of ${names.join()}`
        const gone = new AbortController()
        const blocked = await blockCommits(one.url)
        const first = one.ask(names, 'p', { requestId: id, key, signal: gone.signal })
        gone.abort()
        const repetition = one.ask(names, 'p', { requestId: id, key })
        await blocked.untilWaiting()
        await blocked[Symbol.asyncDispose]()
        t.match(await first, { kind: 'granted' })
        t.match(await repetition, { kind: 'granted', grants: { length: names.length } })
        for (const name of names) {
          await settled(one, name)
          t.match(await other.inspect(name), { grant: { processId: 'p' } }, 'it stays')
        }
      }
    })

    void test('the client goes away while commits are blocked and does not come back', async (t, one) => {
      const gone = new AbortController()
      const blocked = await blockCommits(one.url)
      const first = one.ask('a', 'p', { requestId: 'id', key, signal: gone.signal })
      gone.abort()
      await blocked.untilWaiting()
      await blocked[Symbol.asyncDispose]()
      await first
      t.match(await one.inspect('a'), { grant: null })
    })

    void test('releasing and repeating at once', async (t, one, other) => {
      for (let round = 0; round < 30; round += 1) {
        const names = round % 2 === 0 ? [`${round}`] : [`${round}`, `${round}/b`]
        const requestId = `id ${round}`
        const gone = new AbortController()
        await one.ask(names, 'p', { requestId, key, signal: gone.signal })
        const repeating = other.now(names, 'p', requestId, key)
        gone.abort()
        const repetition = await repeating
        await settled(one, names[0] ?? '')
        const held = await Promise.all(names.map(async (name) => (await other.inspect(name)).grant !== null))
        t.ok(held.every((one) => one === (repetition.kind === 'granted')), `${repetition.kind}: ${held.join()}`)
      }
    })

    void test('a request for several and its repetition at once are answered with the same grants', async (t, one, other) => {
      for (let round = 0; round < 20; round += 1) {
        const names = [`${round}`, `${round}/b`]
        const answers = await Promise.all([one, other].map((instance) => instance.now(names, 'p', `id ${round}`, key)))
        t.same(answers.map(({ kind }) => kind), ['granted', 'granted'])
      }
    })
  }
}
