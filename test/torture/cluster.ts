import { setTimeout as sleep } from 'node:timers/promises'
import { Proxy } from '../support/proxy.js'
import type { Random } from '../support/random.js'
import { temporaryFolder } from '../support/program.js'
import { PostgresVictim, SqliteVictim, type Victim } from './databases.js'
import { Keys } from './keys.js'
import { Node } from './node.js'
import type { TortureOptions } from './options.js'

/** Sweeping at every millisecond, at a busy pace, and as good as never. */
const SWEEP_SECONDS = ['0.001', '0.05', '60']

/** Four hours: longer than the history of an epoch is asked for and than clocks are off, short enough for a run of days. */
const HISTORY_DAYS = '0.17'

/** The servers, their database, and the connections between them. */
export class Cluster implements AsyncDisposable {
  readonly nodes: readonly Node[]
  /** The proxy between each node and PostgreSQL. */
  readonly databaseProxies: readonly Proxy[]
  readonly victim: SqliteVictim | PostgresVictim
  readonly keys: Keys
  readonly #stack: AsyncDisposableStackLike

  private constructor(nodes: readonly Node[], databaseProxies: readonly Proxy[], victim: SqliteVictim | PostgresVictim, keys: Keys, stack: AsyncDisposableStackLike) {
    this.nodes = nodes
    this.databaseProxies = databaseProxies
    this.victim = victim
    this.keys = keys
    this.#stack = stack
  }

  static async start({ database, instances }: TortureOptions, random: Random): Promise<Cluster> {
    const stack = new AsyncDisposableStackLike()
    try {
      const folder = stack.use(await temporaryFolder())
      const victim: SqliteVictim | PostgresVictim = stack.use(database === 'sqlite' ? await SqliteVictim.start(folder.path) : await PostgresVictim.start())
      const nodes: Node[] = []
      const proxies: Proxy[] = []
      for (let index = 0; index < instances; index += 1) {
        const proxy = victim instanceof PostgresVictim ? stack.use(await Proxy.start(victim.port)) : undefined
        if (proxy !== undefined) proxies.push(proxy)
        const url = proxy === undefined ? victim.url : proxy.through(victim.url)
        const settings = (): Record<string, string> => ({ DATABASE_URL: url, SWEEP_INTERVAL_SECONDS: random.pick(SWEEP_SECONDS), HISTORY_RETENTION_DAYS: HISTORY_DAYS, ...victim.settings })
        nodes.push(stack.use(await Node.start(`instance ${index + 1}`, folder.path, settings)))
      }
      return new Cluster(nodes, proxies, victim, new Keys(victim.url, random), stack)
    } catch (error) {
      await stack[Symbol.asyncDispose]()
      throw error
    }
  }

  get starts(): number {
    return this.nodes.reduce((sum, { starts }) => sum + starts, 0)
  }

  /** Where to send a call, once there is a server that runs: to it directly, or through its proxy. */
  async address(random: Random): Promise<string> {
    const draw = random.next()
    const direct = random.chance(0.5)
    for (;;) {
      const up = this.nodes.filter((node) => node.up)
      const node = up[Math.floor(draw * up.length)]
      if (node !== undefined) return direct ? node.url : node.viaProxy
      await sleep(20)
    }
  }

  /** The database, looked at from outside; nothing where nobody could look. */
  async sight(): ReturnType<Victim['sight']> {
    const { starts } = this
    if (!this.nodes.some((node) => node.up)) return []
    const seen = await this.victim.sight(starts).catch(() => [])
    // Places of a process that has gone meanwhile.
    return starts === this.starts && this.nodes.some((node) => node.up) ? seen : []
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack[Symbol.asyncDispose]()
  }
}

/** Node 20 has no AsyncDisposableStack. */
class AsyncDisposableStackLike implements AsyncDisposable {
  readonly #opened: AsyncDisposable[] = []

  use<Opened extends AsyncDisposable>(opened: Opened): Opened {
    this.#opened.push(opened)
    return opened
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const opened of this.#opened.toReversed()) await opened[Symbol.asyncDispose]()
  }
}
