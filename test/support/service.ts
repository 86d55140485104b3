import { setTimeout as sleep } from 'node:timers/promises'
import { type Ending, type Program, type ProgramOptions, startProgram, temporaryFolder } from './program.js'

export interface Answer {
  readonly status: number
  readonly headers: Headers
  /** What to expect of it is for the test to say. */
  readonly body: { readonly [field: string]: unknown; readonly data?: Readonly<Record<string, unknown>> }
}

/**
 * The service as a real process, `node dist/src/server.js`, on a free loopback port.
 *
 * ```ts
 * await using service = await Service.start({ settings: { DATABASE_URL: 'sqlite:x.db' } })
 * const { status, body } = await service.request('invoices', 'p', { ttl_seconds: 30 })
 * await service.kill()
 * ```
 *
 * To start it again on the same SQLite file, give both the same `cwd`. What it refuses to start with is for {@link runProgram}.
 */
export class Service implements AsyncDisposable {
  /** `http://127.0.0.1:PORT` */
  readonly url: string
  readonly #program: Program
  readonly #folder: AsyncDisposable | null

  private constructor(program: Program, url: string, folder: AsyncDisposable | null) {
    this.#program = program
    this.#folder = folder
    this.url = url
  }

  /** Resolves once the service listens; rejects with what it said when it ends instead. */
  static async start(options: ProgramOptions = {}): Promise<Service> {
    const folder = options.cwd === undefined ? await temporaryFolder() : null
    const settings = { PORT: '0', LOG_LEVEL: 'info', ...options.settings }
    const program = startProgram('src/server.js', { cwd: folder?.path ?? '.', ...options, settings })
    try {
      return new Service(program, await program.find(addressIn), folder)
    } catch (error) {
      program.signal('SIGKILL')
      await program.end()
      await folder?.[Symbol.asyncDispose]()
      throw error
    }
  }

  get port(): number {
    return Number(new URL(this.url).port)
  }

  get pid(): number {
    return this.#program.pid
  }

  get alive(): boolean {
    return this.#program.alive
  }

  get stdout(): string {
    return this.#program.stdout
  }

  get stderr(): string {
    return this.#program.stderr
  }

  /** The lines of the log so far. */
  get log(): Record<string, unknown>[] {
    return linesOf(this.stdout)
  }

  /** Resolves when a line of the log has this text; rejects when the process ends without it. */
  async logged(text: string): Promise<void> {
    await this.#program.find((stdout) => linesOf(stdout).find(({ msg }) => msg === text))
  }

  /** Sends a signal and goes on. */
  signal(name: NodeJS.Signals): void {
    this.#program.signal(name)
  }

  /** Waits for the process to end; rejects when it never does. */
  end(): Promise<Ending> {
    return this.#program.end()
  }

  stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<Ending> {
    this.signal(signal)
    return this.end()
  }

  /** `kill -9`: the process gets no chance to tidy up. */
  kill(): Promise<Ending> {
    return this.stop('SIGKILL')
  }

  async call(method: string, path: string, body?: unknown): Promise<Answer> {
    const json = body === undefined ? {} : { headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) }
    const response = await fetch(this.url + path, { method, ...json })
    return { status: response.status, headers: response.headers, body: (await response.json()) as Answer['body'] }
  }

  request(resource: string, process: string, more: Readonly<Record<string, unknown>> = {}): Promise<Answer> {
    return this.call('POST', '/locks/request', { resource_name: resource, process_id: process, ...more })
  }

  release(resource: string, process: string): Promise<Answer> {
    return this.call('DELETE', `/locks/release?${query({ resource_name: resource, process_id: process })}`)
  }

  status(resource: string): Promise<Answer> {
    return this.call('GET', `/locks/status?${query({ resource_name: resource })}`)
  }

  health(): Promise<Answer> {
    return this.call('GET', '/health')
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.alive) await this.kill()
    await this.#folder?.[Symbol.asyncDispose]()
  }
}

function query(fields: Record<string, string>): string {
  return new URLSearchParams(fields).toString()
}

function linesOf(stdout: string): Record<string, unknown>[] {
  const whole = stdout.slice(0, stdout.lastIndexOf('\n') + 1)
  return whole.split('\n').filter((line) => line.startsWith('{')).map((line) => JSON.parse(line) as Record<string, unknown>)
}

function addressIn(stdout: string): string | undefined {
  return linesOf(stdout)
    .map(({ msg }) => /^Server listening at (http:\S+)$/.exec(String(msg))?.[1])
    .find((url) => url !== undefined)
}

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
