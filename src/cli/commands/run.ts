import { hostname } from 'node:os'
import { setTimeout as sleep } from 'node:timers/promises'
import { LockNotAcquiredError, type HeldLock } from '../../client/index.js'
import { EXIT } from '../exit-codes.js'
import { failureOf } from '../errors.js'
import { LeaseWatch } from '../lease-watch.js'
import { ProcessGroup } from '../process-group.js'
import { connect, type Command, type Session } from '../session.js'
import { Signals } from '../signals.js'
import { lengthText } from '../text.js'
import { WaitingLine } from '../waiting-line.js'
import { readRunTask, RUN_HELP, type RunTask } from './run-task.js'

/** A service that is started again is not missed. */
const RETRY_SECONDS = 10
/** How long the release of a lock that is lost anyway may keep the command from ending. */
const FAREWELL_MS = 500

export const run: Command = {
  usage: 'run NAME [--ttl 30s] [--wait 30s | --no-wait] [--on-lost kill|warn] [--kill-after 5s] [-E CODE] -- COMMAND …',
  summary: 'Runs a command while holding a lock.',
  help: RUN_HELP,
  run: async (args, session) => {
    const task = readRunTask(args)
    if (task.graceIsCut) session.err.line(`rlm: --kill-after is ${lengthText(task.graceMs)} here, a third of the lease`)
    using signals = new Signals()
    const lock = await acquire(task, session, signals.interrupted)
    return lock === undefined ? task.conflictCode : await runWith(lock, task, signals, session)
  }
}

/** Undefined when somebody else has it. */
async function acquire({ resourceName, ttlMs, waitSeconds }: RunTask, session: Session, signal: AbortSignal): Promise<HeldLock | undefined> {
  const locks = connect(session, { processId: processIdOf(), retrySeconds: RETRY_SECONDS })
  using line = new WaitingLine(session.err)
  const onWaiting = session.err.isTerminal ? line.show.bind(line) : undefined
  try {
    return await locks.acquire(resourceName, { ttlSeconds: ttlMs / 1000, waitSeconds, signal, onWaiting })
  } catch (error) {
    if (!(error instanceof LockNotAcquiredError)) throw error
    line[Symbol.dispose]()
    session.err.line(`rlm: ${failureOf(error).sentence}`)
    return undefined
  }
}

async function runWith(lock: HeldLock, task: RunTask, signals: Signals, session: Session): Promise<number> {
  const say = (text: string): void => session.err.line(`rlm: ${text}`)
  if (signals.interrupted.aborted) {
    // It came just as the lock was granted.
    await release(lock, signals, say)
    throw signals.interrupted.reason
  }
  let group: ProcessGroup
  try {
    group = await ProcessGroup.start(task.command, { ...session.env, ...variablesOf(lock) })
  } catch (error) {
    await release(lock, signals, say)
    const code = error instanceof Error && 'code' in error ? String(error.code) : String(error)
    say(code === 'ENOENT' ? `${task.command[0]}: not found` : `${task.command[0]}: cannot be run: ${code}`)
    return code === 'ENOENT' ? EXIT.notFound : EXIT.notExecutable
  }
  let stopping: Promise<void> | undefined
  using lease = new LeaseWatch(lock, {
    graceMs: task.onLost === 'kill' ? task.graceMs : 0,
    onLoss: (loss, leftMs) => {
      const what = loss?.message ?? `Lock ${lock.lockId} of resource '${lock.resourceName}' was not renewed and ends in ${lengthText(leftMs)}`
      say(`${what}; the command ${task.onLost === 'kill' ? 'is stopped' : 'goes on'}`)
      if (task.onLost === 'kill') stopping = group.stop(leftMs)
    }
  })
  signals.relayTo(group, () => lease.look())
  const code = await group.ended
  // What the command had started may be slower than itself to heed the signal, and is still at work under the lock.
  if (signals.passedOn && stopping === undefined) await group.clear(task.graceMs)
  signals.relayNoMore()
  lease[Symbol.dispose]()
  if (stopping !== undefined) {
    // What the command had started may outlive it for a moment, and must not outlive the lease.
    await stopping
    await Promise.race([lock.release().catch(() => undefined), sleep(FAREWELL_MS, undefined, { ref: false })])
    return EXIT.lost
  }
  const told = lock.loss
  await release(lock, signals, say)
  const { loss } = lock
  if (loss === undefined) return code
  if (loss !== told) say(loss.message)
  // A failure of the command says more; success without the lock to the end is none.
  return code === 0 ? EXIT.lost : code
}

/** Releases it, unless a signal says that it is not worth waiting for. What cannot be released ends with its lease. */
async function release(lock: HeldLock, signals: Signals, say: (text: string) => void): Promise<void> {
  const { interrupted } = signals
  const enough = new Promise<void>((resolve) => interrupted.addEventListener('abort', () => resolve()))
  const released = lock.release().catch((error: unknown) => say(`the lock was not released and ends with its lease: ${failureOf(error).sentence}`))
  await Promise.race(interrupted.aborted ? [released, sleep(FAREWELL_MS)] : [released, enough])
}

function variablesOf({ resourceName, lockId, fencingToken }: HeldLock): Record<string, string> {
  return { RLM_RESOURCE: resourceName, RLM_LOCK_ID: String(lockId), RLM_FENCING_TOKEN: String(fencingToken) }
}

/** Tells whoever waits where to look; the random part tells apart what ran there at other times. */
function processIdOf(): string {
  const random = Math.floor(Math.random() * 2 ** 32)
  return `${hostname().slice(0, 200)}/${process.pid}/${random.toString(16).padStart(8, '0')}`
}
