import t from 'tap'
import { eventually } from '../support/eventually.js'
import { Load, Service } from '../support/service.js'
import { PostgresServer } from '../../scripts/postgres-server.js'
import { Proxy } from '../support/proxy.js'
import { Session } from '../support/session.js'

const WARNING = /has a standby that it does not wait for/
const ROUND = 200

void t.test('a standby takes over', async (t) => {
  await using primary = await PostgresServer.start()
  await using standby = await primary.standby('second')
  await using proxy = await Proxy.start(primary.port)
  const settings = { DATABASE_URL: proxy.through(primary.url) }
  await untilFollowed(primary, 'async')

  await t.test('while nobody waits for it, the service says at start what is not promised', async (t) => {
    await using service = await Service.start({ settings })
    t.match(service.log.find(({ msg }) => WARNING.test(String(msg))), { level: 40 })
  })

  await using session = await Session.open(primary.url)
  await session.run("alter system set synchronous_standby_names = 'second'")
  await session.run('select pg_reload_conf()')
  await untilFollowed(primary, 'sync')

  await t.test('once commits wait for it, no acknowledged grant is lost with the primary, and numbers keep growing', async (t) => {
    await using first = await Service.start({ settings })
    await using second = await Service.start({ settings })
    t.equal(first.log.find(({ msg }) => WARNING.test(String(msg))), undefined)
    const load = new Load()
    let enough = Number.POSITIVE_INFINITY
    const working = [first, second].map((service, index) => load.run(service, 4, () => load.acknowledged >= enough, `${index}/`))
    await eventually('a load', () => Promise.resolve(load.acknowledged >= ROUND / 2 || undefined))
    await primary.stop('SIGKILL')
    proxy.cut()
    proxy.retarget(standby.port)
    await using other = await Session.open(standby.url)
    await other.run('select pg_promote()')
    const before = load.acknowledged
    await eventually('work on the new primary', () => Promise.resolve(load.acknowledged > before + ROUND || undefined))
    enough = 0
    await Promise.all(working)
    await load.check(first)
    t.same(load.faults, [])
    t.ok(load.acknowledged > before, `${load.acknowledged} acknowledged, ${before} of them before the primary was gone`)
  })
})

/** The standby has caught up and is followed in that way. */
async function untilFollowed(primary: PostgresServer, state: 'async' | 'sync'): Promise<void> {
  await using session = await Session.open(primary.url)
  await eventually(`the standby is ${state}`, async () => {
    const found = await session.run(`select from pg_stat_replication where state = 'streaming' and sync_state = '${state}'`)
    return found.length > 0 || undefined
  })
}
