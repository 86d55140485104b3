import t from 'tap'
import { WaiterQuota, LockQuota, NO_LIMITS } from '../../src/locks/quotas.js'
import { LockError } from '../../src/locks/errors.js'

const TOO_MANY = { code: 'TOO_MANY_REQUESTS' }

void t.test('a line lets so many in, and another one when somebody leaves', (t) => {
  const crowd = new WaiterQuota({ ...NO_LIMITS, waitersPerResource: 2 })
  const leave = crowd.enter(['a', 'b'], 'x')
  crowd.enter(['a'], 'y')
  t.match(crowd.faultOf(['c', 'a'], 'z'), TOO_MANY, 'one full line is enough')
  t.equal(crowd.faultOf(['b'], 'z'), undefined)
  leave()
  t.equal(crowd.faultOf(['c', 'a'], 'z'), undefined)
  t.end()
})

void t.test('a caller may wait so often, wherever; others are not concerned', (t) => {
  const crowd = new WaiterQuota({ ...NO_LIMITS, waitersPerCaller: 2 })
  const leave = crowd.enter(['a'], 'x')
  crowd.enter(['b', 'c', 'd'], 'x')
  t.match(crowd.faultOf(['e'], 'x'), TOO_MANY)
  t.equal(crowd.faultOf(['e'], 'y'), undefined)
  t.equal(crowd.faultOf(['e'], undefined), undefined, 'nor is who cannot be told from others')
  leave()
  t.equal(crowd.faultOf(['e'], 'x'), undefined)
  t.end()
})

/** A database that says how many locks each key holds, and how often it was asked. */
function counted(limit: number) {
  const held = new Map<string | null, number>()
  const seen = { asked: 0, now: 0 }
  const count = async (key: string | null): Promise<number> => {
    seen.asked += 1
    await Promise.resolve()
    return held.get(key) ?? 0
  }
  const live = new LockQuota(limit, count, () => seen.now)
  const take = async (key: string | null, locks = 1): Promise<string> => {
    try {
      await live.makeRoom(key, locks)
    } catch (error) {
      return error instanceof LockError ? error.code : String(error)
    }
    held.set(key, (held.get(key) ?? 0) + locks)
    live.granted(key, locks)
    return 'taken'
  }
  return { held, seen, live, take }
}

void t.test('a key holds no more than it may, and what it gave back it may take again', async (t) => {
  const { held, seen, take } = counted(3)
  held.set('k', 1)
  t.equal(await take('k', 2), 'taken')
  t.equal(await take('k'), 'TOO_MANY_REQUESTS')
  t.equal(await take('other', 3), 'taken', 'each key has its own')
  t.equal(await take(null, 4), 'TOO_MANY_REQUESTS', 'never more at once than there is room for at all')
  held.set('k', 0)
  seen.now += 1000
  t.equal(await take('k'), 'taken')
})

void t.test('the database is asked when a key is new and when it may be full, not for each request', async (t) => {
  const { held, seen, live, take } = counted(10)
  for (let turn = 0; turn < 10; turn += 1) {
    t.equal(await take('k'), 'taken')
    held.set('k', 0)
  }
  t.equal(seen.asked, 1)
  t.equal(await take('k'), 'taken', 'all were given back')
  t.equal(seen.asked, 2)
  t.equal(live.makeRoom('k', 1), undefined, 'then at once')
})

void t.test('who is found full is refused for a second without asking the database', async (t) => {
  const { held, seen, take } = counted(1)
  held.set('k', 1)
  for (let turn = 0; turn < 5; turn += 1) t.equal(await take('k'), 'TOO_MANY_REQUESTS')
  t.equal(seen.asked, 1)
  held.set('k', 0)
  seen.now += 999
  t.equal(await take('k'), 'TOO_MANY_REQUESTS')
  seen.now += 1
  t.equal(await take('k'), 'taken')
})

void t.test('those who ask together while it is counted share one count, and none is forgotten', async (t) => {
  const { seen, live } = counted(5)
  await Promise.all([live.makeRoom('k', 1), live.makeRoom('k', 1)])
  t.equal(seen.asked, 1)
  live.granted('k', 4)
  const counting = live.makeRoom('k', 2)
  live.granted('k', 4)
  await t.rejects(counting ?? Promise.resolve(), { code: 'TOO_MANY_REQUESTS' }, 'what was granted meanwhile counts')
})

void t.test('a first count that fails does not switch the limit off', async (t) => {
  let fails = true
  const live = new LockQuota(2, () => (fails ? Promise.reject(new LockError('STORAGE_UNAVAILABLE')) : Promise.resolve(2)))
  await t.rejects(live.makeRoom('k', 1) ?? Promise.resolve(), { code: 'STORAGE_UNAVAILABLE' })
  await t.rejects(live.makeRoom('k', 1) ?? Promise.resolve(), { code: 'STORAGE_UNAVAILABLE' }, 'it is counted again')
  fails = false
  await t.rejects(live.makeRoom('k', 1) ?? Promise.resolve(), TOO_MANY)
})

void t.test('without a limit nothing is counted', (t) => {
  const live = new LockQuota(Infinity, () => Promise.reject(new Error('asked')))
  t.equal(live.makeRoom(null, 1), undefined)
  t.end()
})
