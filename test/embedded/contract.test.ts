import t, { type Test } from 'tap'
import { acquireWithRetry, NoOpLock, withLock, type LockApi } from '../../src/embedded/index.js'
import { BACK_ENDS, type OpenedApi } from '../support/lock-apis.js'

/** A back end of one's own, as short as can be. */
class OneAtATime implements LockApi {
  #taken = false

  async tryAcquire() {
    if (this.#taken) return undefined
    this.#taken = true
    return { type: 'lock' as const, release: async () => void (this.#taken = false) }
  }
}

for (const backEnd of BACK_ENDS) {
  void t.test(`LockApi ${backEnd.name}`, async (t) => {
    const onApi = (name: string, body: (t: Test, opened: OpenedApi) => Promise<void>) =>
      t.test(name, async (t) => {
        await using opened = await backEnd.open()
        await body(t, opened)
      })

    await onApi('a lock is taken, refused to everybody, and free again when it is let go', async (t, { api }) => {
      const lock = await api.tryAcquire('a', 30)
      t.equal(lock?.type, 'lock')
      t.equal(await api.tryAcquire('a', 30), undefined)
      t.ok(await api.tryAcquire('b', 30), 'every key for itself')
      await lock?.release()
      t.ok(await api.tryAcquire('a', 30))
    })

    await onApi('a lock is held for all of its time and free at its very end', async (t, { api, advance }) => {
      await api.tryAcquire('a', 6)
      await advance(5999)
      t.equal(await api.tryAcquire('a', 6), undefined)
      await advance(1)
      t.ok(await api.tryAcquire('a', 3))
      await advance(2999)
      t.equal(await api.tryAcquire('a', 6), undefined)
      await advance(1)
      t.ok(await api.tryAcquire('a', 6))
    })

    await onApi('a release that comes twice or too late is harmless, also to a later holder', async (t, { api, advance }) => {
      const first = await api.tryAcquire('a', 1)
      await advance(1000)
      const second = await api.tryAcquire('a', 30)
      await first?.release()
      t.equal(await api.tryAcquire('a', 30), undefined)
      await second?.release()
      await second?.release()
      await first?.release()
      t.ok(await api.tryAcquire('a', 30))
      await second?.release()
      t.equal(await api.tryAcquire('a', 30), undefined)
    })

    await onApi('of twenty at once one gets it', async (t, { api }) => {
      const locks = await Promise.all(Array.from({ length: 20 }, () => api.tryAcquire('a', 30)))
      t.equal(locks.filter((lock) => lock !== undefined).length, 1)
    })

    await onApi('a key or a time that no lock can have is refused', async (t, { api }) => {
      for (const key of ['', 'a'.repeat(256), 'a\n', 'e\u0301']) await t.rejects(api.tryAcquire(key, 30), JSON.stringify(key))
      for (const seconds of [0, -1, Number.NaN, Infinity]) await t.rejects(api.tryAcquire('a', seconds), String(seconds))
      t.ok(await api.tryAcquire('a', 30), 'and changes nothing')
    })

    await onApi('withLock works while it has the lock, or not at all', async (t, { api }) => {
      const inside = await withLock(api, 'a', 30, () => api.tryAcquire('a', 30).then((lock) => [lock]))
      t.strictSame(inside, [undefined])
      await t.rejects(withLock(api, 'a', 30, () => Promise.reject(new Error('mine'))), { message: 'mine' })
      const lock = await api.tryAcquire('a', 30)
      t.equal(await withLock(api, 'a', 30, () => 'worked'), undefined)
      await lock?.release()
      t.equal(await withLock(api, 'a', 30, () => 'worked'), 'worked')
    })

    await onApi('acquireWithRetry tries again, and gives up in the end', async (t, { api, advance }) => {
      await api.tryAcquire('a', 5)
      t.equal(await acquireWithRetry(api, 'a', 3, { firstPauseMs: 1 }), undefined)
      const trying = acquireWithRetry(api, 'a', 12, { firstPauseMs: 1, timeoutSeconds: 60 })
      await advance(5000)
      t.ok(await trying)
      await advance(59_999)
      t.equal(await api.tryAcquire('a', 1), undefined)
    })
  })
}

void t.test('the no-op lock grants everything, or nothing', async (t) => {
  const open = new NoOpLock()
  t.equal((await open.tryAcquire('key', 30))?.type, 'lock')
  t.ok(await open.tryAcquire('key', 30))
  t.equal(await withLock(open, 'key', 30, () => 'worked'), 'worked')
  const locked = new NoOpLock(true)
  t.equal(await locked.tryAcquire('key', 30), undefined)
  t.equal(await withLock(locked, 'key', 30, () => 'worked'), undefined)
  await (await open.tryAcquire('key', 30))?.release()
})

void t.test('the helpers take a back end of one’s own, and its errors come second', async (t) => {
  const api = new OneAtATime()
  t.equal(await withLock(api, 'a', 30, () => 7), 7)
  t.ok(await acquireWithRetry(api, 'a'))
  const clumsy: LockApi = { tryAcquire: async () => ({ type: 'lock', release: () => Promise.reject(new Error('of letting go')) }) }
  await t.rejects(withLock(clumsy, 'a', 30, () => Promise.reject(new Error('of the work'))), { message: 'of the work' })
  await t.rejects(withLock(clumsy, 'a', 30, () => 'worked'), { message: 'of letting go' })
})
