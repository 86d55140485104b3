import { readdirSync } from 'node:fs'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { freePort } from '../../scripts/postgres-server.js'
import { eventually } from '../support/eventually.js'
import { inProject } from '../support/program.js'
import { Service } from '../support/service.js'
import { Session } from '../support/session.js'
import { Clients } from './clients.js'
import { givenToNobody, Part, unprivilegedFolder, withPrograms, withReplaced, type Folder } from './support.js'

/** How often the primary is switched over, and as often killed: `HA_ROUNDS=10 npm run test:ha`. */
const ROUNDS = Number(process.env['HA_ROUNDS'] ?? 1)
const LOCKS_BETWEEN = 100
const PASSWORD = 'secret'

/** Debian has PostgreSQL's server outside of the PATH. */
const BINARIES = '/usr/lib/postgresql'

interface Member {
  readonly name: string
  readonly role: string
  readonly state: string
}

/** One member of a Patroni cluster with the PostgreSQL that it runs. */
class Node implements AsyncDisposable {
  readonly name: string
  readonly port: number
  readonly apiPort: number
  readonly #folder: string
  #patroni: Part

  private constructor(name: string, port: number, apiPort: number, folder: string, patroni: Part) {
    this.name = name
    this.port = port
    this.apiPort = apiPort
    this.#folder = folder
    this.#patroni = patroni
  }

  static async start(name: string, etcdPort: number, { path }: Folder): Promise<Node> {
    const [port, apiPort] = [await freePort(), await freePort()]
    const folder = join(path, name)
    const access = ['host all all 127.0.0.1/32 scram-sha-256', 'host replication replicator 127.0.0.1/32 scram-sha-256']
    const config = {
      scope: 'locks',
      name,
      restapi: { listen: `127.0.0.1:${apiPort}`, connect_address: `127.0.0.1:${apiPort}` },
      etcd3: { host: `127.0.0.1:${etcdPort}` },
      bootstrap: {
        dcs: { ttl: 10, loop_wait: 1, retry_timeout: 3, synchronous_mode: true, postgresql: { use_pg_rewind: true, use_slots: true, parameters: { max_connections: 100 } } },
        initdb: [{ encoding: 'UTF8' }, { locale: 'C' }]
      },
      postgresql: {
        listen: `127.0.0.1:${port}`,
        connect_address: `127.0.0.1:${port}`,
        data_dir: join(folder, 'data'),
        bin_dir: join(BINARIES, readdirSync(BINARIES).toSorted((one, other) => Number(one) - Number(other)).at(-1) ?? '', 'bin'),
        pgpass: join(folder, 'pgpass'),
        pg_hba: access,
        parameters: { unix_socket_directories: folder, password_encryption: 'scram-sha-256' },
        authentication: { superuser: { username: 'postgres', password: PASSWORD }, replication: { username: 'replicator', password: PASSWORD }, rewind: { username: 'rewinder', password: PASSWORD } }
      }
    }
    await mkdir(folder)
    // JSON is YAML.
    await writeFile(join(folder, 'patroni.yml'), JSON.stringify(config))
    await givenToNobody(folder)
    return new Node(name, port, apiPort, folder, Node.#patroniIn(folder))
  }

  static #patroniIn(folder: string): Part {
    return Part.startUnprivileged(['patroni', join(folder, 'patroni.yml')], folder)
  }

  /** What this member knows of the cluster. */
  async members(): Promise<readonly Member[]> {
    return ((await (await fetch(`http://127.0.0.1:${this.apiPort}/cluster`)).json()) as { members: readonly Member[] }).members
  }

  async until<Found>(what: string, look: () => Promise<Found | undefined>): Promise<Found> {
    return await this.#patroni.until(what, look)
  }

  async switchOverTo(candidate: string): Promise<void> {
    const response = await fetch(`http://127.0.0.1:${this.apiPort}/switchover`, { method: 'POST', body: JSON.stringify({ leader: this.name, candidate }) })
    // 503 says that it still goes on; what comes of it is asked for afterwards.
    if (!response.ok && response.status !== 503) throw new Error(await response.text())
  }

  /** As if its machine had lost power, but for the operating system's cache. */
  async kill(): Promise<void> {
    const postmaster = Number((await readFile(join(this.#folder, 'data/postmaster.pid'), 'utf8')).split('\n')[0])
    this.#patroni.signal('SIGKILL')
    process.kill(postmaster, 'SIGKILL')
    await this.#patroni.end()
  }

  restart(): void {
    this.#patroni = Node.#patroniIn(this.#folder)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#patroni.alive) await this.#patroni[Symbol.asyncDispose]()
  }
}

withPrograms(['patroni', 'etcd', 'haproxy', 'pg_ctlcluster'], 'a synchronous pair under Patroni: switched over and killed under load, nothing acknowledged is lost', async (t) => {
  await using folder = await unprivilegedFolder()
  const etcdPort = await freePort()
  await using etcd = await startEtcd(folder, etcdPort)
  await using a = await Node.start('a', etcdPort, folder)
  await a.until('the first member leads', async () => (await a.members()).some(({ role }) => role === 'leader') || undefined)
  await using b = await Node.start('b', etcdPort, folder)
  const nodes = [a, b]
  await untilSynchronous(nodes)

  const port = await freePort()
  const config = withReplaced(
    await readFile(inProject('docs/haproxy-patroni.cfg'), 'utf8'),
    ['bind 127.0.0.1:5000', `bind 127.0.0.1:${port}`],
    ['10.0.0.1:5432 port 8008', `127.0.0.1:${a.port} port ${a.apiPort}`],
    ['10.0.0.2:5432 port 8008', `127.0.0.1:${b.port} port ${b.apiPort}`]
  )
  await writeFile(join(folder.path, 'haproxy.cfg'), config)
  await using proxy = Part.start(['haproxy', '-db', '-f', join(folder.path, 'haproxy.cfg')], folder.path)
  const url = `postgres://postgres:${PASSWORD}@127.0.0.1:${port}/postgres`
  // Until its first look at them, HAProxy takes both members for the primary.
  await proxy.find((said) => said.includes('is DOWN') || undefined)
  await using first = await Service.start({ settings: { DATABASE_URL: url } })
  await using second = await Service.start({ settings: { DATABASE_URL: url } })
  const clients = new Clients([first.url, second.url], 'load')
  const recovery: Record<'switchover' | 'kill -9', number[]> = { switchover: [], 'kill -9': [] }
  for (let round = 0; round < ROUNDS; round += 1) {
    for (const fault of ['switchover', 'kill -9'] as const) {
      await clients.work(LOCKS_BETWEEN)
      const [primary, standby] = await untilSynchronous(nodes)
      clients.longestGapMs = 0
      if (fault === 'switchover') await primary.switchOverTo(standby.name)
      else await primary.kill()
      await standby.until('the standby leads', async () => (await standby.members()).some(({ name, role }) => name === standby.name && role === 'leader') || undefined)
      await clients.work(LOCKS_BETWEEN)
      recovery[fault].push(clients.longestGapMs)
      if (fault === 'kill -9') primary.restart()
    }
  }
  await untilSynchronous(nodes)
  await using session = await Session.open(url)
  await clients.finish(session)
  t.strictSame(clients.faults, [])
  for (const [fault, times] of Object.entries(recovery)) t.comment(`${fault}: ${times.map((ms) => `${(ms / 1000).toFixed(1)} s`).join(', ')} without a grant`)
  t.comment(`${clients.rounds} locks granted and released, ${clients.repeated} calls repeated`)
  t.ok(etcd.alive)
})

async function startEtcd({ path }: Folder, port: number): Promise<Part> {
  const [client, peer] = [`http://127.0.0.1:${port}`, `http://127.0.0.1:${await freePort()}`]
  const etcd = Part.startUnprivileged(
    ['etcd', '--data-dir', join(path, 'etcd'), '--listen-client-urls', client, '--advertise-client-urls', client, '--listen-peer-urls', peer, '--initial-advertise-peer-urls', peer, '--initial-cluster', `default=${peer}`],
    path
  )
  await etcd.until('etcd answers', async () => (await fetch(`${client}/health`)).ok || undefined)
  return etcd
}

/** @returns the primary and the standby whose confirmation commits wait for. */
async function untilSynchronous(nodes: readonly Node[]): Promise<[primary: Node, standby: Node]> {
  return await eventually('commits wait for the standby', async () => {
    const members = await Promise.any(nodes.map((node) => node.members())).catch(() => [])
    const find = (wanted: string) => nodes.find((node) => members.some(({ name, role, state }) => name === node.name && role === wanted && ['running', 'streaming'].includes(state)))
    const [primary, standby] = [find('leader'), find('sync_standby')]
    return primary === undefined || standby === undefined ? undefined : [primary, standby]
  })
}
