import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { eventually, PATIENCE_MS } from '../support/eventually.js'
import type { Session } from '../support/session.js'

interface Answer {
  readonly status: number
  /** How often the call had been sent before, without an answer or with one of 5xx. */
  readonly repeated: number
  readonly body: { readonly [field: string]: unknown; readonly data?: Readonly<Record<string, unknown>> }
}

/**
 * Sends a call as docs/api.md says: without an answer, or with one of 5xx, it is repeated as it was, with the same
 * `request_id`, on any of the instances. Its last answer is not 5xx unless the service was away for longer than anybody waits.
 */
export async function insist(urls: string | readonly string[], method: string, path: string, body?: object): Promise<Answer> {
  const json = body === undefined ? {} : { headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) }
  for (let repeated = 0, deadline = Date.now() + PATIENCE_MS; ; repeated += 1) {
    try {
      const all = [urls].flat()
      const response = await fetch(`${all[Math.floor(Math.random() * all.length)]}${path}`, { method, ...json, signal: AbortSignal.timeout(90_000) })
      const text = await response.text()
      // A proxy answers 502 to 504 by itself, and not in JSON.
      if (response.status < 500 || Date.now() > deadline) return { status: response.status, repeated, body: response.status < 500 ? (JSON.parse(text) as Answer['body']) : { text } }
    } catch (error) {
      if (Date.now() > deadline) throw error
    }
    await sleep(20 + Math.random() * 80)
  }
}

const releasePath = (resource_name: string, process_id: string, lockId: number): string =>
  `/locks/release?${new URLSearchParams({ resource_name, process_id, lock_id: String(lockId) }).toString()}`

/** Clients that compete for a few locks while parts of the service fail, and remember what was acknowledged. */
export class Clients {
  /** What should not have happened, in sentences. */
  readonly faults: string[] = []
  /** Locks that were granted and released. */
  rounds = 0
  /** Calls that had to be sent again. */
  repeated = 0
  /** Between two acknowledged grants, since it was last set to 0. */
  longestGapMs = 0
  #lastAt = performance.now()
  #over = false
  readonly #urls: string | readonly string[]
  readonly #prefix: string
  readonly #grants = new Map<string, number[]>()
  readonly #holders = new Map<string, string>()
  readonly #working: Promise<unknown>

  constructor(urls: string | readonly string[], prefix: string, clients = 8, names = 4) {
    this.#urls = urls
    this.#prefix = prefix
    this.#working = Promise.all(Array.from({ length: clients }, (_, index) => this.#work(`${prefix}-client-${index}`, names)))
  }

  /** Resolves when so many more locks were granted and released. */
  async work(rounds: number): Promise<void> {
    const enough = this.rounds + rounds
    await eventually('work goes on', () => Promise.resolve(this.rounds >= enough || undefined))
  }

  /** Lets everybody finish, and compares what was acknowledged with what the database has. */
  async finish(session: Session): Promise<void> {
    this.#over = true
    await this.#working
    const rows = await session.run<{ name: string; id: string }>("select resource_name as name, lock_id::text as id from lock_events where kind = 'granted'")
    const recorded = new Set(rows.map(({ name, id }) => `${name} ${id}`))
    for (const [name, grants] of this.#grants) {
      for (const id of grants) if (!recorded.has(`${name} ${id}`)) this.faults.push(`${name}: grant ${id} was acknowledged and is lost`)
    }
    const held = await session.run<{ resource_name: string }>('select resource_name from resource_locks where is_active and starts_with(resource_name, $1)', [this.#prefix])
    for (const { resource_name: name } of held) this.faults.push(`${name} is held though everybody released`)
  }

  async #work(process_id: string, names: number): Promise<void> {
    while (!this.#over) {
      const resource_name = `${this.#prefix}/${Math.floor(Math.random() * names)}`
      const asked = await insist(this.#urls, 'POST', '/locks/request', { resource_name, process_id, request_id: randomUUID(), wait_seconds: 30 })
      this.repeated += asked.repeated
      if (asked.status === 200) await this.#hold(resource_name, process_id, Number(asked.body.data?.['lock_id']))
      else if (asked.status !== 409) this.faults.push(`${resource_name}: ${JSON.stringify(asked)}`)
    }
  }

  async #hold(name: string, process: string, lockId: number): Promise<void> {
    const now = performance.now()
    this.longestGapMs = Math.max(this.longestGapMs, now - this.#lastAt)
    this.#lastAt = now
    const grants = this.#grants.get(name) ?? []
    const holder = this.#holders.get(name)
    if (holder !== undefined) this.faults.push(`${name} was granted to ${process} while ${holder} held it`)
    if (lockId <= (grants.at(-1) ?? 0)) this.faults.push(`${name}: ${lockId} after ${grants.at(-1)}`)
    this.#grants.set(name, [...grants, lockId])
    this.#holders.set(name, process)
    await sleep(Math.random() * 5)
    // From here on the next one may be granted it.
    this.#holders.delete(name)
    const released = await insist(this.#urls, 'DELETE', releasePath(name, process, lockId))
    this.repeated += released.repeated
    const isReleased = released.status === 200 || (released.repeated > 0 && released.status === 404 && typeof released.body['released_at'] === 'string')
    if (!isReleased) this.faults.push(`${name}, release of ${lockId}: ${JSON.stringify(released)}`)
    this.rounds += 1
  }
}

/** Clients that wait in one queue, until they are let in one after another. */
export class Queue {
  /** In the order in which they were served. */
  readonly served: string[] = []
  readonly #url: string
  readonly #name: string
  readonly #session: Session
  #waiting: Promise<unknown> = Promise.resolve()

  constructor(url: string, name: string, session: Session) {
    this.#url = url
    this.#name = name
    this.#session = session
  }

  /** Resolves when so many wait. */
  async fill(waiters: number): Promise<void> {
    await this.#take('holder')
    this.#waiting = Promise.all(Array.from({ length: waiters }, (_, index) => this.#wait(`waiter-${index}`)))
    while ((await this.places()).length < waiters) await sleep(20)
  }

  /** Who waits, in order, and on which instance. */
  places(): Promise<{ readonly process: string; readonly instance: string }[]> {
    return this.#session.run('select process_id as process, instance from lock_waiters where resource_name = $1 order by ticket', [this.#name])
  }

  async serve(): Promise<void> {
    await insist(this.#url, 'DELETE', `/locks/release?${new URLSearchParams({ resource_name: this.#name, process_id: 'holder' }).toString()}`)
    await this.#waiting
  }

  async #take(process_id: string): Promise<number> {
    for (const request_id = randomUUID(); ; ) {
      const { status, body } = await insist(this.#url, 'POST', '/locks/request', { resource_name: this.#name, process_id, request_id, wait_seconds: 60 })
      if (status === 200) return Number(body.data?.['lock_id'])
    }
  }

  async #wait(process: string): Promise<void> {
    const lockId = await this.#take(process)
    this.served.push(process)
    await insist(this.#url, 'DELETE', releasePath(this.#name, process, lockId))
  }
}
