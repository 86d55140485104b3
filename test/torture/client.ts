import { setTimeout as sleep } from 'node:timers/promises'
import type { Answer, Ask, Told } from './checker/operation.js'
import type { Random } from '../support/random.js'
import { readAnswer, type Reading } from './answers.js'
import type { Cluster } from './cluster.js'
import { call, type Call } from './http-call.js'
import type { Key } from './keys.js'
import type { Asks, Recorder } from './recorder.js'

export interface ClientOptions {
  readonly name: string
  readonly random: Random
  readonly cluster: Cluster
  readonly recorder: Recorder
  /** It begins its name, and is replaced meanwhile. */
  readonly key: Key
  /** For what takes an admin's. */
  readonly adminKey: Key
  readonly thinkMs: number
  /** Told of answers that the contract does not know. */
  readonly onUnexpected: (what: string) => void
}

type Request = Extract<Ask, { kind: 'request' }>

interface AskOptions {
  /** How long the service may let it wait in line. */
  readonly waitMs?: number
  /** When the connection is given up, instead of some time after that. */
  readonly withinMs?: number | undefined
  /** A key that is not its own. */
  readonly secret?: string
}

const LEASES: readonly { readonly ttlMs: number | null; readonly weight: number }[] = [
  { ttlMs: null, weight: 1 },
  { ttlMs: 150, weight: 3 },
  { ttlMs: 500, weight: 3 },
  { ttlMs: 1500, weight: 3 },
  { ttlMs: 5000, weight: 1 }
]
/** What a client does while it holds a lock. */
const HOLDING = [
  { kind: 'rest', weight: 4 },
  { kind: 'renew', weight: 3 },
  { kind: 'renew-all', weight: 1 },
  { kind: 'look', weight: 1 },
  { kind: 'again', weight: 1 },
  { kind: 'repeat', weight: 1 }
] as const

/** What it does when it was refused one. */
const REFUSED = [
  { kind: 'nothing', weight: 10 },
  { kind: 'look', weight: 3 },
  { kind: 'release', weight: 2 },
  { kind: 'renew', weight: 2 },
  { kind: 'force', weight: 3 },
  { kind: 'steal', weight: 3 }
] as const

const MOST_REPEATS = 8

/** How long a resource may be kept for the last holder: many times what a place or a dead instance's lease lives. */
const FREE_WITHIN_MS = 90_000

/** A client gives a call up after some time beyond what it would wait in line, in milliseconds. */
const LEAST_PATIENCE_MS = 400
const MOST_PATIENCE_MS = 4000

/**
 * A client as they are: takes one lock or several, waits in line or not, renews, looks, asks twice, lets go, lets a lease
 * run out, takes locks away from others, and repeats what was not answered. All of it is drawn from its own random numbers.
 *
 * Each turn has a process id of its own, which does one thing at a time.
 */
export class Client {
  readonly #options: ClientOptions
  readonly #random: Random
  #turns = 0
  #until = 0

  constructor(options: ClientOptions) {
    this.#options = options
    this.#random = options.random
  }

  /** Takes turns on those resources until that instant; what it holds then stays held. */
  async run(resources: readonly string[], until: number): Promise<void> {
    this.#until = until
    while (Date.now() < until) {
      await this.#turn(resources)
      await sleep(this.#random.next() * 2 * this.#options.thinkMs)
    }
  }

  async look(resource: string): Promise<void> {
    for (;;) {
      const [answer] = await this.#ask([[resource, { kind: 'look' }]], 'GET', `/locks/status?${query({ resource_name: resource })}`)
      if (answer !== undefined && answer.kind !== 'unknown') return
      await sleep(100)
    }
  }

  /** Takes the resource away from its holder, if there is one, and takes and releases it itself: nothing may be left in the way. */
  async take(resource: string): Promise<void> {
    const process = `${this.#options.name}.${(this.#turns += 1)}`
    const ask: Request = { kind: 'request', process, ttlMs: null, waits: false, requestId: null }
    for (const until = Date.now() + FREE_WITHIN_MS; ; await sleep(200)) {
      const [answer] = await this.#request([resource], ask, 0)
      if (answer?.kind === 'granted') return this.#letGo([resource], process, answer.grant.lockId)
      if (answer?.kind === 'held' && answer.by !== null) await this.#force(resource, answer.by.lockId)
      if (Date.now() > until) return this.#options.onUnexpected(`${resource} cannot be had although everybody has gone: ${JSON.stringify(answer)}`)
    }
  }

  async #turn(resources: readonly string[]): Promise<void> {
    const random = this.#random
    if (random.chance(0.02)) await this.#trespass()
    const process = `${this.#options.name}.${(this.#turns += 1)}`
    const names = random.chance(0.2) ? shuffled(random, resources).slice(0, random.whole(2, 4)) : [random.pick(resources)]
    const waits = random.chance(names.length === 1 ? 0.4 : 0.15)
    // A place in line is kept ten seconds for a request with an id, which everybody else has to wait for.
    const requestId = random.chance(waits ? 0.4 : 0.7) ? `${process}#` : null
    const ask: Request = { kind: 'request', process, ttlMs: random.weighted(LEASES).ttlMs, waits, requestId }
    const waitMs = waits ? random.whole(50, random.chance(0.15) ? 4000 : 1200) : 0
    const answers = await this.#acquire(names, ask, Math.min(waitMs, Math.max(50, this.#until - Date.now())))
    const granted = answers.flatMap((answer) => (answer?.kind === 'granted' ? [answer.grant] : []))
    if (granted.length === names.length) await this.#hold(names, ask, granted)
    else await this.#refused(names, process, answers)
  }

  /** Repeats with the same id what was not answered, and unsuccessful waits; now and then it gives up. */
  async #acquire(names: readonly string[], ask: Request, waitMs: number): Promise<Reading> {
    for (let tries = 1; ; tries += 1) {
      const answers = ask.waits && ask.requestId !== null && this.#random.chance(0.5) ? await this.#requestTwice(names, ask, waitMs) : await this.#request(names, ask, waitMs)
      const unknown = answers.length === 0 || answers.some((answer) => answer?.kind === 'unknown')
      const inVain = ask.waits && answers.some((answer) => answer?.kind === 'held')
      if (!(unknown || inVain) || ask.requestId === null || this.#isTired(tries) || this.#random.chance(0.1)) return answers
      await sleep(this.#random.whole(0, 200))
    }
  }

  /** It has tried often enough, or its time is up; what nobody was told of stays open. */
  #isTired(tries: number): boolean {
    return tries === MOST_REPEATS || Date.now() >= this.#until
  }

  /** Waits on two connections at once for one thing; half of the time the first is given up while the second still waits. */
  async #requestTwice(names: readonly string[], ask: Request, waitMs: number): Promise<Reading> {
    const random = this.#random
    const first = this.#request(names, ask, waitMs, random.chance(0.5) ? random.whole(1, 200) : undefined)
    await sleep(random.whole(0, 150))
    const readings = await Promise.all([first, this.#request(names, ask, Math.max(50, random.next() * 2 * waitMs))])
    return readings.find(([answer]) => answer?.kind === 'granted') ?? readings[1]
  }

  #request(names: readonly string[], ask: Request, waitMs: number, withinMs?: number): Promise<Reading> {
    const body = {
      process_id: ask.process,
      ttl_seconds: secondsOf(ask.ttlMs),
      ...(ask.waits ? { wait_seconds: waitMs / 1000 } : {}),
      ...(ask.requestId === null ? {} : { request_id: ask.requestId })
    }
    const [name = ''] = names
    if (names.length === 1) return this.#ask([[name, ask]], 'POST', '/locks/request', { ...body, resource_name: name }, { waitMs, withinMs })
    const asks = names.map((resource) => [resource, { ...ask, together: ask.process }] as const)
    return this.#ask(asks, 'POST', '/locks/request-many', { ...body, resource_names: names }, { waitMs, withinMs })
  }

  async #refused([name = '']: readonly string[], process: string, [answer]: Reading): Promise<void> {
    const random = this.#random
    const lockId = answer?.kind === 'held' && random.chance(0.6) ? (answer.by?.lockId ?? null) : null
    switch (random.weighted(REFUSED).kind) {
      case 'look':
        return this.look(name)
      case 'release':
        return void (await this.#release(name, process, null))
      case 'renew':
        return void (await this.#renew(name, process, undefined, null))
      case 'force':
        return void (await this.#force(name, lockId))
      case 'steal':
        return answer?.kind === 'held' && answer.by !== null ? this.#steal(name, answer.by) : undefined
      case 'nothing':
    }
  }

  async #hold(names: readonly string[], ask: Request, granted: readonly Told[]): Promise<void> {
    const random = this.#random
    const { process, ttlMs } = ask
    const name = random.pick(names)
    const lockId = random.chance(0.5) ? (granted[names.indexOf(name)]?.lockId ?? null) : null
    for (let left = random.whole(0, 3); left > 0; left -= 1) {
      const what = random.weighted(HOLDING)
      if (what.kind === 'rest') await sleep(random.next() * (random.chance(0.2) ? Math.min(1.3 * (ttlMs ?? 200), 800) : 60))
      else if (what.kind === 'renew') await this.#renew(name, process, random.pick<{ ttlMs?: number | null }>([{}, { ttlMs: 300 }, { ttlMs: 1500 }]).ttlMs, lockId)
      else if (what.kind === 'renew-all') await this.#renewAll(names, process)
      else if (what.kind === 'look') await this.look(name)
      else if (what.kind === 'again') await this.#request([name], { ...ask, waits: false, requestId: null }, 0)
      else if (ask.requestId !== null) await this.#request(names, ask, 0)
    }
    if (ttlMs !== null && ttlMs <= 1500 && random.chance(0.15)) return
    await this.#letGo(names, process, lockId)
  }

  /** Repeats what was not answered; a release that is repeated is told so. */
  async #letGo(names: readonly string[], process: string, lockId: number | null): Promise<void> {
    for (let tries = 1; ; tries += 1) {
      const [name = ''] = names
      const asks = names.map((resource): Asks[number] => [resource, { kind: 'release', process, lockId: null }])
      const answers =
        names.length === 1
          ? await this.#release(name, process, lockId)
          : this.#random.chance(0.5)
            ? await this.#ask(asks, 'POST', '/locks/release-many', { resource_names: names, process_id: process })
            : await this.#ask(asks, 'DELETE', `/locks/release-all?${query({ process_id: process })}`)
      const told = answers.length > 0 && answers.every((answer) => answer?.kind !== 'unknown')
      if (told || this.#isTired(tries)) return
      await sleep(this.#random.whole(0, 200))
    }
  }

  #release(resource: string, process: string, lockId: number | null): Promise<Reading> {
    const fields = { resource_name: resource, process_id: process, ...(lockId === null ? {} : { lock_id: String(lockId) }) }
    return this.#ask([[resource, { kind: 'release', process, lockId }]], 'DELETE', `/locks/release?${query(fields)}`)
  }

  #renew(resource: string, process: string, ttlMs: number | null | undefined, lockId: number | null): Promise<Reading> {
    return this.#ask([[resource, { kind: 'renew', process, lockId, ttlMs }]], 'POST', '/locks/renew', {
      resource_name: resource,
      process_id: process,
      ...(ttlMs === undefined ? {} : { ttl_seconds: secondsOf(ttlMs) }),
      ...(lockId === null ? {} : { lock_id: lockId })
    })
  }

  #renewAll(names: readonly string[], process: string): Promise<Reading> {
    const asks = names.map((resource): Asks[number] => [resource, { kind: 'renew', process, lockId: null, ttlMs: undefined }])
    return this.#ask(asks, 'POST', '/locks/renew-all', { process_id: process })
  }

  #force(resource: string, lockId: number | null): Promise<Reading> {
    const body = { resource_name: resource, reason: 'torture', ...(lockId === null ? {} : { lock_id: lockId }) }
    return this.#ask([[resource, { kind: 'release', process: null, lockId }]], 'POST', '/locks/force-release', body, { secret: this.#options.adminKey.secret })
  }

  /** With a key of another name nobody releases what it was not given, even if it names the holder. */
  async #steal(resource: string, { process, lockId }: Omit<Told, 'lockedAt'>): Promise<void> {
    if (process.startsWith(`${this.#options.key.name}/`)) return
    const fields = { resource_name: resource, process_id: process, lock_id: String(lockId) }
    await this.#expectRefusal({ method: 'DELETE', path: `/locks/release?${query(fields)}` }, [404])
  }

  /** Names what the key does not reach. */
  #trespass(): Promise<void> {
    const body = { resource_name: `beyond ${this.#options.key.prefix}`, process_id: this.#options.name }
    return this.#expectRefusal({ method: 'POST', path: '/locks/request', body }, [403])
  }

  /** Sends what must be refused, and is no part of the history. */
  async #expectRefusal(what: Pick<Call, 'method' | 'path' | 'body'>, statuses: readonly number[]): Promise<void> {
    const { cluster, key, onUnexpected } = this.#options
    const outcome = await call(await cluster.address(this.#random), { ...what, secret: key.secret, withinMs: MOST_PATIENCE_MS })
    if (typeof outcome === 'object' && ![...statuses, 401, 503].includes(outcome.status)) onUnexpected(`${JSON.stringify(what)}: ${JSON.stringify(outcome)}`)
  }

  async #ask(asks: Asks, method: string, path: string, body?: object, { waitMs = 0, withinMs, secret = this.#options.key.secret }: AskOptions = {}): Promise<Reading> {
    const { cluster, recorder, onUnexpected } = this.#options
    const address = await cluster.address(this.#random)
    const told = recorder.begin(asks)
    const patienceMs = this.#random.whole(LEAST_PATIENCE_MS, MOST_PATIENCE_MS)
    const outcome = await call(address, { method, path, body, secret, withinMs: withinMs ?? waitMs + patienceMs })
    const answers = readAnswer(asks, outcome)
    if (answers === undefined) onUnexpected(`${method} ${path} ${JSON.stringify(body)}: ${JSON.stringify(outcome)}`)
    told(answers ?? asks.map((): Answer => ({ kind: 'unknown' })))
    return answers ?? []
  }
}

function shuffled<Item>(random: Random, items: readonly Item[]): Item[] {
  return items.map((item) => ({ item, at: random.next() })).toSorted((a, b) => a.at - b.at).map(({ item }) => item)
}

function query(fields: Readonly<Record<string, string>>): string {
  return new URLSearchParams(fields).toString()
}

function secondsOf(ttlMs: number | null): number | null {
  return ttlMs === null ? null : ttlMs / 1000
}
