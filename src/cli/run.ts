import type { HeldLock, LockLostError } from '../client/index.js'
import { keepSecondsOf } from '../client/work.js'
import { durationMs, readArguments, urlOf, type Command, type Session, required, EXIT, failureOf, lossText, UsageError } from './command.js'
import { acquire, claimOf, HOLD_HELP, HOLD_OPTIONS, LeaseWatch, release, releaseLost, type Claim } from './hold.js'
import { lengthText } from './output.js'
import { ProcessGroup, Signals, type Remains } from './process-group.js'

const DEFAULT_GRACE_MS = 5000
/** A lease is renewed when a third of it is over; a grace of more than another third would leave renewals no time. */
const LARGEST_GRACE = 1 / 3

const END_OPTIONS = { 'on-lost': { type: 'string' }, 'kill-after': { type: 'string' }, 'on-revoke': { type: 'string' } } as const
/** What `rlm elect` and `rlm once` take of it too. */
export const LEASE_OPTIONS = { ttl: HOLD_OPTIONS.ttl, ...END_OPTIONS } as const
const RUN_OPTIONS = { ...HOLD_OPTIONS, ...END_OPTIONS, 'hold-at-least': { type: 'string' } } as const

export const run: Command = {
  usage: 'run NAME [--shared | --limit N [--permits K]] [--ttl 30s] [--wait 30s | --no-wait] [--on-lost kill|warn] [--kill-after 5s] [--on-revoke TERM|USR1] [--hold-at-least TIME] [-E CODE] -- COMMAND …',
  summary: 'Runs a command while holding a lock.',
  help: `${HOLD_HELP}
  --on-lost kill|warn  what to do when the lock is lost: stop the command, or only say so (kill)
  --kill-after TIME    how long before the end of the lease the command is asked to stop (TERM); it is
                       killed in the end (5s; at most a third of the lease). As long has what it started
                       after a signal has ended it
  --on-revoke TERM|USR1
                       what to send the command when an operator asks the lock back (rlm revoke); nothing if
                       left out
  --hold-at-least TIME keeps everybody out until so long after the start, however soon the command ends;
                       at most the lease

Times are 500ms, 30s, 2m, 1h, or seconds. The command sees RLM_RESOURCE, RLM_LOCK_ID and RLM_FENCING_TOKEN,
with --limit also RLM_SLOTS, with spaces between several.

Ends as the command does, with 128+n when signal n ended it. Otherwise: 64 usage, 69 no service, 75 not
acquired, 76 lost, 77 no key or not allowed, 126 cannot be run, 127 not found, 130 or 143 interrupted
while waiting.`,
  options: RUN_OPTIONS,
  run: async (args, session) => {
    const task = readRunTask(args)
    const say = (text: string): void => session.err.line(`rlm: ${text}`)
    if (task.graceIsCut) say(`--kill-after is ${lengthText(task.graceMs)} here, a third of the lease`)
    using signals = new Signals({
      ignored: session.ignored,
      onRefused: (name) => say(`${name} cannot be passed on: the command runs as another user`)
    })
    const lock = await acquire(task, session, signals.interrupted)
    return lock === undefined ? task.conflictCode : await new Run(lock, task, signals, session).run()
  }
}

export interface RunTask extends Claim {
  readonly command: readonly string[]
  readonly onLost: 'kill' | 'warn'
  readonly graceMs: number
  /** Whether a longer grace was asked for. */
  readonly graceIsCut: boolean
  /** What the command is sent when the lock is revoked. */
  readonly onRevoke?: 'SIGTERM' | 'SIGUSR1' | undefined
  /** For how long the lock is kept after a command that ended with that code, in seconds; 0 if left out. */
  readonly keepSeconds?: ((code: number) => number) | undefined
}

/** @throws UsageError with the sentence that says what cannot be understood. */
export function readRunTask(args: readonly string[]): RunTask {
  const end = args.indexOf('--')
  const command = end < 0 ? [] : args.slice(end + 1)
  // What is too much is a command that lacks its dashes.
  const { values, positionals } = readArguments(end < 0 ? args : args.slice(0, end), RUN_OPTIONS, [1, Infinity])
  const [resourceName = '', ...more] = positionals
  if (end < 0 || more.length > 0) throw new UsageError('The command to run stands after --')
  if (command.length === 0 || command[0] === '') throw new UsageError('There is no command after --')
  const claim = claimOf(resourceName, values)
  const askedMs = values['kill-after'] === undefined ? undefined : durationMs('--kill-after', values['kill-after'])
  const graceMs = Math.min(askedMs ?? DEFAULT_GRACE_MS, claim.ttlMs * LARGEST_GRACE)
  const holdMs = values['hold-at-least'] === undefined ? undefined : durationMs('--hold-at-least', values['hold-at-least'])
  if (holdMs !== undefined && holdMs > claim.ttlMs) throw new UsageError('--hold-at-least must be at most the lease, --ttl')
  const endings = { onLost: onLostIn(values['on-lost']), onRevoke: onRevokeIn(values['on-revoke']), graceMs, graceIsCut: askedMs !== undefined && graceMs < askedMs }
  return { ...claim, command, ...endings, holdAtLeastSeconds: holdMs === undefined ? undefined : holdMs / 1000 }
}

function onLostIn(text = 'kill'): RunTask['onLost'] {
  if (text !== 'kill' && text !== 'warn') throw new UsageError(`--on-lost is '${text}'; expected kill or warn`)
  return text
}

function onRevokeIn(text: string | undefined): RunTask['onRevoke'] {
  if (text !== undefined && text !== 'TERM' && text !== 'USR1') throw new UsageError(`--on-revoke is '${text}'; expected TERM or USR1`)
  return text === undefined ? undefined : `SIG${text}`
}

/** Options that were read, as arguments again. */
export function runArguments(values: { readonly [option in 'ttl' | 'on-lost' | 'kill-after' | 'on-revoke']?: string | undefined }): string[] {
  const { ttl, 'on-lost': onLost, 'kill-after': killAfter, 'on-revoke': onRevoke } = values
  return Object.entries({ ttl, 'on-lost': onLost, 'kill-after': killAfter, 'on-revoke': onRevoke }).flatMap(([option, text]) => (text === undefined ? [] : [`--${option}=${text}`]))
}

/** A command under a lock, from the grant to the exit code. */
export class Run {
  readonly #lock: HeldLock
  readonly #task: RunTask
  readonly #signals: Signals
  readonly #session: Session
  readonly #url: string

  constructor(lock: HeldLock, task: RunTask, signals: Signals, session: Session) {
    this.#lock = lock
    this.#task = task
    this.#signals = signals
    this.#session = session
    this.#url = urlOf(session.env)
  }

  async run(): Promise<number> {
    const { interrupted } = this.#signals
    if (interrupted.aborted) {
      // It came just as the lock was granted.
      await this.#release()
      throw interrupted.reason
    }
    const group = await this.#start()
    return group instanceof ProcessGroup ? await this.#under(group) : group
  }

  /** The exit code where the command cannot be run. */
  async #start(): Promise<ProcessGroup | number> {
    const { command } = this.#task
    try {
      return await ProcessGroup.start(command, { ...this.#session.env, ...variablesOf(this.#lock) }, this.#session.ignored)
    } catch (error) {
      await this.#release()
      const code = error instanceof Error && 'code' in error ? String(error.code) : String(error)
      this.#say(code === 'ENOENT' ? `${command[0]}: not found` : `${command[0]}: cannot be run: ${code}`)
      return code === 'ENOENT' ? EXIT.notFound : EXIT.notExecutable
    }
  }

  async #under(group: ProcessGroup): Promise<number> {
    const { onLost, graceMs } = this.#task
    let stopping: Promise<void> | undefined
    using lease = new LeaseWatch(this.#lock, {
      graceMs: onLost === 'kill' ? graceMs : 0,
      onLoss: (loss, leftMs) => {
        this.#say(`${this.#lossText(loss, leftMs)}; ${onLost === 'kill' ? 'stopping the command' : 'the command goes on'}`)
        if (onLost === 'kill') stopping = group.stop(leftMs).then((remains) => this.#report(remains))
      }
    })
    this.#signals.relayTo(group, () => lease.look())
    const asked = new AbortController()
    const { yieldSignal } = this.#lock
    const yieldNow = (): void => this.#onRevoke(group, String(yieldSignal.reason))
    yieldSignal.addEventListener('abort', yieldNow, { signal: asked.signal })
    const code = await group.ended
    asked.abort()
    // What the command had started may be slower than itself to heed the signal, and is still at work under the lock.
    const wasAsked = this.#signals.passedOn || (yieldSignal.aborted && this.#task.onRevoke === 'SIGTERM')
    if (wasAsked && stopping === undefined) this.#report(await group.clear(graceMs))
    this.#signals.relayNoMore()
    lease[Symbol.dispose]()
    if (stopping !== undefined) {
      // What the command had started may outlive it for a moment, and must not outlive the lease.
      await stopping
      await releaseLost(this.#lock)
      return EXIT.lost
    }
    const told = this.#lock.loss
    await this.#release(this.#task.keepSeconds?.(code))
    const { loss } = this.#lock
    if (loss === undefined) return code
    if (loss !== told) this.#say(lossText(loss, this.#url))
    // A failure of the command says more; success without the lock to the end is none.
    return code === 0 ? EXIT.lost : code
  }

  #onRevoke(group: ProcessGroup, reason: string): void {
    const { onRevoke } = this.#task
    this.#say(`the lock is asked back: ${reason}${onRevoke === undefined ? '' : `; the command gets ${onRevoke.slice('SIG'.length)}`}`)
    if (onRevoke === undefined) return
    group.signal(onRevoke)
    // One that is stopped hears of it when it goes on.
    if (onRevoke === 'SIGTERM') group.signal('SIGCONT')
  }

  #lossText(loss: LockLostError | undefined, leftMs: number): string {
    if (loss !== undefined) return lossText(loss, this.#url)
    const { lockId, resourceName, renewalError } = this.#lock
    const why = renewalError === undefined ? '' : `: ${failureOf(renewalError, this.#url).sentence}`
    return `Lock ${lockId} of resource '${resourceName}' was not renewed and ends in ${lengthText(leftMs)}${why}`
  }

  #report(remains: Remains): void {
    if (remains === 'refused') this.#say('the command, or something that it started, is still running: it runs as another user, whose processes cannot be killed from here')
    if (remains === 'alive') this.#say('the command is still running: it was killed, but the system has not ended it')
  }

  #release(keepSeconds?: number): Promise<void> {
    return release(this.#lock, this.#signals.interrupted, this.#session, keepSeconds)
  }

  #say(text: string): void {
    this.#session.err.line(`rlm: ${text}`)
  }
}

function variablesOf({ resourceName, lockId, fencingToken, slots }: HeldLock): Record<string, string> {
  const ofSlots = slots.length === 0 ? {} : { RLM_SLOTS: slots.join(' ') }
  return { RLM_RESOURCE: resourceName, RLM_LOCK_ID: String(lockId), RLM_FENCING_TOKEN: String(fencingToken), ...ofSlots }
}

const ONCE_OPTIONS = { ...LEASE_OPTIONS, every: { type: 'string' }, 'retry-failed': { type: 'boolean' } } as const

export const once: Command = {
  usage: 'once NAME --every 1h [--retry-failed] [--ttl 30s] [--on-lost kill|warn] [--kill-after 5s] -- COMMAND …',
  summary: 'Runs a command at most once in a period, on however many machines.',
  help: `  --every TIME         the period
  --retry-failed       a run that fails does not count: the next machine or call tries again
  --ttl TIME           the lease, which is renewed; after a crash another run may begin so much later (30s)
  --on-lost kill|warn  as rlm run has it
  --kill-after TIME    as rlm run has it
  --on-revoke SIGNAL   as rlm run has it

The same line in the crontab of each machine runs the command on one of them. When the command ends, the lock
is kept until shortly before a period after its start: a tenth of the period, at most 60s, so that a cron that
is slightly early next time is not skipped. Only the database's clock counts.

Ends with 0, in silence, where the command runs or has run in this period. Otherwise as rlm run does.`,
  options: ONCE_OPTIONS,
  run: async (args, session) => {
    const end = args.indexOf('--')
    const { values, positionals } = readArguments(end < 0 ? args : args.slice(0, end), ONCE_OPTIONS, [1, Infinity])
    const everyMs = durationMs('--every', required('--every', values.every))
    if (everyMs === 0) throw new UsageError('--every must be greater than 0')
    const task = readRunTask([...positionals, '--no-wait', ...runArguments(values), ...(end < 0 ? [] : args.slice(end))])
    const say = (text: string): void => session.err.line(`rlm: ${text}`)
    using signals = new Signals({
      ignored: session.ignored,
      onRefused: (name) => say(`${name} cannot be passed on: the command runs as another user`)
    })
    const lock = await acquire({ ...task, isQuiet: true }, session, signals.interrupted)
    if (lock === undefined) return EXIT.ok
    const since = performance.now()
    const keepSeconds = (code: number): number => (code !== 0 && values['retry-failed'] === true ? 0 : keepSecondsOf(everyMs / 1000, performance.now() - since))
    return await new Run(lock, { ...task, keepSeconds }, signals, session).run()
  }
}
