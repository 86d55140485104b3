import type { AcquireCommand, AcquireOutcome, Conflict, ConvertCommand, ConvertOutcome, InspectOutcome, ReleaseCommand, ReleaseOutcome, RenewCommand, RenewOutcome, RevokeCommand, RevokeOutcome } from '../../src/locks/commands.js'
import type { EpochMs, Grant, Sharing } from '../../src/locks/lock.js'

interface Held {
  readonly process: string
  lockId: number
  lockedAt: EpochMs
  /** The end of the lease; null never comes. */
  heldUntil: EpochMs | null
  /** Until when it takes its permits: the end of the lease and of its delay, or of what is kept. */
  expiresAt: EpochMs | null
  released: boolean
  revokeAt: number
  readonly terms: { readonly holdAtLeastMs: number; readonly lockDelayMs: number }
  readonly ttlMs: number | null
  sharing: Sharing | null
  slots: readonly number[]
}

interface Waiter {
  readonly ticket: number
  readonly process: string
  readonly sharing: Sharing | null
}

/** One resource: who holds it, who waits, and the largest numbers so far. */
class Resource {
  held: Held[] = []
  queue: Waiter[] = []
  last = 0
  readonly lastOfSlot = new Map<number, number>()
}

const endOf = ({ expiresAt }: Held): number => expiresAt ?? Infinity
const NO_TERMS = { holdAtLeastMs: 0, lockDelayMs: 0 }
const isValid = ({ released, heldUntil }: Held, now: EpochMs): boolean => !released && (heldUntil ?? Infinity) > now
const limitOf = (sharing: Sharing | null): number => (sharing === null ? 1 : (sharing.limit ?? Infinity))
const permitsOf = (sharing: Sharing | null): number => sharing?.permits ?? 1

/**
 * The one rule for shares, permits and exclusive grants over plain lists, for commands one after the other. It takes the numbers of
 * new grants from the answers, and checks that they grow, for the resource and for each slot.
 */
export class SharesModel {
  now: EpochMs
  readonly #resources = new Map<string, Resource>()

  constructor(now: EpochMs) {
    this.now = now
  }

  /** The processes that hold it; those before whom it is only kept do not. */
  valid(name: string): readonly Held[] {
    return this.holders(name).filter((held) => isValid(held, this.now))
  }

  /** Those whose permits are taken. */
  holders(name: string): readonly Held[] {
    const resource = this.#of(name)
    resource.held = resource.held.filter((held) => endOf(held) > this.now)
    return resource.held
  }

  queueUp(name: string, waiter: Waiter): void {
    this.#of(name).queue.push(waiter)
  }

  leave(ticket: number): void {
    for (const resource of this.#resources.values()) resource.queue = resource.queue.filter((waiter) => waiter.ticket !== ticket)
  }

  faultOfAcquire(command: AcquireCommand, outcome: AcquireOutcome): string | undefined {
    const { processId, ticket, resourceNames, sharing = [] } = command
    const refusals = resourceNames.flatMap((name, index) => this.#refusal(name, processId, sharing[index] ?? null, ticket) ?? [])
    if (refusals.length > 0) {
      if (outcome.kind !== 'held') return `expected it to be refused, for ${JSON.stringify(refusals[0])}`
      return refusals.map((refusal) => faultOfConflict(refusal, outcome.conflicts.find(({ resourceName }) => resourceName === refusal.name))).find((fault) => fault !== undefined)
    }
    if (outcome.kind !== 'granted') return 'expected a grant'
    if (ticket !== null) this.leave(ticket)
    return resourceNames.map((name, index) => this.#faultOfGrant(name, command, sharing[index] ?? null, outcome.grants[index])).find((fault) => fault !== undefined)
  }

  faultOfRelease({ resourceName, processId, lockId, keepMs = 0, freesAtOnce = false }: ReleaseCommand, outcome: ReleaseOutcome): string | undefined {
    const among = processId === null ? this.holders(resourceName) : this.valid(resourceName)
    const meant = among.filter((held) => (processId ?? held.process) === held.process && (lockId ?? held.lockId) === held.lockId)
    if (meant.length === 0) return outcome.kind === 'not-held' ? undefined : 'expected nothing to be released'
    if (outcome.kind !== 'released') return 'expected it to be released'
    const released = (outcome.all ?? [outcome.grant]).map((grant) => grant.lockId)
    const expected = meant.map((held) => held.lockId).toSorted((a, b) => a - b)
    let freeAt = 0
    for (const held of meant) {
      const { terms, lockedAt } = held
      const until = processId === null ? this.now + terms.lockDelayMs : Math.max(this.now + keepMs, lockedAt + terms.holdAtLeastMs)
      held.expiresAt = isValid(held, this.now) && !freesAtOnce ? until : this.now
      held.released = true
      if (held.expiresAt > this.now) freeAt = Math.max(freeAt, until)
    }
    if ((outcome.freeAt ?? 0) !== freeAt) return `expected it to be kept until ${freeAt}`
    return JSON.stringify(released) === JSON.stringify(expected) ? undefined : `expected ${expected.join()} to be released`
  }

  faultOfRenew({ resourceName, processId, lockId, ttlMs }: RenewCommand, outcome: RenewOutcome): string | undefined {
    const held = this.valid(resourceName).find(({ process }) => process === processId)
    if (held === undefined || (lockId ?? held.lockId) !== held.lockId) return outcome.kind === 'not-held' ? undefined : 'expected nothing to be renewed'
    if (outcome.kind !== 'renewed') return 'expected it to be renewed'
    const lease = ttlMs === undefined ? held.ttlMs : ttlMs
    this.#endsAt(held, Math.min(held.revokeAt, this.now + (lease ?? Infinity)))
    if ((outcome.revoked?.at ?? Infinity) !== held.revokeAt) return `expected it to be revoked by ${held.revokeAt}`
    return faultOfHeld(held, outcome.grant)
  }

  faultOfRevoke({ resourceName, lockId, graceMs }: RevokeCommand, outcome: RevokeOutcome): string | undefined {
    const meant = this.valid(resourceName).filter((held) => (lockId ?? held.lockId) === held.lockId)
    if (meant.length === 0) return outcome.kind === 'not-held' ? undefined : 'expected nothing to be revoked'
    if (outcome.kind !== 'revoked') return 'expected it to be revoked'
    for (const held of meant) {
      held.revokeAt = Math.min(held.revokeAt, this.now + graceMs)
      this.#endsAt(held, Math.min(held.heldUntil ?? Infinity, held.revokeAt))
    }
    return meant.map((held) => faultOfHeld(held, outcome.all.find((grant) => grant.lockId === held.lockId))).find((fault) => fault !== undefined)
  }

  #endsAt(held: Held, end: number): void {
    held.heldUntil = end === Infinity ? null : end
    held.expiresAt = end === Infinity ? null : end + held.terms.lockDelayMs
  }

  faultOfConvert({ resourceName, processId, lockId, sharing }: ConvertCommand, outcome: ConvertOutcome): string | undefined {
    const own = this.valid(resourceName).find(({ process }) => process === processId)
    if (own === undefined || (lockId ?? own.lockId) !== own.lockId) return outcome.kind === 'not-held' ? undefined : 'expected nothing to be converted'
    const others = this.holders(resourceName).filter((held) => held !== own)
    if (!fits(sharing, others)) return outcome.kind === 'held' ? undefined : 'expected the others to be in the way'
    if (outcome.kind !== 'converted') return 'expected it to be converted'
    const isSame = JSON.stringify(own.sharing) === JSON.stringify(sharing)
    const keepsNumber = isSame || own.sharing === null
    if (keepsNumber !== (outcome.grant.lockId === own.lockId)) return keepsNumber ? 'expected the number to stay' : 'expected a new number'
    if (isSame) return faultOfHeld(own, outcome.grant)
    own.slots = []
    const fault = keepsNumber ? undefined : this.#faultOfNumber(resourceName, outcome.grant.lockId)
    if (!keepsNumber) own.lockedAt = this.now
    Object.assign(own, { sharing, lockId: outcome.grant.lockId, slots: this.#slots(resourceName, sharing) })
    return fault ?? faultOfHeld(own, outcome.grant) ?? this.#faultOfSlots(resourceName, own)
  }

  faultOfInspect(name: string, { grant, shares, kept }: InspectOutcome): string | undefined {
    const [all, holders] = [this.holders(name), this.valid(name)]
    if (holders.length === 0) {
      if (grant !== null) return 'expected that nobody holds it'
      const end = Math.max(...all.map(endOf))
      return all.length === 0 ? (kept === undefined ? undefined : 'expected it to be free') : kept?.expiresAt === end ? undefined : `expected it to be kept until ${end}`
    }
    if (grant === null) return 'expected it to be held'
    const last = Math.max(...holders.map(endOf))
    if (!holders.some((held) => endOf(held) === last && held.lockId === grant.lockId)) return 'expected the holder that ends last'
    if (holders[0]?.sharing === null) return shares === undefined ? undefined : 'expected an exclusive lock'
    const byNumber = holders.toSorted((one, other) => one.lockId - other.lockId)
    const wrong = byNumber.map((held, index) => faultOfHeld(held, shares?.grants[index])).find((fault) => fault !== undefined)
    return wrong ?? faultOfUsage(all, shares && { ...shares.usage, holders: all.length })
  }

  #of(name: string): Resource {
    const found = this.#resources.get(name) ?? new Resource()
    this.#resources.set(name, found)
    return found
  }

  /** Who stands in the way: the waiter, or the holders of whom one has to be named. */
  #refusal(name: string, process: string, sharing: Sharing | null, ticket: number | null): Refusal | undefined {
    const holders = this.holders(name)
    const own = holders.filter((held) => held.process === process)
    if (own.length > 0) return { name, named: own, holders }
    if (!fits(sharing, holders)) return { name, named: blockers(sharing, holders), holders }
    const isPlain = sharing !== null && sharing.limit === null
    const waiter = this.#of(name).queue.find((other) => other.ticket < (ticket ?? Infinity) && !(isPlain && other.sharing !== null && other.sharing.limit === null))
    return waiter === undefined ? undefined : { name, waiter: waiter.process, named: [], holders }
  }

  #faultOfGrant(name: string, { processId, ttlMs, terms = NO_TERMS }: AcquireCommand, sharing: Sharing | null, grant: Grant | undefined): string | undefined {
    if (grant === undefined) return `expected a grant of ${name}`
    const fault = this.#faultOfNumber(name, grant.lockId)
    const ends = { lockedAt: this.now, heldUntil: null, expiresAt: null, released: false, revokeAt: Infinity }
    const held: Held = { process: processId, lockId: grant.lockId, ...ends, terms, ttlMs, sharing, slots: this.#slots(name, sharing) }
    this.#endsAt(held, this.now + (ttlMs ?? Infinity))
    this.#of(name).held.push(held)
    return fault ?? faultOfHeld(held, grant) ?? this.#faultOfSlots(name, held)
  }

  #faultOfNumber(name: string, lockId: number): string | undefined {
    const resource = this.#of(name)
    if (lockId <= resource.last) return `the number ${lockId} is not above ${resource.last}`
    resource.last = lockId
    return undefined
  }

  /** The smallest free slots. */
  #slots(name: string, sharing: Sharing | null): number[] {
    if (sharing === null || sharing.limit === null) return []
    const taken = new Set(this.holders(name).flatMap(({ slots }) => slots))
    const free: number[] = []
    for (let slot = 1; free.length < sharing.permits; slot += 1) if (!taken.has(slot)) free.push(slot)
    return free
  }

  #faultOfSlots(name: string, { lockId, slots, sharing }: Held): string | undefined {
    const { lastOfSlot } = this.#of(name)
    const stale = slots.find((slot) => lockId <= (lastOfSlot.get(slot) ?? 0) || slot > limitOf(sharing))
    for (const slot of slots) lastOfSlot.set(slot, lockId)
    return stale === undefined ? undefined : `slot ${stale} is above the limit, or had a larger number before`
  }
}

interface Refusal {
  readonly name: string
  readonly waiter?: string
  /** One of these must be named; they end at the same time. */
  readonly named: readonly Held[]
  readonly holders: readonly Held[]
}

/** No holder's statement becomes false. */
function fits(sharing: Sharing | null, others: readonly Held[]): boolean {
  if (sharing === null) return others.length === 0
  const used = others.reduce((sum, held) => sum + permitsOf(held.sharing), 0) + sharing.permits
  return used <= Math.min(limitOf(sharing), ...others.map((held) => limitOf(held.sharing)))
}

/** Those that end when the grant becomes possible. */
function blockers(sharing: Sharing | null, holders: readonly Held[]): readonly Held[] {
  const byEnd = holders.toSorted((a, b) => endOf(a) - endOf(b))
  const first = byEnd.findIndex((_, index) => fits(sharing, byEnd.slice(index + 1)))
  return byEnd.filter((held) => endOf(held) === endOf(byEnd[first] ?? held))
}

function faultOfConflict({ name, waiter, named, holders }: Refusal, conflict: Conflict | undefined): string | undefined {
  if (conflict === undefined) return `expected a conflict over ${name}`
  if (waiter !== undefined) return conflict.lockId === 0 && conflict.processId === waiter ? undefined : `expected it to be kept for ${waiter}`
  if (!named.some(({ lockId }) => lockId === conflict.lockId)) return `expected one of ${named.map(({ process }) => process).join()} to be named`
  return holders[0]?.sharing === null ? undefined : faultOfUsage(holders, conflict.usage)
}

function faultOfUsage(holders: readonly Held[], usage: Conflict['usage']): string | undefined {
  const limit = Math.min(...holders.map((held) => limitOf(held.sharing)))
  const expected = { holders: holders.length, used: holders.reduce((sum, held) => sum + permitsOf(held.sharing), 0), limit: limit === Infinity ? null : limit }
  return JSON.stringify(usage) === JSON.stringify(expected) ? undefined : `expected ${JSON.stringify(expected)} to be used`
}

function faultOfHeld(held: Held, grant: Grant | undefined): string | undefined {
  if (grant === undefined || grant.lockId !== held.lockId || grant.expiresAt !== held.heldUntil || grant.processId !== held.process) return `expected ${JSON.stringify(held)}`
  const share = held.sharing === null ? undefined : { ...held.sharing, slots: held.slots }
  return JSON.stringify(grant.share) === JSON.stringify(share) ? undefined : `expected the share ${JSON.stringify(share)}`
}
