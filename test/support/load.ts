import { setTimeout as sleep } from 'node:timers/promises'
import type { Answer, Service } from './service.js'

/** What one worker was told about a name that only it uses. */
interface Known {
  readonly state: 'held' | 'free' | 'unknown'
  /** The largest number that it was given. */
  readonly last: number
}

/**
 * Workers that take and let go of names of their own and remember what was acknowledged, so that it can be looked for
 * after a crash. What was asked and not answered is unknown: both outcomes are right, but from then on only the one
 * that is found.
 */
export class Load {
  /** What should not have happened, in sentences. */
  readonly faults: string[] = []
  acknowledged = 0
  /** How often the service said that the database is away or did not confirm. */
  readonly refused = new Map<string, number>()
  readonly #known = new Map<string, Known>()

  /** The largest number of each name. */
  get numbers(): number[] {
    return [...this.#known.values()].map(({ last }) => last)
  }

  /** Works until the service is gone or `enough` says so. @param prefix of its names, where several services are worked with. */
  async run(service: Service, workers: number, enough: () => boolean, prefix = ''): Promise<void> {
    await Promise.all(Array.from({ length: workers }, (_, index) => this.#work(service, `${prefix}w${index}`, enough)))
  }

  /** Compares what is known with what the service says. */
  async check(service: Service): Promise<void> {
    for (const name of this.#known.keys()) this.#learn(name, await service.status(name))
  }

  async #work(service: Service, worker: string, enough: () => boolean): Promise<void> {
    for (let turn = 0; !enough(); turn += 1) {
      const name = `${worker}/${turn % 10}`
      const before = this.#known.get(name) ?? { state: 'free', last: 0 }
      this.#known.set(name, { ...before, state: 'unknown' })
      const ask = { free: () => service.request(name, worker), held: () => service.release(name, worker), unknown: () => service.status(name) }
      const answer = await ask[before.state]().catch(() => null)
      if (answer === null) return
      if (answer.status === 503) await this.#refused(name, before, String(answer.body['code']))
      else if (answer.status !== 200) this.faults.push(`${name}, ${before.state}: ${JSON.stringify(answer)}`)
      else if (before.state === 'unknown') this.#learn(name, answer, before)
      else this.#acknowledged(name, before, answer)
    }
  }

  async #refused(name: string, before: Known, code: string): Promise<void> {
    this.refused.set(code, (this.refused.get(code) ?? 0) + 1)
    // "Nothing was changed" is a promise too.
    if (code === 'STORAGE_UNAVAILABLE') this.#known.set(name, before)
    else if (code !== 'OUTCOME_UNKNOWN') this.faults.push(`${name}: 503 ${code}`)
    await sleep(20)
  }

  #acknowledged(name: string, { state, last }: Known, answer: Answer): void {
    const number = state === 'held' ? last : Number(answer.body.data?.['lock_id'])
    if (state === 'free' && number <= last) this.faults.push(`${name}: ${number} after ${last}`)
    this.#known.set(name, { state: state === 'held' ? 'free' : 'held', last: number })
    this.acknowledged += 1
  }

  #learn(name: string, { status, body: { data } }: Answer, known = this.#known.get(name)): void {
    if (known === undefined) return
    const found = data?.['is_locked'] === true ? 'held' : 'free'
    const number = found === 'held' ? Number(data?.['lock_id']) : known.last
    const fits = known.state === 'unknown' ? number >= known.last : found === known.state && number === known.last
    if (status !== 200 || !fits) this.faults.push(`${name}: known ${JSON.stringify(known)}, found ${status} ${JSON.stringify(data)}`)
    this.#known.set(name, { state: found, last: number })
  }
}
