import { setTimeout as sleep } from 'node:timers/promises'
import type { Random } from '../support/random.js'
import type { Reading } from './answers.js'
import type { Told } from './checker/operation.js'
import { Draws, isPlain } from './draws.js'
import { Wire, type Request, type Wanted, type WireOptions } from './wire.js'

export interface ClientOptions extends WireOptions {
  readonly thinkMs: number
}

const MOST_REPEATS = 8

/** How long a resource may be kept for the last holder: many times what a place or a dead instance's lease lives. */
const FREE_WITHIN_MS = 90_000

/**
 * A client as they are: takes one lock or several, exclusively or in shares, waits in line or not, renews, converts, looks, asks twice,
 * lets go, keeps what it lets go, lets a lease run out, takes locks away from others or asks them to end, and repeats what was not
 * answered. All of it is drawn from its own random numbers.
 *
 * Each turn has a process id of its own, which does one thing at a time.
 */
export class Client {
  readonly #options: ClientOptions
  readonly #random: Random
  readonly #draws: Draws
  readonly #wire: Wire
  #turns = 0
  #until = 0

  constructor(options: ClientOptions) {
    this.#options = options
    this.#random = options.random
    this.#draws = new Draws(options.random)
    this.#wire = new Wire(options)
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
      const [answer] = await this.#wire.look(resource)
      if (answer !== undefined && answer.kind !== 'unknown') return
      await sleep(100)
    }
  }

  /** Takes the resource away from its holders, if there are any, and takes and releases it itself: nothing may be left in the way. */
  async take(resource: string): Promise<void> {
    const process = this.#nextProcess()
    const ask: Request = { kind: 'request', process, ttlMs: null, waits: false, requestId: null }
    for (const until = Date.now() + FREE_WITHIN_MS; ; await sleep(200)) {
      const [answer] = await this.#wire.request([{ name: resource }], ask, 0)
      if (answer?.kind === 'granted') return this.#letGo([resource], process, answer.grant.lockId)
      if (answer?.kind === 'held' && answer.by !== null) await this.#wire.force(resource, this.#random.chance(0.5) ? answer.by.lockId : null, this.#random.chance(0.5))
      if (Date.now() > until) return this.#options.onUnexpected(`${resource} cannot be had although everybody has gone: ${JSON.stringify(answer)}`)
    }
  }

  #nextProcess(): string {
    return `${this.#options.name}.${(this.#turns += 1)}`
  }

  async #turn(resources: readonly string[]): Promise<void> {
    const random = this.#random
    if (random.chance(0.02)) await this.#wire.trespass()
    const process = this.#nextProcess()
    const names = random.chance(0.2) ? shuffled(random, resources).slice(0, random.whole(2, 4)) : [random.pick(resources)]
    const wanted = names.map((name): Wanted => ({ name, sharing: this.#draws.sharing(name) }))
    const waits = random.chance(names.length === 1 ? 0.4 : 0.15)
    // A place in line is kept ten seconds for a request with an id, which everybody else has to wait for.
    const requestId = random.chance(waits ? 0.4 : 0.7) ? `${process}#` : null
    const ttlMs = this.#draws.lease
    const terms = this.#draws.terms(names, ttlMs)
    const ask: Request = { kind: 'request', process, ttlMs, waits, requestId, ...(terms === undefined ? {} : { terms }) }
    const waitMs = waits ? random.whole(50, random.chance(0.15) ? 4000 : 1200) : 0
    const answers = await this.#acquire(wanted, ask, Math.min(waitMs, Math.max(50, this.#until - Date.now())))
    const granted = answers.flatMap((answer) => (answer?.kind === 'granted' ? [answer.grant] : []))
    if (granted.length === names.length) await this.#hold(wanted, ask, granted)
    else await this.#refused(names, process, answers)
  }

  /** Repeats with the same id what was not answered, and unsuccessful waits; now and then it gives up. */
  async #acquire(wanted: readonly Wanted[], ask: Request, waitMs: number): Promise<Reading> {
    for (let tries = 1; ; tries += 1) {
      const isTwice = ask.waits && ask.requestId !== null && this.#random.chance(0.5)
      const answers = isTwice ? await this.#requestTwice(wanted, ask, waitMs) : await this.#wire.request(wanted, ask, waitMs)
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
  async #requestTwice(wanted: readonly Wanted[], ask: Request, waitMs: number): Promise<Reading> {
    const random = this.#random
    const first = this.#wire.request(wanted, ask, waitMs, random.chance(0.5) ? random.whole(1, 200) : undefined)
    await sleep(random.whole(0, 150))
    const readings = await Promise.all([first, this.#wire.request(wanted, ask, Math.max(50, random.next() * 2 * waitMs))])
    return readings.find(([answer]) => answer?.kind === 'granted') ?? readings[1]
  }

  async #refused([name = '']: readonly string[], process: string, [answer]: Reading): Promise<void> {
    const random = this.#random
    const lockId = answer?.kind === 'held' && random.chance(0.6) ? (answer.by?.lockId ?? null) : null
    switch (this.#draws.whenRefused) {
      case 'look':
        return this.look(name)
      case 'release':
        return void (await this.#wire.release(name, process, null))
      case 'renew':
        return void (await this.#wire.renew(name, process, undefined, null))
      case 'force':
        return void (await this.#wire.force(name, lockId, random.chance(0.3)))
      case 'revoke':
        return isPlain(name) ? undefined : void (await this.#wire.revoke(name, lockId, this.#draws.graceMs))
      case 'steal':
        return answer?.kind === 'held' && answer.by !== null ? this.#wire.steal(name, answer.by) : undefined
      case 'nothing':
    }
  }

  async #hold(wanted: readonly Wanted[], ask: Request, granted: readonly Told[]): Promise<void> {
    const random = this.#random
    const { process, ttlMs } = ask
    const names = wanted.map(({ name }) => name)
    const index = random.whole(0, names.length - 1)
    const one: Wanted = wanted[index] ?? { name: '' }
    let lockId = random.chance(0.5) ? (granted[index]?.lockId ?? null) : null
    for (let left = random.whole(0, 3); left > 0; left -= 1) {
      switch (this.#draws.whileHolding) {
        case 'rest':
          await sleep(random.next() * (random.chance(0.2) ? Math.min(1.3 * (ttlMs ?? 200), 800) : 60))
          break
        case 'renew':
          await this.#wire.renew(one.name, process, this.#draws.renewal, lockId)
          break
        case 'renew-all':
          await this.#wire.renewSome(names, process, 'all')
          break
        case 'renew-many':
          await this.#wire.renewSome(names, process, 'many')
          break
        case 'convert':
          if (!isPlain(one.name)) lockId = await this.#convert({ ...one, sharing: this.#draws.sharing(one.name) }, process, lockId)
          break
        case 'look':
          await this.look(one.name)
          break
        case 'again':
          await this.#wire.request([one], { ...ask, waits: false, requestId: null }, 0)
          break
        case 'repeat':
          if (ask.requestId !== null) await this.#wire.request(wanted, ask, 0)
      }
    }
    if (ttlMs !== null && ttlMs <= 1500 && random.chance(0.15)) return
    await this.#letGo(names, process, lockId)
  }

  /** Resolves to the number by which the lock is named from now on. */
  async #convert(wanted: Wanted, process: string, lockId: number | null): Promise<number | null> {
    const [answer] = await this.#wire.convert(wanted, process, lockId)
    return lockId !== null && answer?.kind === 'converted' ? answer.grant.lockId : lockId
  }

  /** Repeats what was not answered; a release that is repeated is told so. */
  async #letGo(names: readonly string[], process: string, lockId: number | null): Promise<void> {
    const [name = ''] = names
    const keepMs = isPlain(name) ? 0 : this.#draws.keepMs
    for (let tries = 1; ; tries += 1) {
      const answers = names.length === 1 ? await this.#wire.release(name, process, lockId, keepMs) : await this.#wire.releaseSome(names, process, this.#random.pick(['many', 'all']))
      const told = answers.length > 0 && answers.every((answer) => answer?.kind !== 'unknown')
      if (told || this.#isTired(tries)) return
      await sleep(this.#random.whole(0, 200))
    }
  }
}

function shuffled<Item>(random: Random, items: readonly Item[]): Item[] {
  return items.map((item) => ({ item, at: random.next() })).toSorted((a, b) => a.at - b.at).map(({ item }) => item)
}
