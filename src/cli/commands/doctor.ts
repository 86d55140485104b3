import { randomUUID } from 'node:crypto'
import { LockRequestError, LockServiceUnavailableError, type HttpLocks } from '../../client/index.js'
import { readArguments } from '../arguments.js'
import { failureOf } from '../errors.js'
import { EXIT } from '../exit-codes.js'
import { wireJson } from '../json.js'
import type { Style } from '../screen.js'
import { connect, urlOf, type Command, type Session } from '../session.js'
import { lengthText } from '../text.js'

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

export const doctor: Command = {
  usage: 'doctor [PREFIX] [--json]',
  summary: 'Checks URL, service, database, key, latency, locking and the difference of the clocks.',
  help: `  PREFIX  for a key that is confined to names that begin with it
  --json  an object for each check

It takes a lock of a name of its own for a moment. Ends with 69 when the service or its database is away,
with 77 when the key is not accepted.`,
  run: async (args, session) => {
    const { values, positionals } = readArguments(args, { json: { type: 'boolean' } }, [0, 1])
    const [prefix = ''] = positionals
    let code: number = EXIT.ok
    for await (const finding of examine(session, prefix)) {
      if (finding.verdict === 'bad' && code === EXIT.ok) code = finding.code ?? EXIT.refused
      const { check, verdict, finding: text } = finding
      session.out.line(values.json === true ? wireJson({ check, verdict, finding: text }) : `${session.out.styled(STYLE_OF[verdict], verdict.padEnd(8))}  ${check.padEnd(8)}  ${text}`)
    }
    return code
  }
}

/** Goes on as long as the next check can tell more. */
async function* examine(session: Session, prefix: string): AsyncGenerator<Finding> {
  const locks = connect(session, { retrySeconds: 0 })
  const known = session.env['RLM_API_KEY'] === undefined ? 'no key' : 'a key'
  yield { check: 'url', verdict: 'good', finding: `${urlOf(session.env)}, with ${known}` }
  const health = await attempt(() => locks.health())
  if (health.kind === 'failed') return yield bad('service', health.error, EXIT.unreachable)
  const { service, database, healthy } = health.result
  if (service === 'undefined') return yield { check: 'service', verdict: 'bad', finding: 'what answers there is another service', code: EXIT.unreachable }
  yield { check: 'service', verdict: 'good', finding: service }
  yield { check: 'database', verdict: healthy ? 'good' : 'bad', finding: database, code: EXIT.unreachable }
  if (!healthy) return
  const looked = await latencies(locks, `${prefix}rlm doctor`)
  if (looked.kind === 'failed') return yield bad('key', looked.error, failureOf(looked.error).code)
  yield { check: 'key', verdict: 'good', finding: 'accepted, or none is needed' }
  const [fastest, median, slowest] = looked.result.map(lengthOf)
  yield { check: 'latency', verdict: 'good', finding: `${median} in the middle of ${ROUND_TRIPS}, ${fastest} to ${slowest}` }
  yield* lockOnce(locks, `${prefix}rlm doctor ${randomUUID()}`)
}

/** Taking a lock tells what the database's clock says, and that one can be taken. */
async function* lockOnce(locks: HttpLocks, resourceName: string): AsyncGenerator<Finding> {
  const before = Date.now()
  const taken = await attempt(() => locks.tryAcquire(resourceName, TRIAL_TTL_SECONDS))
  const after = Date.now()
  if (taken.kind === 'failed') {
    // A key that may only look is a good key.
    const mayNot = taken.error instanceof LockRequestError && taken.error.status === 403
    yield mayNot ? { check: 'locking', verdict: 'doubtful', finding: `the key may not lock '${resourceName}'` } : bad('locking', taken.error, failureOf(taken.error).code)
    return yield { check: 'clock', verdict: 'doubtful', finding: 'unknown without a lock' }
  }
  const { result: lock } = taken
  const released = await attempt(async () => lock?.release())
  if (lock === undefined || released.kind === 'failed') {
    yield bad('locking', released.kind === 'failed' ? released.error : new Error('somebody else has the name'), EXIT.unreachable)
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

type Attempt<Result> = { readonly kind: 'done'; readonly result: Result } | { readonly kind: 'failed'; readonly error: unknown }

async function attempt<Result>(call: () => Promise<Result>): Promise<Attempt<Result>> {
  try {
    return { kind: 'done', result: await call() }
  } catch (error) {
    return { kind: 'failed', error }
  }
}

function bad(check: Finding['check'], error: unknown, code: number): Finding {
  // Health is asked as `fetch` does it; its words are the client's otherwise.
  const known = error instanceof LockRequestError || error instanceof LockServiceUnavailableError
  const told = known ? error : new LockServiceUnavailableError('it did not answer', { outcomeUnknown: false, cause: error })
  return { check, verdict: 'bad', finding: failureOf(told).sentence ?? '', code }
}

/** The fastest, the middle and the slowest of some calls, in milliseconds; the first, which opens the connection, does not count. */
async function latencies(locks: HttpLocks, resourceName: string): Promise<Attempt<readonly [number, number, number]>> {
  return attempt(async () => {
    await locks.status(resourceName)
    const times: number[] = []
    while (times.length < ROUND_TRIPS) {
      const start = performance.now()
      await locks.status(resourceName)
      times.push(performance.now() - start)
    }
    const [fastest = 0, ...more] = times.toSorted((a, b) => a - b)
    return [fastest, more[(ROUND_TRIPS - 1) / 2 - 1] ?? 0, more.at(-1) ?? 0]
  })
}

function lengthOf(ms: number): string {
  return `${ms.toFixed(1)}ms`
}
