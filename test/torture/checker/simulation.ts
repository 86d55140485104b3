import { Random } from '../../support/random.js'
import type { History } from './check.js'
import type { Answer, Ask, Operation } from './operation.js'
import type { Sighting } from './queue-order.js'
import type { Recorded } from './recorded.js'
import { SimulatedService, type Flaw } from './simulated.js'

const RESOURCES = ['a', 'b', 'c']
const CLIENTS = 5
const LOST_ANSWERS = 0.12
const LOST_CALLS = 0.03

const SHARINGS = [null, null, { limit: null, permits: 1 }, { limit: null, permits: 1 }, { limit: 3, permits: 1 }, { limit: 3, permits: 2 }, { limit: 2, permits: 1 }, { limit: 1, permits: 1 }]
const TERMS = [{ holdAtLeastMs: 40, lockDelayMs: 0 }, { holdAtLeastMs: 0, lockDelayMs: 50 }, { holdAtLeastMs: 30, lockDelayMs: 30 }]

/** A call that was made and not answered yet. */
interface Pending {
  readonly asks: readonly (readonly [resource: string, ask: Ask])[]
  readonly called: number
  readonly calledAt: number
  readonly ticket: number
  answers: Answer[] | undefined
}

/**
 * A service in memory, its clients, and chance between them: calls take effect at some instant before they are answered,
 * and some are never answered. With a flaw, it is wrong in that way now and then.
 */
export class Simulation {
  readonly #random: Random
  readonly #service: SimulatedService
  readonly #operations: Operation[] = []
  readonly #events: Recorded[] = []
  readonly #sightings: Sighting[] = []
  readonly #pending: (Pending | undefined)[] = Array.from({ length: CLIENTS }, () => undefined)
  readonly #retries: (Pending['asks'] | undefined)[] = []
  /** Calls whose clients are gone, and which take effect some time later. */
  readonly #orphans: Pending[] = []
  #stamp = 0
  #names = 0

  constructor(seed: number, flaw?: Flaw) {
    this.#random = new Random(seed)
    this.#service = new SimulatedService(this.#random, flaw, (event) => this.#events.push({ eventId: this.#tick(), ...event }))
  }

  run(steps: number): History {
    for (let step = 0; step < steps; step += 1) this.#advance()
    for (const [client, pending] of this.#pending.entries()) if (pending !== undefined) this.#record(client, pending, undefined)
    return { operations: this.#operations, events: this.#events, sightings: this.#sightings }
  }

  #advance(): void {
    this.#service.now += this.#random.whole(1, 20)
    this.#sight()
    if (this.#random.chance(0.1)) this.#adopt()
    const client = this.#random.whole(0, CLIENTS - 1)
    const pending = this.#pending[client]
    if (pending === undefined) {
      const asks = this.#retries[client] ?? this.#draw()
      this.#retries[client] = undefined
      this.#pending[client] = { asks, called: this.#tick(), calledAt: this.#service.now, ticket: this.#stamp, answers: undefined }
    } else if (pending.answers === undefined && this.#random.chance(LOST_CALLS)) {
      this.#orphans.push(pending)
      this.#record(client, pending, undefined)
    } else if (pending.answers === undefined) {
      pending.answers = this.#carryOut(pending)
      if (pending.answers === undefined && this.#random.chance(0.1)) this.#record(client, pending, undefined)
    } else this.#record(client, pending, this.#random.chance(LOST_ANSWERS) ? undefined : pending.answers)
  }

  /** An orphan takes effect; a waiter's grant is then given back, unless a repetition of it was answered. */
  #adopt(): void {
    const orphan = this.#orphans.shift()
    if (orphan === undefined) return
    const [[resource, ask] = []] = orphan.asks
    const answers = this.#carryOut(orphan)
    if (resource !== undefined && ask?.kind === 'request' && ask.waits && answers?.[0]?.kind === 'granted' && !answers[0].replayed) this.#service.giveBack(resource, ask.process)
  }

  #draw(): Pending['asks'] {
    const random = this.#random
    const resource = random.pick(RESOURCES)
    const holders = this.#service.taking(resource)
    const holder = holders.length > 0 ? random.pick(holders) : undefined
    const process = holder !== undefined && random.chance(0.8) ? holder.process : `p${(this.#names += 1)}`
    const lockId = holder !== undefined && random.chance(0.4) ? holder.lockId : null
    switch (random.whole(0, 13)) {
      case 0:
        return [[resource, { kind: 'look' }]]
      case 1:
      case 2:
        return [[resource, { kind: 'renew', process, lockId, ttlMs: random.pick([{}, { ttlMs: 50 }, { ttlMs: 500 }]).ttlMs }]]
      case 3:
      case 4:
        return [[resource, { kind: 'release', process, lockId, keepMs: random.pick([0, 0, 40]) }]]
      case 5:
        return [[resource, { kind: 'release', process: random.chance(0.5) ? null : `p${(this.#names += 1)}`, lockId, freesAtOnce: random.chance(0.3) }]]
      case 6:
        return [[resource, { kind: 'convert', process, lockId, sharing: random.chance(0.4) ? null : drawn(random) }]]
      case 7:
        return [[resource, { kind: 'revoke', process: null, lockId, graceMs: random.pick([0, 30, 200]) }]]
      default:
        return this.#request()
    }
  }

  #request(): Pending['asks'] {
    const random = this.#random
    const names = random.chance(0.2) ? ['a', 'b'] : [random.pick(RESOURCES)]
    const name = `${(this.#names += 1)}`
    const requestId = random.chance(0.7) ? `r${name}` : null
    const waits = names.length === 1 && requestId !== null && random.chance(0.4)
    const terms = random.chance(0.3) ? { terms: random.pick(TERMS) } : {}
    const ask = { kind: 'request' as const, process: `p${name}`, ttlMs: random.chance(0.2) ? null : random.pick([60, 300]), waits, requestId, ...terms }
    return names.map((resource) => [resource, { ...ask, sharing: drawn(random), ...(names.length > 1 ? { together: name } : {}) }])
  }

  /** Undefined while it has to wait in line. */
  #carryOut({ asks, calledAt, ticket }: Pending): Answer[] | undefined {
    const service = this.#service
    const requests = asks.flatMap(([name, ask]) => (ask.kind === 'request' ? [{ name, ask }] : []))
    const [first] = requests
    if (first === undefined) return asks.map(([resource, ask]) => service.answer(resource, ask))
    const repetition = service.repetition(requests.map(({ name }) => name), first.ask.requestId)
    if (repetition !== undefined) return repetition
    const inTheWay = requests.filter(({ name, ask }) => !service.admits(name, ask.process, ask.sharing ?? null))
    const ahead = requests.flatMap(({ name, ask }) => this.#line(name, ask.sharing?.limit === null)).filter((other) => other < ticket)
    const isBlocked = inTheWay.length > 0 && !service.isWrong('grants over a valid lock')
    if (isBlocked || (ahead.length > 0 && !service.isWrong('serves the last in line first'))) {
      if (first.ask.waits) return undefined
      return requests.map((one): Answer => (inTheWay.includes(one) ? service.refuse(one.name, one.ask) : { kind: 'held', by: null }))
    }
    const granted = requests.map(({ name, ask }) => service.grant(name, ask, calledAt))
    if (granted.length > 1 && service.isWrong('grants a part')) this.#forget('b')
    return granted
  }

  /** As if the grant had never been committed. */
  #forget(resource: string): void {
    this.#service.forget(resource)
    const index = this.#events.findLastIndex((event) => event.resource === resource && event.kind === 'granted')
    if (index !== -1) this.#events.splice(index, 1)
  }

  /** The tickets of those who wait. @param isUnlimited leaves out those whom a share without a limit may pass. */
  #line(resource: string, isUnlimited: boolean): number[] {
    return this.#pending.flatMap((pending) => {
      const [[name, ask] = []] = pending?.asks ?? []
      if (pending === undefined || pending.answers !== undefined || name !== resource || ask?.kind !== 'request' || !ask.waits) return []
      return isUnlimited && ask.sharing?.limit === null ? [] : [pending.ticket]
    })
  }

  #sight(): void {
    for (const pending of this.#pending) {
      const [[resource, ask] = []] = pending?.asks ?? []
      if (pending === undefined || pending.answers !== undefined || ask?.kind !== 'request' || !ask.waits) continue
      const place = { ticket: String(pending.ticket), process: ask.process, from: this.#service.now, to: this.#service.now, until: Number.POSITIVE_INFINITY, isUnlimited: ask.sharing?.limit === null }
      this.#sightings.push({ resource: resource ?? '', ...place })
    }
  }

  #record(client: number, { asks, called, calledAt }: Pending, answers: readonly Answer[] | undefined): void {
    this.#pending[client] = undefined
    const answered = answers === undefined ? Number.POSITIVE_INFINITY : this.#tick()
    for (const [index, [resource, ask]] of asks.entries()) {
      const answer = answers?.[index] ?? { kind: 'unknown' }
      this.#operations.push({ id: this.#operations.length, resource, ask, answer, called, answered, calledAt, answeredAt: answers === undefined ? Number.POSITIVE_INFINITY : this.#service.now })
    }
    if (answers === undefined && this.#random.chance(0.7)) this.#retries[client] = asks
  }

  #tick(): number {
    return (this.#stamp += 1)
  }
}

function drawn(random: Random): (typeof SHARINGS)[number] {
  const index = random.whole(0, SHARINGS.length - 1)
  return SHARINGS[index] ?? null
}
