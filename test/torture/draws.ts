import type { Sharing, Terms } from '../../src/locks/lock.js'
import type { Random } from '../support/random.js'

/** What a client does while it holds a lock. */
const HOLDING = [
  { kind: 'rest', weight: 4 },
  { kind: 'renew', weight: 3 },
  { kind: 'renew-all', weight: 1 },
  { kind: 'renew-many', weight: 1 },
  { kind: 'convert', weight: 2 },
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
  { kind: 'revoke', weight: 2 },
  { kind: 'steal', weight: 3 }
] as const

const LEASES: readonly { readonly ttlMs: number | null; readonly weight: number }[] = [
  { ttlMs: null, weight: 1 },
  { ttlMs: 150, weight: 3 },
  { ttlMs: 500, weight: 3 },
  { ttlMs: 1500, weight: 3 },
  { ttlMs: 5000, weight: 1 }
]

/** What a client does next, drawn from its own random numbers. */
export class Draws {
  readonly #random: Random

  constructor(random: Random) {
    this.#random = random
  }

  get lease(): number | null {
    return this.#random.weighted(LEASES).ttlMs
  }

  get whileHolding(): (typeof HOLDING)[number]['kind'] {
    return this.#random.weighted(HOLDING).kind
  }

  get whenRefused(): (typeof REFUSED)[number]['kind'] {
    return this.#random.weighted(REFUSED).kind
  }

  /** How a renewal is to move the end of a lease; undefined as the grant says. */
  get renewal(): number | undefined {
    return this.#random.chance(1 / 3) ? undefined : this.#random.pick([300, 1500])
  }

  get graceMs(): number {
    return this.#random.pick([0, 100, 400, 2000])
  }

  /** For how long a release keeps the resource. */
  get keepMs(): number {
    return this.#random.chance(0.85) ? 0 : this.#random.pick([50, 200, 600])
  }

  /** What is asked of a resource. Some are used exclusively only. */
  sharing(resource: string): Sharing | null {
    const random = this.#random
    if (isPlain(resource) || random.chance(0.35)) return null
    if (random.chance(0.4)) return { limit: null, permits: 1 }
    const limit = random.pick([1, 2, 3, 3, 5])
    return { limit, permits: random.chance(0.6) ? 1 : random.whole(1, limit) }
  }

  /** Undefined for none. */
  terms(resources: readonly string[], ttlMs: number | null): Terms | undefined {
    const random = this.#random
    if (resources.some(isPlain) || random.chance(0.75)) return undefined
    const terms = { holdAtLeastMs: random.chance(0.5) ? 0 : Math.min(random.pick([80, 300]), ttlMs ?? Infinity), lockDelayMs: random.chance(0.4) ? 0 : random.pick([60, 250]) }
    return terms.holdAtLeastMs + terms.lockDelayMs === 0 ? undefined : terms
  }
}

/** The first of each tenant is only used exclusively and without terms, by statements of its own. */
export function isPlain(resource: string): boolean {
  return resource.endsWith('/0')
}
