import type { NotHeldReason, Sharing, Terms } from '../../../src/locks/lock.js'
import type { Random } from '../../support/random.js'
import type { Answer, Ask, Holder, Told, UsageTold } from './operation.js'
import type { Recorded } from './recorded.js'

/** A way in which the simulated service is wrong. */
export type Flaw =
  | 'grants over a valid lock'
  | 'draws numbers that do not grow'
  | 'forgets an acknowledged grant'
  | 'forgets an acknowledged release'
  | 'releases for anybody'
  | 'renews after the end'
  | 'grants a repetition once more'
  | 'counts a lease from the call'
  | 'reports an ended lock'
  | 'grants a part'
  | 'serves the last in line first'
  | 'leaves no trace'
  | 'forgets the limits of the holders'
  | 'counts a heavy grant as one'
  | 'gives a slot twice'
  | 'keeps the permits of ended shares'
  | 'names too few holders'
  | 'upgrades beside others'
  | 'upgrades with the same number'
  | 'downgrades with a new number'
  | 'frees at once what is to be kept'
  | 'forgets a lock delay'
  | 'renews past a revocation'

interface Lock {
  readonly process: string
  readonly requestId: string | null
  readonly lockId: number
  readonly lockedAt: number
  readonly ttlMs: number | null
  readonly sharing: Sharing | null
  readonly slots: readonly number[]
  readonly terms: Terms
  /** The end of the lease. */
  expiresAt: number | null
  revokeAt: number
  ended: boolean
  /** Its lease ended before it was taken away. */
  expired: boolean
  /** Of one that has ended: until when the resource is kept. */
  freeAt: number
  told: boolean
}

type AskOf<Kind extends Ask['kind']> = Extract<Ask, { kind: Kind }>

const NEVER = Number.POSITIVE_INFINITY
const limitOf = (sharing: Sharing | null): number => (sharing === null ? 1 : (sharing.limit ?? NEVER))
const permitsOf = (sharing: Sharing | null): number => sharing?.permits ?? 1
const reasonOf = ({ ended, expired }: Lock): NotHeldReason => (ended && !expired ? 'released' : 'expired')
const endOf = ({ expiresAt }: Lock): number => expiresAt ?? NEVER
const takenUntil = (lock: Lock): number => (lock.ended ? lock.freeAt : endOf(lock) + lock.terms.lockDelayMs)

/** A service in memory that does one thing after another. With a flaw, it is wrong in that way now and then. */
export class SimulatedService {
  now = 1_000_000
  readonly #random: Random
  readonly #flaw: Flaw | undefined
  readonly #tell: (event: Omit<Recorded, 'eventId'>) => void
  readonly #locks = new Map<string, Lock[]>()
  readonly #used = new Set<string>()
  #number = 0

  constructor(random: Random, flaw: Flaw | undefined, tell: (event: Omit<Recorded, 'eventId'>) => void) {
    this.#random = random
    this.#flaw = flaw
    this.#tell = tell
  }

  /** The locks that are held, or after which the resource is kept. */
  taking(resource: string): Lock[] {
    return this.#of(resource).filter((lock) => takenUntil(lock) > this.now)
  }

  isWrong(flaw: Flaw): boolean {
    return this.#flaw === flaw && this.#random.chance(0.5)
  }

  /** What a repeated request is answered; undefined where there was none before. */
  repetition(names: readonly string[], requestId: string | null): Answer[] | undefined {
    if (requestId === null || !this.#used.has(requestId) || this.isWrong('grants a repetition once more')) return undefined
    const locks = names.map((name) => this.#of(name).find((lock) => lock.requestId === requestId && this.#isHeld(lock)))
    return locks.map((lock) => (lock !== undefined && !locks.includes(undefined) ? { kind: 'granted', grant: toldOf(lock), replayed: true } : { kind: 'reused' }))
  }

  /** Whether the holders admit a request. */
  admits(resource: string, process: string, sharing: Sharing | null): boolean {
    const taking = this.isWrong('forgets a lock delay') ? this.taking(resource).filter((lock) => lock.ended || this.#isHeld(lock)) : this.taking(resource)
    const others = this.isWrong('keeps the permits of ended shares') ? this.#of(resource) : taking
    return !others.some((lock) => lock.process === process) && this.#fits(sharing, others)
  }

  /** Answers a request that is refused. */
  refuse(resource: string, { process, sharing = null }: AskOf<'request' | 'convert'>, others = this.taking(resource)): Answer {
    const named = others.find((lock) => lock.process === process) ?? blockerOf(sharing, others) ?? this.#of(resource).at(-1)
    return { kind: 'held', by: named === undefined || others.length === 0 ? null : this.#holder(named, takenUntil(named)), ...(named?.sharing ? { usage: usageOf(this.taking(resource)) } : {}) }
  }

  grant(resource: string, { process, requestId, ttlMs, sharing = null, terms = { holdAtLeastMs: 0, lockDelayMs: 0 } }: AskOf<'request'>, calledAt: number): Answer {
    if (requestId !== null) this.#used.add(requestId)
    const lockedAt = this.isWrong('counts a lease from the call') ? calledAt - 30 : this.now
    const expiresAt = ttlMs === null ? null : lockedAt + ttlMs
    const lock = this.#add(resource, { process, requestId, ttlMs, sharing, terms, lockedAt, expiresAt, revokeAt: NEVER })
    const grant = toldOf(lock)
    if (this.isWrong('forgets an acknowledged grant')) this.#locks.set(resource, this.#of(resource).filter((one) => one !== lock))
    return { kind: 'granted', grant, replayed: false }
  }

  /** As if a grant had never been committed. */
  forget(resource: string): void {
    this.#of(resource).pop()
  }

  /** Gives back what a caller that is gone was granted. */
  giveBack(resource: string, process: string): void {
    const lock = this.#of(resource).findLast((one) => one.process === process)
    if (lock !== undefined) this.#end(resource, lock, 'released', 0)
  }

  answer(resource: string, ask: Ask): Answer {
    switch (ask.kind) {
      case 'look':
        return this.#look(resource)
      case 'renew':
        return this.#renew(resource, ask)
      case 'release':
        return ask.process === null ? this.#takeAway(resource, ask) : this.#release(resource, ask)
      case 'convert':
        return this.#convert(resource, ask)
      case 'revoke':
        return this.#revoke(resource, ask)
      case 'request':
      case 'give-back':
        throw new Error('answered elsewhere')
    }
  }

  #of(resource: string): Lock[] {
    const locks = this.#locks.get(resource) ?? []
    this.#locks.set(resource, locks)
    return locks
  }

  #isHeld(lock: Lock): boolean {
    return !lock.ended && endOf(lock) > this.now
  }

  #holder(lock: Lock, end: number): Holder {
    return { process: lock.process, lockId: lock.lockId, expiresAt: end === NEVER ? null : end, ...(this.#isHeld(lock) ? {} : { kept: true }) }
  }

  #fits(sharing: Sharing | null, others: readonly Lock[]): boolean {
    if (sharing === null) return others.length === 0
    const limits = this.isWrong('forgets the limits of the holders') ? [] : others.map((lock) => limitOf(lock.sharing))
    const weighs = this.isWrong('counts a heavy grant as one') ? () => 1 : permitsOf
    return others.reduce((sum, lock) => sum + weighs(lock.sharing), weighs(sharing)) <= Math.min(limitOf(sharing), ...limits)
  }

  #add(resource: string, asked: Omit<Lock, 'lockId' | 'slots' | 'ended' | 'expired' | 'freeAt' | 'told'>, lockId = (this.#number += this.isWrong('draws numbers that do not grow') ? -1 : 1)): Lock {
    const taken = this.isWrong('gives a slot twice') ? [] : this.taking(resource).flatMap(({ slots }) => slots)
    const free = Array.from({ length: 20 }, (_, index) => index + 1).filter((slot) => !taken.includes(slot))
    const slots = asked.sharing === null || asked.sharing.limit === null ? [] : free.slice(0, asked.sharing.permits)
    for (const one of this.#of(resource)) {
      if (!one.told && !one.ended && endOf(one) <= this.now) this.#say('expired', resource, one, endOf(one))
    }
    const lock = { ...asked, lockId, slots, ended: false, expired: false, freeAt: 0, told: false }
this.#locks.set(resource, [...this.#of(resource).filter((one) => asked.sharing !== null || takenUntil(one) > this.now), lock])
    if (!this.isWrong('leaves no trace')) this.#say('granted', resource, lock, asked.lockedAt)
    return lock
  }

  #say(kind: Recorded['kind'], resource: string, lock: Lock, at = this.now, reason: string | null = null): void {
    if (kind === 'expired' || kind === 'released' || kind === 'force_released') lock.told = true
    this.#tell({ kind, at, resource, lockId: lock.lockId, process: lock.process, reason })
  }

  #end(resource: string, lock: Lock, kind: 'released' | 'force_released', keptUntil: number): number | null {
    lock.freeAt = this.#isHeld(lock) && !this.isWrong(kind === 'released' ? 'frees at once what is to be kept' : 'forgets a lock delay') ? Math.max(keptUntil, this.now) : this.now
    const isKept = lock.freeAt > this.now
    lock.expired ||= !lock.ended && !this.#isHeld(lock)
    lock.ended = true
    if (lock.expired && !lock.told) this.#say('expired', resource, lock, endOf(lock))
    this.#say(kind, resource, lock)
    return isKept ? lock.freeAt : null
  }

  #look(resource: string): Answer {
    const taking = this.taking(resource)
    const held = this.isWrong('reports an ended lock') ? this.#of(resource).filter(({ ended }) => !ended) : taking.filter((lock) => this.#isHeld(lock))
    if (this.isWrong('names too few holders') && held.length > 1) held.pop()
    const last = held.toSorted((a, b) => endOf(b) - endOf(a))[0]
    const kept = taking.toSorted((a, b) => takenUntil(b) - takenUntil(a))[0]
    if (last === undefined) return kept === undefined ? { kind: 'free' } : { kind: 'held', by: this.#holder(kept, takenUntil(kept)) }
    const by = { process: last.process, lockId: last.lockId, expiresAt: last.expiresAt }
    return last.sharing === null ? { kind: 'held', by } : { kind: 'held', by, all: held.map(toldOf), usage: { ...usageOf(taking), holders: held.length } }
  }

  /** The lock that a command of that process means. */
  #meant(resource: string, { process, lockId }: AskOf<'renew' | 'release' | 'convert'>): Lock | undefined {
    const lock = this.#of(resource).findLast((one) => one.process === process || (this.#isHeld(one) && this.isWrong('releases for anybody')))
    return lock !== undefined && (lockId === null || lock.lockId === lockId) ? lock : undefined
  }

  #renew(resource: string, ask: AskOf<'renew'>): Answer {
    const lock = this.#meant(resource, ask)
    if (lock === undefined || lock.ended || !(this.#isHeld(lock) || (!lock.told && this.isWrong('renews after the end')))) return this.#notHeld(resource, ask.process)
    const end = this.now + ((ask.ttlMs === undefined ? lock.ttlMs : ask.ttlMs) ?? NEVER)
    const drawn = this.isWrong('renews past a revocation') ? end : Math.min(end, lock.revokeAt)
    lock.expiresAt = drawn === NEVER ? null : drawn
    return { kind: 'renewed', grant: toldOf(lock), at: this.now, revokedAt: lock.revokeAt === NEVER ? null : lock.revokeAt }
  }

  #release(resource: string, ask: AskOf<'release'>): Answer {
    const lock = this.#meant(resource, ask)
    if (lock === undefined || !this.#isHeld(lock)) return this.#notHeld(resource, ask.process ?? '')
    const { holdAtLeastMs } = lock.terms
    const freeAt = this.isWrong('forgets an acknowledged release') ? null : this.#end(resource, lock, 'released', Math.max(this.now + (ask.keepMs ?? 0), holdAtLeastMs === 0 ? 0 : lock.lockedAt + holdAtLeastMs))
    return { kind: 'released', at: this.now, process: ask.process ?? '', lockId: this.#random.chance(0.5) ? lock.lockId : null, freeAt }
  }

  #takeAway(resource: string, { lockId, freesAtOnce = false }: AskOf<'release'>): Answer {
    const taking = this.taking(resource)
    const meant = taking.filter((lock) => lockId === null || lock.lockId === lockId)
    const [first] = meant
    if (first === undefined) return taking.length > 0 ? { kind: 'changed' } : this.#notHeld(resource, null)
    const kept = meant.map((lock) => this.#end(resource, lock, 'force_released', freesAtOnce ? 0 : this.now + lock.terms.lockDelayMs)).filter((until) => until !== null)
    const all = first.sharing === null ? {} : { all: meant.map(toldOf) }
    return { kind: 'released', at: this.now, process: first.process, lockId: first.lockId, freeAt: kept.length === 0 ? null : Math.max(...kept), ...all }
  }

  #convert(resource: string, ask: AskOf<'convert'>): Answer {
    const lock = this.#meant(resource, ask)
    if (lock === undefined || !this.#isHeld(lock)) return this.#notHeld(resource, ask.process)
    const { sharing } = ask
    if (limitOf(lock.sharing) === limitOf(sharing) && permitsOf(lock.sharing) === permitsOf(sharing) && (lock.sharing === null) === (sharing === null)) return { kind: 'converted', grant: toldOf(lock) }
    const others = this.taking(resource).filter((other) => other !== lock)
    if (!this.#fits(sharing, others) && !this.isWrong('upgrades beside others')) return this.refuse(resource, { ...ask, process: '' }, others)
    const { process, requestId, ttlMs, terms, expiresAt, revokeAt, lockedAt } = lock
    const asked = { process, requestId, ttlMs, sharing, terms, expiresAt, revokeAt }
    this.#locks.set(resource, this.#of(resource).filter((other) => other !== lock))
    if (lock.sharing === null && !this.isWrong('downgrades with a new number')) {
      this.#say('converted', resource, lock)
      const slots = sharing === null || sharing.limit === null ? [] : Array.from({ length: sharing.permits }, (_, index) => index + 1)
      const share = { ...lock, sharing, slots }
      this.#of(resource).push(share)
      return { kind: 'converted', grant: toldOf({ ...share, lockedAt }) }
    }
    this.#say('released', resource, lock, this.now, 'converted')
    return { kind: 'converted', grant: toldOf(this.#add(resource, { ...asked, requestId: null, lockedAt: this.now }, this.isWrong('upgrades with the same number') ? lock.lockId : undefined)) }
  }

  #revoke(resource: string, { lockId, graceMs }: AskOf<'revoke'>): Answer {
    const meant = this.taking(resource).filter((lock) => this.#isHeld(lock) && (lockId === null || lock.lockId === lockId))
    if (meant.length === 0) return this.taking(resource).length > 0 ? { kind: 'changed' } : this.#notHeld(resource, null)
    for (const lock of meant) {
      lock.revokeAt = Math.min(lock.revokeAt, this.now + graceMs)
      lock.expiresAt = Math.min(endOf(lock), lock.revokeAt)
      this.#say('revoked', resource, lock)
    }
    const last = meant.reduce((one, other) => (endOf(other) > endOf(one) ? other : one))
    return { kind: 'revoked', all: meant.map(toldOf), lockId: last.lockId, revokeAt: last.revokeAt }
  }

  #notHeld(resource: string, process: string | null): Answer {
    const own = this.#of(resource).findLast((lock) => lock.process === process)
    const last = process === null ? this.#of(resource).at(-1) : undefined
    if (own !== undefined && !this.#isHeld(own)) return { kind: 'not-held', reason: reasonOf(own) }
    if (this.taking(resource).length > 0) return { kind: 'not-held', reason: 'held_by_other' }
    return { kind: 'not-held', reason: last === undefined ? 'not_locked' : reasonOf(last) }
  }
}

function toldOf({ process, lockId, lockedAt, expiresAt, sharing, slots }: Lock): Told {
  return { process, lockId, lockedAt, expiresAt, sharing, slots }
}

function usageOf(locks: readonly Lock[]): UsageTold {
  const limit = Math.min(...locks.map(({ sharing }) => limitOf(sharing)))
  return { holders: locks.length, used: locks.reduce((sum, { sharing }) => sum + permitsOf(sharing), 0), limit: limit === NEVER ? null : limit }
}

/** The one whose end makes the grant possible, or the last to end. */
function blockerOf(sharing: Sharing | null, locks: readonly Lock[]): Lock | undefined {
  const byEnd = locks.toSorted((a, b) => takenUntil(a) - takenUntil(b))
  if (sharing === null) return byEnd.at(-1)
  return byEnd.find((_, index) => {
    const left = byEnd.slice(index + 1)
    return left.reduce((sum, lock) => sum + permitsOf(lock.sharing), permitsOf(sharing)) <= Math.min(limitOf(sharing), ...left.map((lock) => limitOf(lock.sharing)))
  }) ?? byEnd.at(-1)
}
