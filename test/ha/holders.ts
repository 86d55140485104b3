import { randomUUID } from 'node:crypto'
import type { HeldGrant } from '../torture/checker/shares.js'
import { insist } from './clients.js'

/** A grant as it was answered. */
export interface Told {
  readonly resource_name: string
  readonly process_id: string
  readonly lock_id: number
  readonly locked_at: string
  readonly expires_at?: string | null
  readonly mode?: 'shared'
  readonly limit?: number | null
  readonly permits?: number
  readonly slots?: readonly number[]
}

/** Clients that take resources in each way, insist on an answer while parts of the service are killed, and remember what they were told. */
export class Holders {
  readonly history: HeldGrant[] = []
  readonly #urls: readonly string[]

  constructor(urls: readonly string[]) {
    this.#urls = urls
  }

  /** Takes one or several resources, and waits for them as long as it takes, on any instance. */
  async take(process_id: string, wanted: object, path = '/locks/request'): Promise<Told[]> {
    const body = { process_id, request_id: randomUUID(), wait_seconds: 30, ...wanted }
    for (;;) {
      const { status, body: answer } = await insist(this.#urls, 'POST', path, body)
      if (status === 200) return ((answer.data?.['locks'] ?? [answer.data]) as Omit<Told, 'process_id'>[]).map((grant) => Object.assign(grant, { process_id }))
      if (status !== 409 || answer['code'] !== 'RESOURCE_LOCKED') throw new Error(`${JSON.stringify(body)}: ${status} ${JSON.stringify(answer)}`)
    }
  }

  async giveBack(grant: Told, keep?: string): Promise<void> {
    const { resource_name, process_id, lock_id } = grant
    const query = new URLSearchParams({ resource_name, process_id, lock_id: String(lock_id), ...(keep === undefined ? {} : { keep_seconds: keep }) })
    const { status, repeated, body } = await insist(this.#urls, 'DELETE', `/locks/release?${query.toString()}`)
    const freeAt = body.data?.['free_at']
    const releasedAt = status === 200 ? body.data?.['released_at'] : repeated > 0 ? body['released_at'] : undefined
    if (typeof releasedAt !== 'string') throw new Error(`release of ${JSON.stringify(grant)}: ${status} ${JSON.stringify(body)}`)
    // What is kept excludes others as long as a lock does.
    this.#note(grant, Date.parse(typeof freeAt === 'string' ? freeAt : releasedAt))
  }

  /** Leaves it to its lease, and to the delay after that. */
  expires(grant: Told, delayMs = 0): void {
    this.#note(grant, Date.parse(grant.expires_at ?? '') + delayMs)
  }

  /** Lets an operator ask for it, who waits no longer than a moment. */
  async revoke(grant: Told): Promise<void> {
    const { resource_name, lock_id } = grant
    const { status, body } = await insist(this.#urls, 'POST', '/locks/revoke', { resource_name, lock_id, reason: 'a test', grace_seconds: 0.03 })
    if (status !== 200) throw new Error(`revocation of ${JSON.stringify(grant)}: ${status} ${JSON.stringify(body)}`)
    this.#note(grant, Date.parse(String(body.data?.['revoke_at'])))
  }

  /** Takes it, and gives it back at once. */
  async use(process: string, wanted: object): Promise<void> {
    for (const grant of await this.take(process, wanted)) await this.giveBack(grant)
  }

  #note({ resource_name: resource, process_id: process, lock_id: lockId, locked_at, mode, limit = null, permits = 1, slots = [] }: Told, until: number): void {
    this.history.push({ resource, process, lockId, sharing: mode === 'shared' ? { limit, permits } : null, slots, from: Date.parse(locked_at), until })
  }

  async waitersFor(resource_name: string): Promise<number> {
    return Number((await this.#look('queue', resource_name))['total_waiters'])
  }

  statusOf(resource_name: string): Promise<Readonly<Record<string, unknown>>> {
    return this.#look('status', resource_name)
  }

  async #look(what: string, resource_name: string): Promise<Readonly<Record<string, unknown>>> {
    return (await insist(this.#urls, 'GET', `/locks/${what}?${new URLSearchParams({ resource_name }).toString()}`)).body.data ?? {}
  }

  /** What every instance says is held of a resource, by number. */
  async heldOf(resource_name: string): Promise<Told[][]> {
    const path = `/locks/all-locked?${new URLSearchParams({ resource_name }).toString()}`
    const answers = await Promise.all(this.#urls.map((url) => insist(url, 'GET', path)))
    return answers.map(({ body }) => body.data?.['locks'] as Told[])
  }
}

/** What must not change while it is held. */
export const partOf = ({ resource_name, process_id, lock_id, locked_at, limit, permits, slots }: Told) => ({ resource_name, process_id, lock_id, locked_at, limit, permits, slots })
