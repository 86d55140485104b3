import { Random } from '../../support/random.js'
import type { History } from './check.js'
import type { Answer, Ask, Operation } from './operation.js'
import type { Sighting } from './queue-order.js'
import type { Recorded } from './recorded.js'
import { waitsFor, type Flaw, type Lock, type Pending } from './simulated.js'

const RESOURCES = ['a', 'b', 'c']
const CLIENTS = 5
const LOST_ANSWERS = 0.12
const LOST_CALLS = 0.03

/**
 * A service in memory, its clients, and chance between them: calls take effect at some instant before they are answered,
 * and some are never answered. With a flaw, it is wrong in that way now and then.
 */
export class Simulation {
  readonly #random: Random
  readonly #flaw: Flaw | undefined
  readonly #locks = new Map<string, Lock>()
  readonly #used = new Set<string>()
  readonly #operations: Operation[] = []
  readonly #events: Recorded[] = []
  readonly #sightings: Sighting[] = []
  readonly #pending: (Pending | undefined)[] = Array.from({ length: CLIENTS }, () => undefined)
  readonly #retries: (Pending['asks'] | undefined)[] = []
  /** Calls whose clients are gone, and which take effect some time later. */
  readonly #orphans: Pending[] = []
  #number = 0
  #stamp = 0
  #now = 1_000_000
  #names = 0

  constructor(seed: number, flaw?: Flaw) {
    this.#random = new Random(seed)
    this.#flaw = flaw
  }

  run(steps: number): History {
    for (let step = 0; step < steps; step += 1) this.#advance()
    for (const [client, pending] of this.#pending.entries()) if (pending !== undefined) this.#record(client, pending, undefined)
    return { operations: this.#operations, events: this.#events, sightings: this.#sightings }
  }

  #advance(): void {
    this.#now += this.#random.whole(1, 20)
    this.#sight()
    if (this.#random.chance(0.1)) this.#adopt()
    const client = this.#random.whole(0, CLIENTS - 1)
    const pending = this.#pending[client]
    if (pending === undefined) {
      const asks = this.#retries[client] ?? this.#draw()
      this.#retries[client] = undefined
      this.#pending[client] = { asks, called: this.#tick(), calledAt: this.#now, ticket: this.#stamp, answers: undefined }
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
    const waits = ask?.kind === 'request' && ask.waits
    const answers = this.#carryOut(orphan)
    const lock = this.#locks.get(resource ?? '')
    if (!waits || lock === undefined || answers?.[0]?.kind !== 'granted' || answers[0].replayed) return
    lock.ended = true
    this.#tell('released', resource ?? '', lock, this.#now)
  }

  #draw(): Pending['asks'] {
    const resource = this.#random.pick(RESOURCES)
    const holder = this.#locks.get(resource)
    const process = holder !== undefined && this.#random.chance(0.8) ? holder.process : `p${(this.#names += 1)}`
    const lockId = holder !== undefined && this.#random.chance(0.4) ? holder.lockId : null
    switch (this.#random.whole(0, 9)) {
      case 0:
        return [[resource, { kind: 'look' }]]
      case 1:
      case 2:
        return [[resource, { kind: 'renew', process, lockId, ttlMs: this.#random.pick([{}, { ttlMs: 50 }, { ttlMs: 500 }]).ttlMs }]]
      case 3:
      case 4:
        return [[resource, { kind: 'release', process, lockId }]]
      case 5:
        return [[resource, { kind: 'release', process: this.#random.chance(0.5) ? null : `p${(this.#names += 1)}`, lockId }]]
      default:
        return this.#request()
    }
  }

  #request(): Pending['asks'] {
    const names = this.#random.chance(0.2) ? ['a', 'b'] : [this.#random.pick(RESOURCES)]
    const name = `${(this.#names += 1)}`
    const requestId = this.#random.chance(0.7) ? `r${name}` : null
    const waits = names.length === 1 && requestId !== null && this.#random.chance(0.4)
    const ask = { kind: 'request' as const, process: `p${name}`, ttlMs: this.#random.pick([null, 60, 300]), waits, requestId }
    return names.map((resource) => [resource, names.length > 1 ? { ...ask, together: name } : ask])
  }

  /** Undefined while it has to wait in line. */
  #carryOut({ asks, calledAt, ticket }: Pending): Answer[] | undefined {
    const requests = asks.flatMap(([, ask]) => (ask.kind === 'request' ? [ask] : []))
    const [first] = requests
    if (first === undefined) return asks.map(([resource, ask]) => this.#answer(resource, ask))
    const names = asks.map(([resource]) => resource)
    const repetition = this.#repetition(names, first.requestId)
    if (repetition !== undefined) return repetition
    const inTheWay = names.map((name) => this.#valid(name))
    const ahead = names.flatMap((name) => this.#line(name)).filter((other) => other < ticket)
    const blocked = inTheWay.some((lock) => lock !== undefined) && !this.#goesWrong('grants over a valid lock')
    if (blocked || (ahead.length > 0 && !this.#goesWrong('serves the last in line first'))) {
      return first.waits ? undefined : inTheWay.map((lock) => ({ kind: 'held', by: lock === undefined ? null : { ...lock } }))
    }
    if (first.requestId !== null) this.#used.add(first.requestId)
    const granted = names.map((name): Answer => ({ kind: 'granted', grant: this.#grant(name, first, calledAt), replayed: false }))
    if (this.#goesWrong('grants a part') && names.length > 1) this.#forget(names[1] ?? '')
    return granted
  }

  #repetition(names: readonly string[], requestId: string | null): Answer[] | undefined {
    if (requestId === null || !this.#used.has(requestId) || this.#goesWrong('grants a repetition once more')) return undefined
    const locks = names.map((name) => this.#valid(name))
    return locks.map((lock) => (lock !== undefined && locks.every((other) => other?.requestId === requestId) ? { kind: 'granted', grant: { ...lock }, replayed: true } : { kind: 'reused' }))
  }

  #grant(resource: string, { process, requestId, ttlMs }: Extract<Ask, { kind: 'request' }>, calledAt: number): Lock {
    this.#number += this.#goesWrong('draws numbers that do not grow') ? -1 : 1
    const lockedAt = this.#goesWrong('counts a lease from the call') ? calledAt - 30 : this.#now
    const before = this.#locks.get(resource)
    if (before !== undefined && !before.ended && before.expiresAt !== null && before.expiresAt <= this.#now) this.#tell('expired', resource, before, before.expiresAt)
    const lock: Lock = { process, requestId, lockId: this.#number, lockedAt, ttlMs, expiresAt: ttlMs === null ? null : lockedAt + ttlMs, ended: false }
    this.#locks.set(resource, lock)
    if (!this.#goesWrong('leaves no trace')) this.#tell('granted', resource, lock, lockedAt)
    const answer = { ...lock }
    if (this.#goesWrong('forgets an acknowledged grant')) this.#forget(resource)
    return answer
  }

  /** As if the transaction had never been committed. */
  #forget(resource: string): void {
    this.#locks.delete(resource)
    const index = this.#events.findLastIndex((event) => event.resource === resource && event.kind === 'granted')
    if (index !== -1) this.#events.splice(index, 1)
  }

  #answer(resource: string, ask: Ask): Answer {
    const latest = this.#locks.get(resource)
    const valid = this.#valid(resource) ?? (latest?.ended === false && this.#goesWrong('reports an ended lock') && ask.kind === 'look' ? latest : undefined)
    if (ask.kind === 'look') return valid === undefined ? { kind: 'free' } : { kind: 'held', by: { ...valid } }
    if (ask.kind === 'request' || ask.kind === 'give-back') throw new Error('answered elsewhere')
    const lock = valid ?? (ask.kind === 'renew' && latest?.ended === false && this.#goesWrong('renews after the end') ? latest : undefined)
    const own = lock !== undefined && (ask.process === null || lock.process === ask.process || this.#goesWrong('releases for anybody'))
    if (!own || (ask.lockId !== null && ask.lockId !== lock.lockId)) return this.#refuse(latest, valid, ask)
    if (ask.kind === 'renew') {
      const ttlMs = ask.ttlMs === undefined ? lock.ttlMs : ask.ttlMs
      lock.expiresAt = ttlMs === null ? null : this.#now + ttlMs
      return { kind: 'renewed', grant: { ...lock }, at: this.#now }
    }
    if (!this.#goesWrong('forgets an acknowledged release')) {
      lock.ended = true
      this.#tell(ask.process === null ? 'force_released' : 'released', resource, lock, this.#now)
    }
    return { kind: 'released', at: this.#now, process: ask.process ?? lock.process, lockId: this.#random.chance(0.5) ? lock.lockId : null }
  }

  #refuse(latest: Lock | undefined, valid: Lock | undefined, { process, lockId }: { process: string | null; lockId: number | null }): Answer {
    if (process === null && valid !== undefined && lockId !== valid.lockId) return { kind: 'changed' }
    if (latest === undefined) return { kind: 'not-held', reason: 'not_locked' }
    if (valid !== undefined) return { kind: 'not-held', reason: 'held_by_other' }
    if (process !== null && latest.process !== process) return { kind: 'not-held', reason: 'not_locked' }
    return { kind: 'not-held', reason: latest.ended ? 'released' : 'expired' }
  }

  #valid(resource: string): Lock | undefined {
    const lock = this.#locks.get(resource)
    return lock === undefined || lock.ended || (lock.expiresAt !== null && lock.expiresAt <= this.#now) ? undefined : lock
  }

  #line(resource: string): number[] {
    return this.#pending.flatMap((pending) => (pending !== undefined && waitsFor(pending, resource) && pending.answers === undefined ? [pending.ticket] : []))
  }

  #sight(): void {
    for (const pending of this.#pending) {
      const [[resource, ask] = []] = pending?.asks ?? []
      if (pending === undefined || pending.answers !== undefined || ask?.kind !== 'request' || !ask.waits) continue
      const place = { ticket: String(pending.ticket), process: ask.process, from: this.#now, to: this.#now, until: Number.POSITIVE_INFINITY }
      this.#sightings.push({ resource: resource ?? '', ...place })
    }
  }

  #record(client: number, { asks, called, calledAt }: Pending, answers: readonly Answer[] | undefined): void {
    this.#pending[client] = undefined
    const answered = answers === undefined ? Number.POSITIVE_INFINITY : this.#tick()
    for (const [index, [resource, ask]] of asks.entries()) {
      const answer = answers?.[index] ?? { kind: 'unknown' }
      this.#operations.push({ id: this.#operations.length, resource, ask, answer, called, answered, calledAt, answeredAt: answers === undefined ? Number.POSITIVE_INFINITY : this.#now })
    }
    if (answers === undefined && this.#random.chance(0.7)) this.#retries[client] = asks
  }

  #tell(kind: Recorded['kind'], resource: string, { process, lockId }: Lock, at: number): void {
    this.#events.push({ eventId: this.#tick(), kind, at, resource, lockId, process })
  }

  #goesWrong(flaw: Flaw): boolean {
    return this.#flaw === flaw && this.#random.chance(0.5)
  }

  #tick(): number {
    return (this.#stamp += 1)
  }
}
