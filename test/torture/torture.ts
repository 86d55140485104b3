import { setTimeout as sleep } from 'node:timers/promises'
import { eventually, PATIENCE_MS } from '../support/eventually.js'
import { Random } from '../support/random.js'
import { check } from './checker/check.js'
import type { Sighting } from './checker/queue-order.js'
import type { Recorded } from './checker/recorded.js'
import { compareStream, hasCaughtUp } from './checker/streams.js'
import { Client } from './client.js'
import { moveClock, setClock } from './clock.js'
import { Cluster } from './cluster.js'
import { Faults } from './faults.js'
import { Figures } from './figures.js'
import { call, hangUp } from './http-call.js'
import type { Key } from './keys.js'
import type { TortureOptions } from './options.js'
import { Recorder } from './recorder.js'
import { Watcher } from './watcher.js'
import { eventsOf } from './wire-events.js'

/** Each has resources of its own, which the keys of the others do not reach. */
const TENANTS = ['north/', 'south/']

/** So many clients share a key, since who has the same one is told apart by its process alone. */
const CLIENTS_PER_KEY = 2

/** Resources that are used at the same time, by all clients of a tenant. */
const RESOURCES = 5

/** Sequences of faults that overlap. */
const LANES = 2

const WATCHERS = 2

/** The clock is set back and forth in the second of so many epochs. */
const CLOCK_EVERY = 3
const LEAST_EPOCHS = 2

const SIGHT_EVERY_MS = 60

/** Clients and database read the same clock; what is left is rounding, and a clock that is being adjusted. */
const TOLERANCE = { clocksMs: 20 }
const CLOCK_MOVED = { clocksMs: Number.POSITIVE_INFINITY }

export interface TortureListener {
  /** Told after each epoch. */
  readonly onProgress?: (figures: Figures) => void
}

interface Member {
  readonly client: Client
  readonly tenant: string
}

/**
 * Runs real servers and clients, hurts them, and checks what the clients saw. The time is cut into epochs, each with
 * resources of its own, whose history is judged and forgotten, so that memory stays bounded however long it runs.
 *
 * The seed decides what each client does and which faults follow each other; how their timing falls out differs.
 */
export async function torture(options: TortureOptions, { onProgress = () => undefined }: TortureListener = {}): Promise<Figures> {
  await using run = await Run.start(options)
  const { figures } = run
  const end = Date.now() + options.minutes * 60_000
  const goesOn = (): boolean =>
    (Date.now() < end || figures.grants < (options.leastGrants ?? 0) || figures.epochs < LEAST_EPOCHS) && (figures.clean || options.untilViolation !== true)
  for (let epoch = 1; goesOn(); epoch += 1) {
    await run.epoch(epoch, Math.max(Date.now() + 1000, Math.min(end, Date.now() + options.epochSeconds * 1000)))
    onProgress(figures)
  }
  return figures
}

/** The servers, those who use them, and what has come of it so far. */
class Run implements AsyncDisposable {
  readonly figures = new Figures()
  readonly #random: Random
  readonly #cluster: Cluster
  readonly #admin: Key
  readonly #recorder = new Recorder()
  readonly #members: Member[] = []
  readonly #keys: Key[] = []
  readonly #watchers: Watcher[] = []
  readonly #lanes: readonly Faults[]

  private constructor(seed: number, cluster: Cluster, admin: Key) {
    this.#random = new Random(seed)
    this.#cluster = cluster
    this.#admin = admin
    this.#lanes = Array.from({ length: LANES }, (_, index) => new Faults(cluster, new Random(seed + 100 + index), this.figures.faults))
  }

  static async start({ seed, clients, thinkMs, ...options }: TortureOptions): Promise<Run> {
    const cluster = await Cluster.start({ seed, clients, thinkMs, ...options }, new Random(seed + 1))
    const run = new Run(seed, cluster, await cluster.keys.make('admin', '', 'admin'))
    const onUnexpected = (what: string): void => void run.figures.violations.push(`an answer that the contract does not know: ${what}`)
    for (let index = 0; index < clients; index += 1) {
      const turn = Math.floor(index / CLIENTS_PER_KEY)
      const tenant = TENANTS[turn % TENANTS.length] ?? ''
      const key = (run.#keys[turn] ??= await cluster.keys.make(`key${turn}`, tenant, 'write'))
      const client = new Client({ name: `${key.name}/${index}`, random: new Random(seed + 1000 + index), cluster, recorder: run.#recorder, key, adminKey: run.#admin, thinkMs, onUnexpected })
      run.#members.push({ client, tenant })
    }
    await untilKnown(cluster, run.#keys.at(-1) ?? run.#admin)
    for (let index = 0; index < WATCHERS; index += 1) {
      const watcher = new Watcher({ name: `watcher ${index + 1}`, cluster, random: new Random(seed + 500 + index), key: run.#admin, fromTheStart: index % 2 === 0 })
      run.#watchers.push(watcher)
      await watcher.start()
    }
    return run
  }

  /** Uses fresh resources until that instant, lets everything come to rest, and judges what was seen. */
  async epoch(epoch: number, until: number): Promise<void> {
    const { figures } = this
    const clockMoves = epoch % CLOCK_EVERY === 2
    const resourcesOf = (tenant: string): string[] => Array.from({ length: RESOURCES }, (_, index) => `${tenant}epoch ${epoch}/${index}`)
    const sightings = await this.#live(resourcesOf, clockMoves, until)
    for (const tenant of TENANTS) {
      const client = this.#members.find((member) => member.tenant === tenant)?.client
      if (client === undefined) continue
      await Promise.all(resourcesOf(tenant).map((resource) => (clockMoves ? client.take(resource) : client.look(resource))))
    }
    const operations = this.#recorder.take()
    const events = await eventsOf(this.#cluster, this.#admin, TENANTS.flatMap(resourcesOf))
    figures.add(operations, check({ operations, sightings, events }, clockMoves ? CLOCK_MOVED : TOLERANCE))
    for (const watcher of this.#watchers) figures.violations.push(...(await this.#judgeStream(watcher, events)))
    Object.assign(figures.beside, { rotations: this.#cluster.keys.rotations, streams: this.#watchers.reduce((sum, { connections }) => sum + connections, 0) })
  }

  /** One epoch; resolves to who was seen in line meanwhile. */
  async #live(resourcesOf: (tenant: string) => readonly string[], clockMoves: boolean, until: number): Promise<Sighting[]> {
    const cluster = this.#cluster
    const sightings: Sighting[] = []
    const over = new AbortController()
    const sighting = sightAll(cluster, sightings, over.signal)
    await Promise.all([
      ...this.#members.map(({ client, tenant }) => client.run(resourcesOf(tenant), until)),
      ...this.#lanes.map((faults) => faults.run(until)),
      cluster.keys.run(this.#keys, until),
      clockMoves ? moveClock(cluster, this.#random, until).then((moves) => (this.figures.beside.clockMoves += moves)) : undefined
    ])
    if (clockMoves) await setClock(cluster, 0)
    over.abort()
    await sighting
    return sightings
  }

  async #judgeStream(watcher: Watcher, events: readonly Recorded[]): Promise<string[]> {
    for (const deadline = Date.now() + PATIENCE_MS; !hasCaughtUp(watcher.events, events) && Date.now() < deadline; ) await sleep(50)
    const faults = [...watcher.faults.splice(0), ...compareStream(watcher.name, watcher.events, events)]
    this.figures.beside.events += events.length
    watcher.forget()
    return faults
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const watcher of this.#watchers) await watcher[Symbol.asyncDispose]()
    hangUp()
    await this.#cluster[Symbol.asyncDispose]()
  }
}

/** Until every server asks for keys: a request without one is not the same as its repetition with one. @param last of those that were made. */
async function untilKnown(cluster: Cluster, { secret, prefix }: Key): Promise<void> {
  const path = `/locks/status?${new URLSearchParams({ resource_name: prefix }).toString()}`
  const isKnownAt = async (url: string): Promise<boolean> => {
    const statuses = [secret, 'unknown'].map(async (shown) => {
      const outcome = await call(url, { method: 'GET', path, secret: shown, withinMs: PATIENCE_MS })
      return typeof outcome === 'object' ? outcome.status : outcome
    })
    return (await Promise.all(statuses)).join() === '200,401'
  }
  for (const { url } of cluster.nodes) await eventually(`keys are known at ${url}`, async () => (await isKnownAt(url)) || undefined)
}

async function sightAll(cluster: Cluster, into: Sighting[], over: AbortSignal): Promise<void> {
  for (; !over.aborted; await sleep(SIGHT_EVERY_MS)) into.push(...(await cluster.sight()))
}
