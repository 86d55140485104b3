import { randomUUID } from 'node:crypto'
import { LockRequestError, LockServiceUnavailableError, type HttpLocks } from '../client/index.js'
import { connect, PATIENCE_SECONDS, readArguments, urlOf, type Command, type Session, EXIT, failureOf } from './command.js'
import { lengthText, wireJson, type Style } from './output.js'

const ROUND_TRIPS = 7
/** Clocks further apart than that make times hard to read; they harm no lock. */
const CLOCKS_APART_MS = 1000
const TRIAL_TTL_SECONDS = 5

type Verdict = 'good' | 'doubtful' | 'bad'

interface Finding {
  readonly check: 'url' | 'service' | 'database' | 'key' | 'latency' | 'locking' | 'clock'
  readonly verdict: Verdict
  readonly finding: string
  /** What the command ends with if this is the first that is bad. */
  readonly code?: number
}

const STYLE_OF: Readonly<Record<Verdict, Style>> = { good: 'green', doubtful: 'yellow', bad: 'red' }
const OPTIONS = { json: { type: 'boolean' } } as const

export const doctor: Command = {
  usage: 'doctor [PREFIX] [--json]',
  summary: 'Checks URL, service, database, key, latency, locking and the difference of the clocks.',
  help: `  PREFIX  for a key that is confined to names that begin with it
  --json  an object for each check

It takes a lock of a name of its own for a moment. Ends with 69 when the service or its database is away,
with 77 when the key is not accepted.`,
  options: OPTIONS,
  run: async (args, session) => {
    const { values, positionals } = readArguments(args, OPTIONS, [0, 1])
    const [prefix = ''] = positionals
    let code: number = EXIT.ok
    for await (const finding of new Examination(session, prefix).findings()) {
      if (finding.verdict === 'bad' && code === EXIT.ok) code = finding.code ?? EXIT.refused
      const { check, verdict, finding: text } = finding
      session.out.line(values.json === true ? wireJson({ check, verdict, finding: text }) : `${session.out.styled(STYLE_OF[verdict], verdict.padEnd(8))}  ${check.padEnd(8)}  ${text}`)
    }
    return code
  }
}

type Attempt<Result> = { readonly kind: 'done'; readonly result: Result } | { readonly kind: 'failed'; readonly error: unknown }

class Examination {
  readonly #locks: HttpLocks
  readonly #env: Session['env']
  readonly #url: string
  readonly #prefix: string

  constructor(session: Session, prefix: string) {
    this.#locks = connect(session, { retrySeconds: 0 })
    this.#env = session.env
    this.#url = urlOf(session.env)
    this.#prefix = prefix
  }

  /** Goes on as long as the next check can tell more. */
  async *findings(): AsyncGenerator<Finding> {
    yield { check: 'url', verdict: 'good', finding: `${this.#url}, with ${this.#env['RLM_API_KEY'] === undefined ? 'no key' : 'a key'}` }
    const health = await attempt(() => this.#health())
    if (health.kind === 'failed') return yield this.#bad('service', health.error, EXIT.unreachable)
    const { service, database, healthy } = health.result
    if (service === 'undefined') return yield { check: 'service', verdict: 'bad', finding: 'what answers there is another service', code: EXIT.unreachable }
    yield { check: 'service', verdict: 'good', finding: service }
    yield { check: 'database', verdict: healthy ? 'good' : 'bad', finding: database, code: EXIT.unreachable }
    if (!healthy) return
    const looked = await attempt(() => this.#locks.status(`${this.#prefix}rlm doctor`))
    const mayLook = looked.kind === 'done'
    if (!mayLook && !lacksScope(looked.error)) return yield this.#bad('key', looked.error, failureOf(looked.error, this.#url).code)
    yield mayLook
      ? { check: 'key', verdict: 'good', finding: 'accepted, or none is needed' }
      : { check: 'key', verdict: 'doubtful', finding: `accepted; ${sentenceOf(looked.error)}: ls, status and history are refused` }
    const times = await attempt(() => this.#latencies(mayLook))
    if (times.kind === 'failed') return yield this.#bad('latency', times.error, EXIT.unreachable)
    const [fastest, median, slowest] = times.result.map((ms) => `${ms.toFixed(1)}ms`)
    yield { check: 'latency', verdict: 'good', finding: `${median} in the middle of ${ROUND_TRIPS}, ${fastest} to ${slowest}` }
    yield* this.#lockOnce(`${this.#prefix}rlm doctor ${randomUUID()}`)
  }

  /** Taking a lock tells what the database's clock says, and that one can be taken. */
  async *#lockOnce(resourceName: string): AsyncGenerator<Finding> {
    const before = Date.now()
    const taken = await attempt(() => this.#locks.tryAcquire(resourceName, TRIAL_TTL_SECONDS))
    const after = Date.now()
    if (taken.kind === 'failed') {
      // A key that may only look is a good key.
      yield lacksScope(taken.error)
        ? { check: 'locking', verdict: 'doubtful', finding: `${sentenceOf(taken.error)}: run, lock and release are refused` }
        : this.#bad('locking', taken.error, failureOf(taken.error, this.#url).code)
      return yield { check: 'clock', verdict: 'doubtful', finding: 'unknown without a lock' }
    }
    const { result: lock } = taken
    const released = await attempt(async () => lock?.release())
    if (lock === undefined || released.kind === 'failed') {
      yield this.#bad('locking', released.kind === 'failed' ? released.error : new Error('somebody else has the name'), EXIT.unreachable)
    } else yield { check: 'locking', verdict: 'good', finding: 'a lock was taken and released' }
    if (lock === undefined) return
    const apartMs = lock.lockedAt.getTime() - (before + after) / 2
    const uncertainMs = (after - before) / 2
    yield {
      check: 'clock',
      verdict: Math.abs(apartMs) - uncertainMs > CLOCKS_APART_MS ? 'doubtful' : 'good',
      finding: `the database's is ${lengthText(Math.abs(apartMs))} ${apartMs < 0 ? 'behind' : 'ahead of'} this machine's, give or take ${lengthText(uncertainMs)}`
    }
  }

  #health(): ReturnType<HttpLocks['health']> {
    return this.#locks.health({ signal: AbortSignal.timeout(PATIENCE_SECONDS * 1000) })
  }

  /** The fastest, the middle and the slowest of some calls, in milliseconds. The connection is open by then. */
  async #latencies(mayLook: boolean): Promise<readonly [number, number, number]> {
    const times: number[] = []
    while (times.length < ROUND_TRIPS) {
      const start = performance.now()
      await (mayLook ? this.#locks.status(`${this.#prefix}rlm doctor`) : this.#health())
      times.push(performance.now() - start)
    }
    const [fastest = 0, ...more] = times.toSorted((a, b) => a - b)
    return [fastest, more[(ROUND_TRIPS - 1) / 2 - 1] ?? 0, more.at(-1) ?? 0]
  }

  #bad(check: Finding['check'], error: unknown, code: number): Finding {
    // Health is asked as `fetch` does it; its words are the client's otherwise.
    const known = error instanceof LockRequestError || error instanceof LockServiceUnavailableError
    const told = known ? error : new LockServiceUnavailableError(`${this.#url} did not answer`, { outcomeUnknown: false, cause: error })
    const hint = isForbidden(error) && !lacksScope(error) ? '; name a prefix that the key may use: rlm doctor PREFIX' : ''
    return { check, verdict: 'bad', finding: `${failureOf(told, this.#url).sentence}${hint}`, code }
  }
}

async function attempt<Result>(call: () => Promise<Result>): Promise<Attempt<Result>> {
  try {
    return { kind: 'done', result: await call() }
  } catch (error) {
    return { kind: 'failed', error }
  }
}

function isForbidden(error: unknown): error is LockRequestError {
  return error instanceof LockRequestError && error.status === 403
}

/** The service names the scope that a call takes; its other reason to forbid one is the prefix of the key. */
function lacksScope(error: unknown): boolean {
  return isForbidden(error) && /\bscope\b/.test(sentenceOf(error))
}

function sentenceOf(error: unknown): string {
  return error instanceof LockRequestError ? String(error.detail) : String(error)
}
