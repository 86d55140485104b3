import { setTimeout as sleep } from 'node:timers/promises'
import type { Proxy } from '../support/proxy.js'
import type { Random } from '../support/random.js'
import type { Cluster } from './cluster.js'
import { type PostgresVictim, SqliteVictim } from './databases.js'
import type { Node } from './node.js'

export type FaultKind =
  | 'kill -9 of a server'
  | 'SIGTERM of a server'
  | 'SIGSTOP of a server past a lease'
  | 'SIGSTOP of a server in a transaction'
  | 'clients cut off before the request arrived'
  | 'clients cut off before the answer arrived'
  | 'SIGKILL of PostgreSQL'
  | 'database cut off before a commit'
  | 'database cut off after a commit'
  | 'database silent for seconds'
  | 'database far away'
  | 'lost notifications'
  | 'connections ended by PostgreSQL'
  | 'SQLite file in use by another program'

interface Fault {
  readonly kind: FaultKind
  readonly weight: number
  /** Undone when it resolves; resolves to false where it could not be done now. */
  readonly run: () => Promise<boolean>
}

/** Between two faults, in milliseconds, shared by the servers: a single one would do nothing but start. */
const LEAST_REST_MS = 100
const MOST_REST_MS = 3600

/** Every message to PostgreSQL takes so much longer while a server is to be caught in a transaction. */
const PAUSED_LATENCY_MS = 15
const MOST_CATCHES = 40

/** Does one thing after another to the cluster, as its random numbers say. Several of these make faults overlap. */
export class Faults {
  readonly counts: Map<FaultKind, number>
  readonly #cluster: Cluster
  readonly #random: Random
  readonly #faults: readonly Fault[]

  /** @param counts where each fault that was done is counted. */
  constructor(cluster: Cluster, random: Random, counts: Map<FaultKind, number>) {
    this.#cluster = cluster
    this.#random = random
    this.counts = counts
    this.#faults = [...this.#ofServers(), ...this.#ofDatabase()]
  }

  /** Until that instant; everything is undone when it resolves. */
  async run(until: number): Promise<void> {
    while (Date.now() < until) {
      await sleep(this.#random.whole(LEAST_REST_MS, MOST_REST_MS / this.#cluster.nodes.length))
      if (Date.now() >= until) return
      const fault = this.#random.weighted(this.#faults)
      if (await fault.run()) this.counts.set(fault.kind, (this.counts.get(fault.kind) ?? 0) + 1)
    }
  }

  #ofServers(): Fault[] {
    const restart = (signal: 'SIGKILL' | 'SIGTERM') => (): Promise<boolean> =>
      this.#toOne(async (node) => {
        await node.stop(signal)
        await sleep(this.#random.whole(0, 1000))
        await node.start()
      })
    const cutClients = (direction: 'requests' | 'answers') => (): Promise<boolean> => this.#cut(this.#random.pick(this.#cluster.nodes).proxy, direction)
    return [
      { kind: 'kill -9 of a server', weight: 4, run: restart('SIGKILL') },
      { kind: 'SIGTERM of a server', weight: 1, run: restart('SIGTERM') },
      { kind: 'SIGSTOP of a server past a lease', weight: 3, run: () => this.#toOne((node) => node.pause(this.#random.whole(200, 4500))) },
      { kind: 'SIGSTOP of a server in a transaction', weight: 3, run: () => this.#pauseInTransaction() },
      { kind: 'clients cut off before the request arrived', weight: 2, run: cutClients('requests') },
      { kind: 'clients cut off before the answer arrived', weight: 4, run: cutClients('answers') }
    ]
  }

  #ofDatabase(): Fault[] {
    const { victim, databaseProxies } = this.#cluster
    if (victim instanceof SqliteVictim) return [{ kind: 'SQLite file in use by another program', weight: 2, run: () => this.#occupy(victim) }]
    const cut = (direction: 'requests' | 'answers', silentMs = 0) => (): Promise<boolean> => this.#cut(this.#random.pick(databaseProxies), direction, silentMs)
    return [
      { kind: 'database cut off before a commit', weight: 4, run: cut('requests') },
      { kind: 'database cut off after a commit', weight: 5, run: cut('answers') },
      { kind: 'database silent for seconds', weight: 1, run: () => cut('answers', this.#random.whole(500, 4000))() },
      { kind: 'database far away', weight: 3, run: () => this.#slow(this.#random.pick(databaseProxies)) },
      { kind: 'lost notifications', weight: 3, run: () => this.#terminate(victim, 'listeners') },
      { kind: 'connections ended by PostgreSQL', weight: 2, run: () => this.#terminate(victim, 'workers') },
      { kind: 'SIGKILL of PostgreSQL', weight: 1, run: () => this.#crash(victim) }
    ]
  }

  /** To a server that nothing is being done to. */
  async #toOne(what: (node: Node) => Promise<void>): Promise<boolean> {
    const free = this.#cluster.nodes.filter(({ busy }) => !busy)
    if (free.length === 0) return false
    const node = this.#random.pick(free)
    node.busy = true
    try {
      await what(node)
    } finally {
      node.busy = false
    }
    return true
  }

  /** Between a statement and its commit, as far as there is anything between them: it is stopped again and again until it was there. */
  async #pauseInTransaction(): Promise<boolean> {
    const { victim, databaseProxies, nodes } = this.#cluster
    let caught = false
    await this.#toOne(async (node) => {
      const proxy = databaseProxies[nodes.indexOf(node)]
      proxy?.slow(PAUSED_LATENCY_MS)
      const isInTransaction = async (): Promise<boolean> => {
        if (victim instanceof SqliteVictim) return await victim.isInTransaction()
        // What was sent before is on its way.
        await sleep(PAUSED_LATENCY_MS)
        return await victim.isInTransaction(proxy?.outgoingPorts ?? []).catch(() => false)
      }
      for (let tries = 0; tries < MOST_CATCHES && !caught; tries += 1) {
        caught = await node.pauseWhen(isInTransaction, this.#random.whole(300, 4000))
        if (!caught) await sleep(this.#random.whole(1, 30))
      }
      proxy?.slow(0)
    })
    return caught
  }

  async #cut(proxy: Proxy, direction: 'requests' | 'answers', silentMs = 0): Promise<boolean> {
    const held = await Promise.race([proxy.hold(direction).then(() => true), sleep(500, false)])
    if (silentMs > 0) await sleep(silentMs)
    proxy.cut()
    return held
  }

  /** Rows stay locked for longer, between a statement and its commit. */
  async #slow(proxy: Proxy): Promise<boolean> {
    proxy.slow(this.#random.whole(10, 120))
    await sleep(this.#random.whole(500, 2500))
    proxy.slow(0)
    return true
  }

  async #occupy(victim: SqliteVictim): Promise<boolean> {
    let occupied = false
    await this.#toOne(async (node) => {
      if (node.up) occupied = await victim.occupy(this.#random.whole(50, 600))
    })
    return occupied
  }

  #crashing = false

  async #crash(victim: PostgresVictim): Promise<boolean> {
    if (this.#crashing) return false
    this.#crashing = true
    await victim.crash(this.#random.whole(0, 2000))
    this.#crashing = false
    return true
  }

  async #terminate(victim: PostgresVictim, which: 'listeners' | 'workers'): Promise<boolean> {
    return victim.terminate(which).then(() => true, () => false)
  }
}
