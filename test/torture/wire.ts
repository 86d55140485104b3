import type { Answer, Ask, Told } from './checker/operation.js'
import type { Random } from '../support/random.js'
import { readAnswer, type Reading } from './answers.js'
import type { Cluster } from './cluster.js'
import { call, type Call } from './http-call.js'
import type { Key } from './keys.js'
import type { Asks, Recorder } from './recorder.js'

export interface WireOptions {
  readonly name: string
  readonly random: Random
  readonly cluster: Cluster
  readonly recorder: Recorder
  /** It begins its name, and is replaced meanwhile. */
  readonly key: Key
  /** For what takes an admin's. */
  readonly adminKey: Key
  /** Told of answers that the contract does not know. */
  readonly onUnexpected: (what: string) => void
}

export type Request = Omit<Extract<Ask, { kind: 'request' }>, 'sharing' | 'together'>

/** A resource with what is asked of it. */
export type Wanted = Pick<Extract<Ask, { kind: 'request' }>, 'sharing'> & { readonly name: string }

interface AskOptions {
  /** How long the service may let it wait in line. */
  readonly waitMs?: number
  /** When the connection is given up, instead of some time after that. */
  readonly withinMs?: number | undefined
  /** A key that is not its own. */
  readonly secret?: string
}

/** A client gives a call up after some time beyond what it would wait in line, in milliseconds. */
const LEAST_PATIENCE_MS = 400
const MOST_PATIENCE_MS = 4000

/** The calls of one client, each of which is written down with its answer. */
export class Wire {
  readonly #options: WireOptions

  constructor(options: WireOptions) {
    this.#options = options
  }

  look(resource: string): Promise<Reading> {
    return this.#ask([[resource, { kind: 'look' }]], 'GET', `/locks/status?${query({ resource_name: resource })}`)
  }

  request(wanted: readonly Wanted[], ask: Request, waitMs: number, withinMs?: number): Promise<Reading> {
    const { terms } = ask
    const body = {
      process_id: ask.process,
      ttl_seconds: secondsOf(ask.ttlMs),
      ...(ask.waits ? { wait_seconds: waitMs / 1000 } : {}),
      ...(ask.requestId === null ? {} : { request_id: ask.requestId }),
      ...(terms === undefined ? {} : { hold_at_least_seconds: terms.holdAtLeastMs / 1000, lock_delay_seconds: terms.lockDelayMs / 1000 })
    }
    const [first] = wanted
    const asks = wanted.map(({ name, sharing = null }): Asks[number] => [name, { ...ask, sharing, ...(wanted.length === 1 ? {} : { together: ask.process }) }])
    if (wanted.length === 1 && first !== undefined) return this.#ask(asks, 'POST', '/locks/request', { ...body, resource_name: first.name, ...modeOf(first) }, { waitMs, withinMs })
    const isExclusive = wanted.every(({ sharing = null }) => sharing === null)
    const which = isExclusive ? { resource_names: wanted.map(({ name }) => name) } : { resources: wanted.map((one) => ({ resource_name: one.name, ...modeOf(one) })) }
    return this.#ask(asks, 'POST', '/locks/request-many', { ...body, ...which }, { waitMs, withinMs })
  }

  release(resource: string, process: string, lockId: number | null, keepMs = 0): Promise<Reading> {
    const fields = { resource_name: resource, process_id: process, ...(lockId === null ? {} : { lock_id: String(lockId) }), ...(keepMs === 0 ? {} : { keep_seconds: String(keepMs / 1000) }) }
    return this.#ask([[resource, { kind: 'release', process, lockId, keepMs }]], 'DELETE', `/locks/release?${query(fields)}`)
  }

  /** All of them in one call; each process has no others. */
  releaseSome(names: readonly string[], process: string, how: 'many' | 'all'): Promise<Reading> {
    const asks = names.map((resource): Asks[number] => [resource, { kind: 'release', process, lockId: null }])
    if (how === 'all') return this.#ask(asks, 'DELETE', `/locks/release-all?${query({ process_id: process })}`)
    return this.#ask(asks, 'POST', '/locks/release-many', { resource_names: names, process_id: process })
  }

  renew(resource: string, process: string, ttlMs: number | null | undefined, lockId: number | null): Promise<Reading> {
    return this.#ask([[resource, { kind: 'renew', process, lockId, ttlMs }]], 'POST', '/locks/renew', { process_id: process, ...renewalOf(resource, ttlMs, lockId) })
  }

  /** As {@link releaseSome}. */
  renewSome(names: readonly string[], process: string, how: 'many' | 'all'): Promise<Reading> {
    const asks = names.map((resource): Asks[number] => [resource, { kind: 'renew', process, lockId: null, ttlMs: undefined }])
    if (how === 'all') return this.#ask(asks, 'POST', '/locks/renew-all', { process_id: process })
    return this.#ask(asks, 'POST', '/locks/renew-many', { process_id: process, locks: names.map((name) => renewalOf(name, undefined, null)) })
  }

  convert({ name, sharing = null }: Wanted, process: string, lockId: number | null): Promise<Reading> {
    const body = { resource_name: name, process_id: process, ...(lockId === null ? {} : { lock_id: lockId }), mode: 'exclusive', ...modeOf({ name, sharing }) }
    return this.#ask([[name, { kind: 'convert', process, lockId, sharing }]], 'POST', '/locks/convert', body)
  }

  revoke(resource: string, lockId: number | null, graceMs: number): Promise<Reading> {
    const body = { resource_name: resource, reason: 'torture', grace_seconds: graceMs / 1000, ...(lockId === null ? {} : { lock_id: lockId }) }
    return this.#ask([[resource, { kind: 'revoke', process: null, lockId, graceMs }]], 'POST', '/locks/revoke', body, { secret: this.#options.adminKey.secret })
  }

  force(resource: string, lockId: number | null, freesAtOnce: boolean): Promise<Reading> {
    const body = { resource_name: resource, reason: 'torture', ...(lockId === null ? {} : { lock_id: lockId }), ...(freesAtOnce ? { lock_delay: false } : {}) }
    return this.#ask([[resource, { kind: 'release', process: null, lockId, freesAtOnce }]], 'POST', '/locks/force-release', body, { secret: this.#options.adminKey.secret })
  }

  /** With a key of another name nobody releases what it was not given, even if it names the holder. */
  async steal(resource: string, { process, lockId }: Pick<Told, 'process' | 'lockId'>): Promise<void> {
    if (process.startsWith(`${this.#options.key.name}/`)) return
    const fields = { resource_name: resource, process_id: process, lock_id: String(lockId) }
    await this.#expectRefusal({ method: 'DELETE', path: `/locks/release?${query(fields)}` }, [404])
  }

  /** Names what the key does not reach. */
  trespass(): Promise<void> {
    const body = { resource_name: `beyond ${this.#options.key.prefix}`, process_id: this.#options.name }
    return this.#expectRefusal({ method: 'POST', path: '/locks/request', body }, [403])
  }

  /** Sends what must be refused, and is no part of the history. */
  async #expectRefusal(what: Pick<Call, 'method' | 'path' | 'body'>, statuses: readonly number[]): Promise<void> {
    const { cluster, key, onUnexpected, random } = this.#options
    const outcome = await call(await cluster.address(random), { ...what, secret: key.secret, withinMs: MOST_PATIENCE_MS })
    if (typeof outcome === 'object' && ![...statuses, 401, 503].includes(outcome.status)) onUnexpected(`${JSON.stringify(what)}: ${JSON.stringify(outcome)}`)
  }

  async #ask(asks: Asks, method: string, path: string, body?: object, { waitMs = 0, withinMs, secret = this.#options.key.secret }: AskOptions = {}): Promise<Reading> {
    const { cluster, recorder, onUnexpected, random } = this.#options
    const address = await cluster.address(random)
    const told = recorder.begin(asks)
    const patienceMs = random.whole(LEAST_PATIENCE_MS, MOST_PATIENCE_MS)
    const outcome = await call(address, { method, path, body, secret, withinMs: withinMs ?? waitMs + patienceMs })
    const answers = readAnswer(asks, outcome)
    if (answers === undefined) onUnexpected(`${method} ${path} ${JSON.stringify(body)}: ${JSON.stringify(outcome)}`)
    told(answers ?? asks.map((): Answer => ({ kind: 'unknown' })))
    return answers ?? []
  }
}

function modeOf({ sharing = null }: Wanted): object {
  if (sharing === null) return {}
  return sharing.limit === null ? { mode: 'shared' } : { mode: 'shared', ...sharing }
}

function renewalOf(resource: string, ttlMs: number | null | undefined, lockId: number | null): object {
  return { resource_name: resource, ...(ttlMs === undefined ? {} : { ttl_seconds: secondsOf(ttlMs) }), ...(lockId === null ? {} : { lock_id: lockId }) }
}

function query(fields: Readonly<Record<string, string>>): string {
  return new URLSearchParams(fields).toString()
}

function secondsOf(ttlMs: number | null): number | null {
  return ttlMs === null ? null : ttlMs / 1000
}
