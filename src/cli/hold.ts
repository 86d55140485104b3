import { setTimeout as sleep } from 'node:timers/promises'
import { LockNotAcquiredError, type Conflict, type HeldLock, type LockLostError, type Metadata, type Sharing } from '../client/index.js'
import { connect, durationMs, urlOf, wholeNumber, type Session, readArguments, type Command, EXIT, failureOf, UsageError, lossText } from './command.js'
import { cut, cutMiddle, lengthText, ordinal, type Screen, wireJson } from './output.js'
import { Signals } from './process-group.js'

/** For how long a service that does not answer is asked again: one that is restarted is not missed. */
const HOLD_PATIENCE_SECONDS = 10
const DEFAULT_TTL = '30s'
/** How long the release of a lock that is lost anyway, or that a second signal interrupts, may keep the command from ending. */
const FAREWELL_MS = 500
/** A machine that slept wakes with its timers as they were. */
const LOOK_EVERY_MS = 1000
/** Names in a sentence on a terminal are cut to this many columns. */
const NAME_COLUMNS = 40

/** Of one resource, as the service has it. */
const MAX_PERMITS = 100_000

/** After these the lease is over: there is no time left for anything. */
const OVER = new Set(['unconfirmed', 'expired'])

export const HOLD_OPTIONS = {
  ttl: { type: 'string' },
  wait: { type: 'string' },
  'no-wait': { type: 'boolean' },
  'conflict-exit-code': { type: 'string', short: 'E' },
  shared: { type: 'boolean' },
  limit: { type: 'string' },
  permits: { type: 'string' }
} as const

export const HOLD_HELP = `  --ttl TIME           the lease, which is renewed; after a crash the lock is free so much later (30s)
  --wait TIME          how long to wait in line; as long as it takes if left out
  --no-wait            do not wait
  -E, --conflict-exit-code CODE
                       what to end with when somebody else has the lock (75)
  --shared             beside others that hold it with --shared, as readers do
  --limit N            beside others as long as at most N permits are held; RLM_SLOTS says which numbers from
                       1 to N are this one's
  --permits K          takes K of the permits (1)`

/** A lock to be taken and held. */
export interface Claim {
  readonly resourceName: string
  readonly ttlMs: number
  /** Undefined waits as long as it takes. */
  readonly waitSeconds: number | undefined
  readonly conflictCode: number
  readonly metadata?: Metadata | undefined
  /** Those of a request whose answer was lost: what it was granted is taken up. */
  readonly requestId?: string | undefined
  readonly processId?: string | undefined
  readonly sharing: Sharing
  readonly holdAtLeastSeconds?: number | undefined
  /** Whether nothing is said where somebody else has it. */
  readonly isQuiet?: boolean | undefined
}

interface HoldValues {
  readonly ttl?: string | undefined
  readonly wait?: string | undefined
  readonly 'no-wait'?: boolean | undefined
  readonly 'conflict-exit-code'?: string | undefined
  readonly shared?: boolean | undefined
  readonly limit?: string | undefined
  readonly permits?: string | undefined
}

/** @throws UsageError with the sentence that says what cannot be understood. */
export function claimOf(resourceName: string, values: HoldValues): Claim {
  if (values.wait !== undefined && values['no-wait'] === true) throw new UsageError('--wait and --no-wait exclude each other')
  const ttlMs = durationMs('--ttl', values.ttl ?? DEFAULT_TTL)
  if (ttlMs === 0) throw new UsageError('--ttl must be greater than 0')
  if (values.permits !== undefined && values.limit === undefined) throw new UsageError('--permits needs --limit')
  const limit = values.limit === undefined ? undefined : wholeNumber('--limit', values.limit, 1, MAX_PERMITS)
  return {
    resourceName,
    ttlMs,
    waitSeconds: values['no-wait'] === true ? 0 : values.wait === undefined ? undefined : durationMs('--wait', values.wait) / 1000,
    conflictCode: values['conflict-exit-code'] === undefined ? EXIT.notAcquired : wholeNumber('-E', values['conflict-exit-code'], 0, 255),
    sharing: {
      mode: values.shared === true || limit !== undefined ? 'shared' : undefined,
      limit,
      permits: values.permits === undefined ? undefined : wholeNumber('--permits', values.permits, 1, limit ?? 1)
    }
  }
}

/** Undefined when somebody else has it, which was said. */
export async function acquire({ resourceName, ttlMs, waitSeconds, metadata, requestId, processId, sharing, holdAtLeastSeconds, isQuiet }: Claim, session: Session, signal: AbortSignal): Promise<HeldLock | undefined> {
  const locks = connect(session, { retrySeconds: HOLD_PATIENCE_SECONDS, timeoutSeconds: HOLD_PATIENCE_SECONDS })
  using line = new WaitingLine(session.err)
  const onWaiting = session.err.isTerminal ? line.show.bind(line) : undefined
  try {
    return await locks.acquire(resourceName, { ...sharing, ttlSeconds: ttlMs / 1000, waitSeconds, metadata, requestId, processId, holdAtLeastSeconds, signal, onWaiting })
  } catch (error) {
    if (!(error instanceof LockNotAcquiredError)) throw error
    line[Symbol.dispose]()
    if (isQuiet !== true) session.err.line(`rlm: ${error.message}`)
    return undefined
  }
}

/** Releases it, unless a signal says that it is not worth waiting for. What cannot be released ends with its lease. */
export async function release(lock: HeldLock, interrupted: AbortSignal, session: Session, keepSeconds = 0): Promise<void> {
  const url = urlOf(session.env)
  const failed = (error: unknown): void => session.err.line(`rlm: the lock was not released and ends with its lease: ${failureOf(error, url).sentence}`)
  const enough = new Promise<void>((resolve) => interrupted.addEventListener('abort', () => resolve()))
  const released = lock.release(keepSeconds > 0 ? { keepSeconds } : {}).catch(failed)
  await Promise.race(interrupted.aborted ? [released, sleep(FAREWELL_MS)] : [released, enough])
}

/** Releases a lock that is lost by now: what is left of its lease is of use to nobody. */
export async function releaseLost(lock: HeldLock): Promise<void> {
  await Promise.race([lock.release().catch(() => undefined), sleep(FAREWELL_MS, undefined, { ref: false })])
}

interface LeaseWatchOptions {
  /** How long before the end of the lease it is given up, in milliseconds. */
  readonly graceMs: number
  /**
   * Called once.
   *
   * @param loss undefined when the lease still goes on, and no renewal was confirmed.
   * @param leftMs how much of the grace is left before the lease ends, or would have ended.
   */
  readonly onLoss: (loss: LockLostError | undefined, leftMs: number) => void
}

/**
 * Gives a lock up while there is time to stop what it protects, rather than at the last moment, as the lock itself does.
 */
export class LeaseWatch implements Disposable {
  readonly #lock: HeldLock
  readonly #options: LeaseWatchOptions
  readonly #lost: () => void
  /** When the lease ends, as last seen. Renewals move it only away. */
  #endsAt = 0
  #timer: NodeJS.Timeout | undefined
  #done = false

  constructor(lock: HeldLock, options: LeaseWatchOptions) {
    this.#lock = lock
    this.#options = options
    this.#lost = () => this.#tell(lock.loss)
    lock.signal.addEventListener('abort', this.#lost)
    this.look()
  }

  /** Looks at once, for instance after this process was stopped. */
  look(): void {
    clearTimeout(this.#timer)
    const { remainingMs } = this.#lock
    // Looking at it may have ended it.
    if (this.#done) return
    if (this.#lock.loss !== undefined) return this.#tell(this.#lock.loss)
    const spareMs = remainingMs - this.#options.graceMs
    this.#endsAt = performance.now() + remainingMs
    if (spareMs <= 0) return this.#tell(undefined)
    this.#timer = setTimeout(() => this.look(), Math.min(spareMs, LOOK_EVERY_MS)).unref()
  }

  [Symbol.dispose](): void {
    this.#done = true
    clearTimeout(this.#timer)
    this.#lock.signal.removeEventListener('abort', this.#lost)
  }

  #tell(loss: LockLostError | undefined): void {
    if (this.#done) return
    this[Symbol.dispose]()
    const leftMs = loss !== undefined && OVER.has(loss.reason) ? 0 : Math.max(0, this.#endsAt - performance.now())
    this.#options.onLoss(loss, Math.min(this.#options.graceMs, leftMs))
  }
}

/** One line on a terminal that says what a wait is for, and is gone afterwards. */
class WaitingLine implements Disposable {
  readonly #screen: Screen
  #shown = false

  constructor(screen: Screen) {
    this.#screen = screen
  }

  show(conflict: Conflict): void {
    this.#shown = true
    // Only the last line can be written over.
    this.#screen.overwrite(this.#screen.styled('dim', cut(`rlm: ${waitingText(conflict)}`, this.#screen.columns - 1)))
  }

  [Symbol.dispose](): void {
    if (this.#shown) this.#screen.overwrite('')
    this.#shown = false
  }
}

function waitingText({ resourceName, lockedBy, lockId, retryAfterSeconds, queuePosition, waiters }: Conflict): string {
  const [resource, holder] = [cutMiddle(resourceName, NAME_COLUMNS), cutMiddle(lockedBy, NAME_COLUMNS)]
  const place = queuePosition === null ? `${waiters} in line` : `${ordinal(queuePosition)} of ${Math.max(waiters, queuePosition)} in line`
  if (lockId === null) return `waiting for '${resource}', ${place}: it is the turn of '${holder}'`
  const end = retryAfterSeconds === null ? 'without an end' : `ends in ${lengthText(retryAfterSeconds * 1000)} unless renewed`
  return `waiting for '${resource}', ${place}: held by '${holder}', ${end}`
}

const LOCK_OPTIONS = { ...HOLD_OPTIONS, json: { type: 'boolean' } } as const

export const lock: Command = {
  usage: 'lock NAME [--shared | --limit N [--permits K]] [--ttl 30s] [--wait 30s | --no-wait] [-E CODE] [--json]',
  summary: 'Holds a lock until Ctrl-C.',
  help: `${HOLD_HELP}
  --json               the grant, as the HTTP API says it

Says on the standard output that it has the lock, renews it, and releases it on HUP, INT, QUIT or TERM; then
it ends with 0. Otherwise: 64 usage, 69 no service, 75 not acquired, 76 lost, 77 no key or not allowed,
130 or 143 interrupted while waiting. rlm run NAME -- COMMAND holds a lock while a command runs.`,
  options: LOCK_OPTIONS,
  run: async (args, session) => {
    if (args.includes('--')) throw new UsageError('rlm run NAME -- COMMAND runs a command; rlm lock only holds the lock')
    const { values, positionals } = readArguments(args, LOCK_OPTIONS, [1, 1])
    const claim = claimOf(positionals[0] ?? '', values)
    const held = await take(claim, session, (lock) => {
      const { resourceName, lockId } = lock
      session.out.line(values.json === true ? wireJson(grantOf(lock)) : `Holding '${resourceName}' (lock ${lockId}) until Ctrl-C.`)
    })
    return held ?? claim.conflictCode
  }
}

/** The exit code; undefined when somebody else has the lock. */
async function take(claim: Parameters<typeof acquire>[0], session: Session, onHeld: (lock: HeldLock) => void): Promise<number | undefined> {
  const { ignored } = session
  let held: HeldLock
  {
    using signals = new Signals({ ignored })
    const acquired = await acquire(claim, session, signals.interrupted)
    if (acquired === undefined) return undefined
    held = acquired
    onHeld(held)
    const loss = await endOf(held, signals.interrupted)
    if (loss !== undefined) {
      session.err.line(`rlm: ${lossText(loss, urlOf(session.env))}`)
      await releaseLost(held)
      return EXIT.lost
    }
  }
  // Another signal gives the release up.
  using signals = new Signals({ ignored })
  await release(held, signals.interrupted, session)
  if (held.loss === undefined) return EXIT.ok
  session.err.line(`rlm: ${lossText(held.loss, urlOf(session.env))}`)
  return EXIT.lost
}

/** Resolves when the lock is lost, or, to undefined, when a signal says that it was held for long enough. */
function endOf(lock: HeldLock, interrupted: AbortSignal): Promise<LockLostError | undefined> {
  return new Promise((resolve) => {
    // Nothing else keeps the process.
    const alive = setInterval(() => undefined, 2 ** 30)
    const end = (loss: LockLostError | undefined): void => {
      clearInterval(alive)
      resolve(loss)
    }
    const watch = new LeaseWatch(lock, { graceMs: 0, onLoss: () => end(lock.loss) })
    const stop = (): void => {
      watch[Symbol.dispose]()
      end(undefined)
    }
    if (interrupted.aborted) stop()
    else interrupted.addEventListener('abort', stop)
  })
}

function grantOf({ resourceName, processId, lockId, fencingToken, lockedAt, expiresAt, metadata, mode, slots }: HeldLock): object {
  const share = mode === 'shared' ? { mode, slots } : {}
  return { resourceName, processId, lockId, fencingToken, lockedAt, expiresAt, metadata, ...share }
}
