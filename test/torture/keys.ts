import { setTimeout as sleep } from 'node:timers/promises'
import { digestOf, newSecret } from '../../src/locks/api-keys.js'
import { openKeys } from '../../src/storage/index.js'
import type { Random } from '../support/random.js'

/** A server reads the keys once a second. */
const KNOWN_AFTER_MS = 1500

const LEAST_REST_MS = 300
const MOST_REST_MS = 2500

/** What its holder shows; another text after each rotation. */
export interface Key {
  readonly name: string
  readonly prefix: string
  secret: string
  id: number
}

/** Makes keys in the database beside the servers, as an operator does, and replaces and revokes them while they are used. */
export class Keys {
  readonly #url: string
  readonly #random: Random
  /** How often a key was replaced. */
  rotations = 0

  /** @param url of the database, not through a proxy. */
  constructor(url: string, random: Random) {
    this.#url = url
    this.#random = random
  }

  /** A key of that name; for everything when it is to be an admin's. */
  async make(name: string, prefix: string, scope: 'write' | 'admin'): Promise<Key> {
    const secret = newSecret()
    const scopes = scope === 'admin' ? (['admin'] as const) : (['read', 'write'] as const)
    const { id } = await this.#withKeys((keys) => keys.create({ name, digest: digestOf(secret), scopes, prefix, validForMs: null }))
    return { name, prefix, secret, id }
  }

  /** Replaces one key after another until that instant: half of them after the next one is known everywhere, the others without notice. */
  async run(keys: readonly Key[], until: number): Promise<void> {
    while (Date.now() < until) {
      await sleep(this.#random.whole(LEAST_REST_MS, MOST_REST_MS))
      const key = this.#random.pick(keys)
      const orderly = this.#random.chance(0.5)
      // The database may be away.
      await this.#replace(key, orderly).catch(() => undefined)
    }
  }

  async #replace(key: Key, orderly: boolean): Promise<void> {
    const next = await this.make(key.name, key.prefix, 'write')
    const before = key.id
    // Whatever becomes of that, the next one is good.
    if (!orderly) await this.#withKeys((keys) => keys.revoke(before)).catch(() => undefined)
    await sleep(KNOWN_AFTER_MS)
    Object.assign(key, next)
    this.rotations += 1
    if (orderly) await this.#withKeys((keys) => keys.revoke(before))
  }

  async #withKeys<Result>(use: (keys: Awaited<ReturnType<typeof openKeys>>['keys']) => Promise<Result>): Promise<Result> {
    await using opened = await openKeys(this.#url)
    return await use(opened.keys)
  }
}
