import { fork, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import type { LoadResult, LoadSpec, Order, Report, ServerSpec, Usage } from './messages.js'

const HERE = fileURLToPath(new URL('.', import.meta.url))
const LOAD_GRACE_MS = 15_000

/** A server under test. */
export class Server implements AsyncDisposable {
  readonly #child: ChildProcess
  readonly port: number

  private constructor(child: ChildProcess, port: number) {
    this.#child = child
    this.port = port
  }

  /** @param build the folder of another build of this project, to compare it with. */
  static async start(spec: ServerSpec, build?: string): Promise<Server> {
    const file = build === undefined ? `${HERE}server.js` : `${build}/scripts/bench/server.js`
    const child = fork(file, [JSON.stringify(spec)], { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] })
    const { port = 0 } = await answer<Report>(child)
    return new Server(child, port)
  }

  async #order(order: Order): Promise<Report> {
    const heard = answer<Report>(this.#child)
    this.#child.send(order)
    return heard
  }

  /** What it says next is of the time from now on. */
  async reset(): Promise<void> {
    await this.#order('reset')
  }

  async usage(): Promise<Usage> {
    const { usage } = await this.#order('usage')
    if (usage === undefined) throw new Error('the server did not say how busy it was')
    return usage
  }

  async sweep(): Promise<number> {
    return (await this.#order('sweep')).sweptInMs ?? Number.NaN
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.exitCode !== null) return
    const ended = once(this.#child, 'exit')
    this.#child.send('stop')
    await ended
  }
}

/** Runs the load and resolves to what it measured; one that does not end in time is ended. */
export async function runLoad(spec: LoadSpec): Promise<LoadResult> {
  const child = fork(`${HERE}load.js`, [JSON.stringify(spec)], { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] })
  const timer = setTimeout(() => child.kill('SIGKILL'), spec.warmUpMs + spec.measureMs + LOAD_GRACE_MS)
  try {
    const result = await answer<LoadResult>(child)
    const odd = Object.keys(result.statuses).filter((status) => !['200', '409'].includes(status))
    if (odd.length > 0) process.stderr.write(`unexpected answers: ${JSON.stringify(result.statuses)}\n`)
    return result
  } finally {
    clearTimeout(timer)
  }
}

/** A load that goes on until it is disposed of. */
export function startLoad(spec: LoadSpec): AsyncDisposable {
  const child = fork(`${HERE}load.js`, [JSON.stringify(spec)], { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] })
  return {
    async [Symbol.asyncDispose]() {
      if (child.exitCode !== null) return
      const ended = once(child, 'exit')
      child.kill('SIGKILL')
      await ended
    }
  }
}

async function answer<T>(child: ChildProcess): Promise<T> {
  const heard = new AbortController()
  const { signal } = heard
  try {
    const ended = once(child, 'exit', { signal }).then(([code]) => Promise.reject(new Error(`a process of the benchmark ended early (${String(code)})`)))
    const [message] = (await Promise.race([once(child, 'message', { signal }), ended])) as [T]
    return message
  } finally {
    heard.abort()
  }
}
