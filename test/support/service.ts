import { startProgram, temporaryFolder, type Ending, type Program, type ProgramOptions } from './program.js'

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
