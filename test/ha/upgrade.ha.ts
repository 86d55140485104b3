import { setTimeout as sleep } from 'node:timers/promises'
import type { Test } from 'tap'
import { freePort } from '../../scripts/postgres-server.js'
import { DATABASES, emptyDatabase } from '../support/databases.js'
import { eventually } from '../support/eventually.js'
import { Random } from '../support/random.js'
import { Service } from '../support/service.js'
import { Session } from '../support/session.js'
import { faultsOfShares } from '../torture/checker/shares.js'
import { Clients } from './clients.js'
import { Holders, partOf } from './holders.js'
import { previousBuild } from './previous-build.js'
import { withPrograms } from './support.js'

/* An instance of the version before shared locks beside one of this version, and an upgrade from it. */

const WORKERS = 10
/** Grants of each way of taking a resource. */
const ENOUGH = Number(process.env['UPGRADE_ROUNDS'] ?? 30)
const LOCKS = 200

/** The ways, and which instances know them. */
const WAYS: Readonly<Record<string, { readonly isNew: boolean; readonly wanted: object; readonly keep?: string; readonly expiresWithDelayMs?: number; readonly isRevoked?: true }>> = {
  'the older instance': { isNew: false, wanted: {} },
  'the new instance': { isNew: true, wanted: {} },
  'a reader': { isNew: true, wanted: { mode: 'shared' } },
  'a permit': { isNew: true, wanted: { limit: 3 } },
  'two permits': { isNew: true, wanted: { limit: 3, permits: 2 } },
  'kept at the release': { isNew: true, wanted: {}, keep: '0.05' },
  'held at least': { isNew: true, wanted: { ttl_seconds: 5, hold_at_least_seconds: 0.05 } },
  'a lease with a delay': { isNew: true, wanted: { ttl_seconds: 0.05, lock_delay_seconds: 0.05 }, expiresWithDelayMs: 50 },
  'a share that expires': { isNew: true, wanted: { ttl_seconds: 0.05, mode: 'shared' }, expiresWithDelayMs: 0 },
  revoked: { isNew: true, wanted: { ttl_seconds: 5 }, isRevoked: true }
}

interface Pair {
  readonly older: Service
  readonly newer: Service
}

/** Takes resources in every way, on the instance that knows it, until each has had enough. */
async function work(t: Test, { older, newer }: Pair): Promise<void> {
  const [atOlder, atNewer] = [new Holders([older.url]), new Holders([newer.url])]
  const done = new Map(Object.keys(WAYS).map((way) => [way, 0]))
  const worker = async (_: unknown, index: number): Promise<void> => {
    const random = new Random(index)
    for (let turn = 0; ; turn += 1) {
      const wanting = Object.entries(WAYS).filter(([way]) => (done.get(way) ?? 0) < ENOUGH)
      if (wanting.length === 0) return
      const [way, { isNew, wanted, keep, expiresWithDelayMs, isRevoked }] = random.pick(wanting)
      const holders = isNew ? atNewer : atOlder
      const resource_name = `mixed/${random.whole(0, 2)}`
      const [grant] = await holders.take(`p${index}.${turn}`, { ttl_seconds: 60, ...wanted, resource_name })
      if (grant === undefined) throw new Error('no grant')
      await sleep(random.next() * 10)
      if (expiresWithDelayMs !== undefined) holders.expires(grant, expiresWithDelayMs)
      else if (isRevoked) await holders.revoke(grant)
      else await holders.giveBack(grant, keep)
      done.set(way, (done.get(way) ?? 0) + 1)
    }
  }
  await Promise.all(Array.from({ length: WORKERS }, worker))
  const history = [...atOlder.history, ...atNewer.history]
  t.same(faultsOfShares(history), [])
  t.comment(`${history.length} grants in ${done.size} ways, by both instances`)
}

/** What the new instance holds, keeps or delays, the older one neither grants, nor ends, nor sweeps. */
async function leavesAlone(t: Test, { older, newer }: Pair): Promise<void> {
  const holders = new Holders([newer.url])
  const wanted = {
    shared: { mode: 'shared' },
    permits: { limit: 2, permits: 2 },
    terms: { hold_at_least_seconds: 600 },
    revoked: {},
    kept: {},
    delayed: { ttl_seconds: 0.1, lock_delay_seconds: 3600 }
  }
  const names = Object.keys(wanted) as (keyof typeof wanted)[]
  for (const name of names) {
    const grants = await holders.take('holder', { ttl_seconds: 600, ...wanted[name], resource_name: name })
    if (name === 'kept') for (const grant of grants) await holders.giveBack(grant, '3600')
  }
  await holders.take('second', { resource_name: 'shared', mode: 'shared', ttl_seconds: null })
  t.match(await newer.call('POST', '/locks/revoke', { resource_name: 'revoked', reason: 'a test', grace_seconds: 300 }), { status: 200 })
  await eventually('its lease is over', async () => (await holders.statusOf('delayed'))['kept'] === true || undefined)
  const seen = () => Promise.all(names.map(async (name) => Object.assign({}, await holders.statusOf(name), { remaining_seconds: 0 })))
  const before = await seen()
  for (const name of names) {
    t.match(await older.request(name, 'intruder'), { status: 409 }, name)
    t.match(await older.request(name, 'holder'), { status: 409 }, name)
    t.match(await older.release(name, 'holder'), { status: 404 }, name)
    t.match(await older.call('POST', '/locks/renew', { resource_name: name, process_id: 'holder', ttl_seconds: 1 }), { status: 404 }, name)
  }
  t.match(await older.call('POST', '/locks/request-many', { resource_names: ['free', 'shared'], process_id: 'intruder' }), { status: 409 })
  t.match(await older.call('POST', '/locks/release-many', { resource_names: names, process_id: 'holder' }), { body: { data: { released: [] } } })
  t.match(await older.call('POST', '/locks/renew-all', { process_id: 'holder' }), { body: { data: { total_renewed: 0 } } })
  // What the older one sweeps in the meantime shows that it sweeps.
  await older.request('swept', 'p', { ttl_seconds: 0.01 })
  await eventually('it sweeps', async () => {
    const { body } = await older.call('GET', '/locks/history?resource_name=swept&limit=1')
    const [last] = (body.data?.['events'] ?? []) as { event: string }[]
    return last?.event === 'expired' || undefined
  })
  t.same(await seen(), before)
  for (const name of ['shared', 'permits', 'terms', 'revoked']) t.match(await newer.call('POST', '/locks/renew', { resource_name: name, process_id: 'holder' }), { status: 200 }, name)
  t.match(await newer.release('shared', 'holder'), { status: 200 })
  t.match(await older.request('shared', 'intruder'), { status: 409 }, 'the second share')
  t.match(await newer.release('shared', 'second'), { status: 200 })
  t.match(await older.request('shared', 'intruder'), { status: 200 }, 'it is free')
  t.match(await newer.request('shared', 'reader', { mode: 'shared' }), { status: 409, body: { locked_by: 'intruder' } })
}

withPrograms(['git'], 'an instance without shared locks beside one with them', async (t) => {
  await using previous = await previousBuild('0013-lock-shares')
  if (previous.path === undefined) return void t.pass(`not tested: ${previous.why}`)
  t.comment(`beside ${previous.commit}`)
  await using database = await emptyDatabase('postgres')
  const settings = { DATABASE_URL: database.url }
  await using older = await Service.start({ build: previous.path, settings: { ...settings, SWEEP_INTERVAL_SECONDS: '0.01' } })
  await using newer = await Service.start({ settings: { ...settings, SWEEP_INTERVAL_SECONDS: '0.05' } })
  await using session = await Session.open(database.url)
  await t.test('neither grants beside what the other one holds, under load', async (t) => {
    const clients = new Clients([older.url, newer.url], 'load')
    await work(t, { older, newer })
    await clients.work(LOCKS)
    await clients.finish(session)
    t.strictSame(clients.faults, [])
  })
  await t.test('the older one leaves alone what it does not know', (t) => leavesAlone(t, { older, newer }))
})

for (const kind of DATABASES) {
  withPrograms(['git'], `an upgrade with locks that are held and requests that wait loses neither: ${kind}`, async (t) => {
    await using previous = await previousBuild('0013-lock-shares')
    if (previous.path === undefined) return void t.pass(`not tested: ${previous.why}`)
    await using database = await emptyDatabase(kind)
    const settings = { DATABASE_URL: database.url, PORT: String(await freePort()) }
    await using older = await Service.start({ build: previous.path, settings })
    const holders = new Holders([older.url])
    const held = [
      await holders.take('p', { resource_name: 'forever', ttl_seconds: null }),
      await holders.take('p', { resource_name: 'leased', ttl_seconds: 600 }),
      await holders.take('set', { resource_names: ['one', 'two'], ttl_seconds: 600 }, '/locks/request-many')
    ].flat()
    const waiting = held.flatMap(({ resource_name }) => ['a', 'b'].map((name) => holders.use(`${name} ${resource_name}`, { resource_name })))
    await eventually('they wait', async () => {
      const waiters = await Promise.all(held.map(({ resource_name }) => holders.waitersFor(resource_name)))
      return waiters.every((some) => some === 2) || undefined
    })
    t.match(await older.stop('SIGTERM'), { code: 0 })
    await using newer = await Service.start({ settings })
    t.equal(newer.url, older.url)
    for (const grant of held) t.same((await holders.heldOf(grant.resource_name)).flat().map(partOf), [partOf(grant)])
    await eventually('they wait again', async () => {
      const waiters = await Promise.all(held.map(({ resource_name }) => holders.waitersFor(resource_name)))
      return waiters.every((some) => some === 2) || undefined
    })
    for (const grant of held) await holders.giveBack(grant)
    await Promise.all(waiting)
    t.same(faultsOfShares(holders.history), [])
    t.equal(holders.history.length, held.length * 3)
    t.match(await newer.request('forever', 'reader', { mode: 'shared' }), { status: 200 })
  })
}
