import { setTimeout as sleep } from 'node:timers/promises'
import type { FastifyInstance } from 'fastify'
import { HELD, PAST, WAITING } from './cast.js'

/** Something that happens so many seconds before the picture is taken. */
interface Step {
  readonly ago: number
  readonly run: () => Promise<void>
}

/** How long the scene goes on after the picture, should that take a while. */
const AFTERWARDS_SECONDS = 30

/** Plays a scene on a service whose clock can be moved. */
export class Scene {
  readonly #app: FastifyInstance
  readonly #setClock: (offsetMs: number) => void
  readonly #steps: Step[]
  readonly #under = new Set<Promise<void>>()
  #order = 10_400
  readonly #closed = new AbortController()

  /** @param setClock in milliseconds from the present. */
  constructor(app: FastifyInstance, setClock: (offsetMs: number) => void) {
    this.#app = app
    this.#setClock = setClock
    this.#steps = [...PAST.flatMap((past) => this.#pastOf(past)), ...HELD.flatMap((held) => this.#stepsOf(held)), ...this.#arrivals()].toSorted((a, b) => b.ago - a.ago)
  }

  /** What happened longer ago than that: all at once, by a clock that is moved. */
  async open(secondsToPicture: number): Promise<void> {
    for (;;) {
      const [step] = this.#steps
      if (step === undefined || step.ago <= secondsToPicture) break
      this.#steps.shift()
      this.#setClock((secondsToPicture - step.ago) * 1000)
      await step.run()
    }
    this.#setClock(0)
  }

  /** The rest as it comes, beside short locks that come and go as in a web shop, until the scene is closed. */
  async play(secondsToPicture: number): Promise<void> {
    const picture = Date.now() + secondsToPicture * 1000
    for (let turn = 0; !this.#closed.signal.aborted; turn += 1) {
      // A calm wave instead of noise.
      await sleep(500 / (4 + 2.5 * Math.sin(turn / 40)))
      this.#start(this.#shop())
      if (turn % 9 < 2) this.#start(this.#post('/locks/request', { resource_name: 'jobs/search-reindex', process_id: `worker-${turn % 9}.eu-west` }))
      while (this.#steps[0] !== undefined && picture - this.#steps[0].ago * 1000 <= Date.now()) await this.#steps.shift()?.run()
    }
    await Promise.all(this.#under)
  }

  close(): void {
    this.#closed.abort()
  }

  /** Taken, and renewed each third of its lease. */
  #stepsOf({ name, by, ago, ttl, renews = 0, metadata, limit, permits }: (typeof HELD)[number]): Step[] {
    const take = (): Promise<void> => this.#post('/locks/request', { resource_name: name, process_id: by, ttl_seconds: ttl, metadata, limit, permits })
    const renew = (): Promise<void> => this.#post('/locks/renew', { resource_name: name, process_id: by })
    const every = ttl === undefined ? Infinity : ttl / 3
    const renewals = Math.min(renews, Math.floor((ago + AFTERWARDS_SECONDS) / every))
    return [{ ago, run: take }, ...Array.from({ length: renewals }, (_, index) => ({ ago: ago - (index + 1) * every, run: renew }))]
  }

  #pastOf({ name, by, ago, until, takenAway }: (typeof PAST)[number]): Step[] {
    const mine = { resource_name: name, process_id: by }
    const end = (): Promise<void> =>
      takenAway === undefined ? this.#release(mine) : this.#post('/locks/force-release', { resource_name: name, reason: takenAway })
    return [
      { ago, run: () => this.#post('/locks/request', mine) },
      { ago: until, run: end }
    ]
  }

  #arrivals(): Step[] {
    return WAITING.map(({ name, by, ago }) => ({
      ago,
      run: () => {
        void this.#post('/locks/request', { resource_name: name, process_id: by, wait_seconds: 600 })
        // Until it stands in line: the order matters.
        return sleep(30)
      }
    }))
  }

  async #shop(): Promise<void> {
    const mine = { resource_name: `orders/${(this.#order += 1)}`, process_id: `checkout-${this.#order % 6}` }
    await this.#post('/locks/request', { ...mine, ttl_seconds: 20 })
    await sleep(1500 + 900 * (this.#order % 4))
    await this.#release(mine)
  }

  #start(going: Promise<void>): void {
    this.#under.add(going)
    void going.finally(() => this.#under.delete(going))
  }

  async #release(lock: Record<string, string>): Promise<void> {
    await this.#app.inject({ method: 'DELETE', url: `/locks/release?${new URLSearchParams(lock).toString()}` })
  }

  async #post(url: string, payload: object): Promise<void> {
    await this.#app.inject({ method: 'POST', url, payload })
  }
}
