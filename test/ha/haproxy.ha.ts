import { once } from 'node:events'
import { readFile, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { freePort } from '../../scripts/postgres-server.js'
import { emptyDatabase, freshDatabase } from '../support/databases.js'
import { eventually } from '../support/eventually.js'
import { inProject, temporaryFolder } from '../support/program.js'
import { Service } from '../support/service.js'
import { Session } from '../support/session.js'
import { Clients, insist, Queue } from './clients.js'
import { previousBuild } from './previous-build.js'
import { Part, withPrograms, withReplaced } from './support.js'

const ROUNDS = 80
const WAITERS = 20

/** Two instances on one database behind HAProxy, which runs with docs/haproxy.cfg but for the addresses. */
class Pair implements AsyncDisposable {
  readonly url: string
  readonly #settings: Readonly<Record<string, string>>
  readonly #ports: readonly [number, number]
  readonly #services: Service[] = []
  #proxy: Part | undefined
  #folder: AsyncDisposable | undefined

  private constructor(databaseUrl: string, port: number, ports: readonly [number, number]) {
    this.url = `http://127.0.0.1:${port}`
    this.#settings = { DATABASE_URL: databaseUrl }
    this.#ports = ports
  }

  static async start(databaseUrl: string, build?: string): Promise<Pair> {
    const [port, one, other] = [await freePort(), await freePort(), await freePort()]
    const pair = new Pair(databaseUrl, port, [one, other])
    try {
      await pair.#start(port, build)
      return pair
    } catch (error) {
      await pair[Symbol.asyncDispose]()
      throw error
    }
  }

  async #start(port: number, build?: string): Promise<void> {
    const [one, other] = this.#ports
    for (const index of [0, 1] as const) this.#services[index] = await this.#startService(index, build)
    const folder = await temporaryFolder()
    this.#folder = folder
    const config = withReplaced(
      await readFile(inProject('docs/haproxy.cfg'), 'utf8'),
      ['bind :8080', `bind 127.0.0.1:${port}`],
      ['server locks locks:8000', `server locks 127.0.0.1:${one}`],
      ['server locks-2 locks-2:8000', `server locks-2 127.0.0.1:${other}`]
    )
    await writeFile(join(folder.path, 'haproxy.cfg'), config)
    this.#proxy = Part.start(['haproxy', '-db', '-f', join(folder.path, 'haproxy.cfg')], folder.path)
    await this.#proxy.until('HAProxy has found an instance', async () => (await fetch(`${this.url}/readyz`)).ok || undefined)
  }

  #startService(index: 0 | 1, build?: string): Promise<Service> {
    return Service.start({ settings: { ...this.#settings, PORT: String(this.#ports[index]) }, build })
  }

  instance(index: 0 | 1): Service {
    return this.#services[index] as Service
  }

  /** The name under which an instance queues its waiters: that of a place which is taken and given up for that. */
  async nameOf(index: 0 | 1, session: Session): Promise<string> {
    const service = this.instance(index)
    await service.request('probe', 'holder')
    const waiting = service.request('probe', 'waiter', { wait_seconds: 60 })
    const name = await eventually('it waits', async () => (await new Queue(this.url, 'probe', session).places())[0]?.instance)
    for (const process of ['holder', 'waiter']) {
      await service.release('probe', process)
      await waiting
    }
    return name
  }

  /** Starts an instance where one has ended; resolves when HAProxy sends it requests. */
  async restart(index: 0 | 1, build?: string): Promise<void> {
    const service = await this.#startService(index, build)
    this.#services[index] = service
    await eventually('HAProxy sends it requests', async () => {
      const names = ['a', 'b', 'c', 'd'].map((name) => ({ resource_name: `probe-${name}`, process_id: 'p' }))
      await Promise.all(names.map((probe) => insist(this.url, 'POST', '/locks/request', probe)))
      await Promise.all(names.map((probe) => insist(this.url, 'DELETE', `/locks/release?${new URLSearchParams(probe).toString()}`)))
      return (await grantsOf(service)) > 0 || undefined
    })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#proxy?.[Symbol.asyncDispose]()
    for (const service of this.#services) await service[Symbol.asyncDispose]()
    await this.#folder?.[Symbol.asyncDispose]()
  }
}

async function isWhole(t: Test, clients: Clients, session: Session): Promise<void> {
  await clients.finish(session)
  t.strictSame(clients.faults, [])
  t.comment(`${clients.rounds} locks granted and released, ${clients.repeated} calls repeated, at most ${Math.round(clients.longestGapMs)} ms without a grant`)
}

withPrograms(['haproxy'], 'an instance behind HAProxy is killed or stopped under load', async (t) => {
  await using database = await freshDatabase('postgres', 'real')
  await using pair = await Pair.start(database.url)
  await using session = await Session.open(database.url)

  await t.test('no acknowledged lock is lost, and who repeats is answered', async (t) => {
    const clients = new Clients(pair.url, 'load')
    for (const [index, signal] of [[0, 'SIGKILL'], [1, 'SIGTERM'], [1, 'SIGKILL'], [0, 'SIGTERM']] as const) {
      await clients.work(ROUNDS)
      const { code } = await pair.instance(index).stop(signal)
      t.equal(code, signal === 'SIGTERM' ? 0 : null)
      await clients.work(ROUNDS)
      await pair.restart(index)
    }
    await isWhole(t, clients, session)
  })

  for (const signal of ['SIGKILL', 'SIGTERM'] as const) {
    await t.test(`who waits on the other instance keeps its place, and who comes back from one that got ${signal} is behind`, async (t) => {
      const queue = new Queue(pair.url, `hot ${signal}`, session)
      await queue.fill(WAITERS)
      const gone = await pair.nameOf(1, session)
      const before = await queue.places()
      const stayed = before.filter(({ instance }) => instance !== gone).map(({ process }) => process)
      t.ok(stayed.length > 0 && stayed.length < WAITERS, `HAProxy has parted them: ${stayed.length} of ${WAITERS} stay`)
      await pair.instance(1).stop(signal)
      const places = await eventually('all wait on the other one', async () => {
        const found = (await queue.places()).filter(({ instance }) => instance !== gone).map(({ process }) => process)
        return found.length === WAITERS ? found : undefined
      })
      t.strictSame(places.slice(0, stayed.length), stayed)
      await queue.serve()
      t.strictSame(queue.served, places)
      await pair.restart(1)
    })
  }
})

withPrograms(['haproxy', 'git'], 'a rolling upgrade from the version before loses nothing', async (t) => {
  await using previous = await previousBuild()
  if (previous.path === undefined) {
    t.pass(`not tested: ${previous.why}`)
    return
  }
  t.comment(`from ${previous.commit}`)
  await using database = await emptyDatabase('postgres')
  await using pair = await Pair.start(database.url, previous.path)
  await using session = await Session.open(database.url)
  const clients = new Clients(pair.url, 'load')
  for (const index of [0, 1] as const) {
    await clients.work(ROUNDS)
    t.match(await pair.instance(index).stop('SIGTERM'), { code: 0 })
    await clients.work(ROUNDS)
    await pair.restart(index)
  }
  await clients.work(ROUNDS)
  await isWhole(t, clients, session)
})

withPrograms(['haproxy'], 'resources are parted over two services by the beginning of their names', async (t) => {
  await using folder = await temporaryFolder()
  await using orders = await Service.start()
  await using others = await Service.start()
  const port = await freePort()
  const config = withReplaced(
    await readFile(inProject('docs/haproxy-parts.cfg'), 'utf8'),
    ['bind :8080', `bind 127.0.0.1:${port}`],
    ['10.0.0.1:8000', `127.0.0.1:${orders.port}`],
    ['10.0.0.2:8000', `127.0.0.1:${others.port}`]
  )
  await writeFile(join(folder.path, 'haproxy.cfg'), config)
  await using proxy = Part.start(['haproxy', '-db', '-f', join(folder.path, 'haproxy.cfg')], folder.path)
  const url = `http://127.0.0.1:${port}`
  for (const path of ['/readyz', '/readyz?prefix=orders/']) await proxy.until('HAProxy has found both', async () => (await fetch(url + path)).ok || undefined)
  const process_id = 'p'
  for (const resource_name of ['orders/1', 'order', 'ü/orders/']) t.match(await insist(url, 'POST', '/locks/request', { metadata: { x: 'y'.repeat(3000) }, process_id, resource_name }), { status: 200 })
  t.match(await insist(url, 'POST', '/locks/request-many', { process_id, resource_names: ['orders/2', 'orders/ü'] }), { status: 200 })
  t.same([await heldBy(orders), await heldBy(others)], [['orders/1', 'orders/2', 'orders/ü'], ['order', 'ü/orders/']])
  t.match(await insist(url, 'GET', '/locks/all-locked?prefix=orders%2F'), { body: { data: { total_locks: 3 } } })
  t.match(await insist(url, 'DELETE', '/locks/release?process_id=p&resource_name=orders%2F1'), { status: 200 })
  t.match(await insist(url, 'DELETE', '/locks/release?process_id=p&resource_name=order'), { status: 200 })
})

void t.test('the clients see a service that grants everything, twice the same number, and forgets it', async (t) => {
  await using database = await freshDatabase('postgres')
  await using session = await Session.open(database.url)
  const server = createServer((request, response) => {
    request.resume()
    response.writeHead(Math.random() < 0.1 ? 502 : 200).end('{"data":{"lock_id":7}}')
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  const clients = new Clients(`http://127.0.0.1:${typeof address === 'object' ? address?.port : ''}`, 'load')
  await clients.work(50)
  await clients.finish(session)
  server.close()
  server.closeAllConnections()
  for (const fault of [/was granted to load-client-\d while load-client-\d held it/, /: 7 after 7/, /grant 7 was acknowledged and is lost/]) t.ok(clients.faults.some((one) => fault.test(one)), String(fault))
  t.ok(clients.repeated > 0)
})

async function heldBy(service: Service): Promise<string[]> {
  const { data } = (await service.call('GET', '/locks/all-locked')).body
  return ((data?.['locks'] ?? []) as { resource_name: string }[]).map(({ resource_name }) => resource_name)
}

/** How many locks that instance has granted. */
async function grantsOf(service: Service): Promise<number> {
  const text = await (await fetch(`${service.url}/metrics`)).text()
  return Number(/^rlm_locks_granted_total (\d+)$/m.exec(text)?.[1])
}
