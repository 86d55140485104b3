import type { HeldLock, LockLostError } from '../client/index.js'
import { readArguments, urlOf, type Command, type Session } from './args.js'
import { EXIT, lossText, UsageError } from './errors.js'
import { acquire, claimOf, HOLD_HELP, HOLD_OPTIONS, LeaseWatch, release, releaseLost } from './hold.js'
import { wireJson } from './output.js'
import { Signals } from './process-group.js'

const OPTIONS = { ...HOLD_OPTIONS, json: { type: 'boolean' } } as const

export const lock: Command = {
  usage: 'lock NAME [--shared | --limit N [--permits K]] [--ttl 30s] [--wait 30s | --no-wait] [-E CODE] [--json]',
  summary: 'Holds a lock until Ctrl-C.',
  help: `${HOLD_HELP}
  --json               the grant, as the HTTP API says it

Says on the standard output that it has the lock, renews it, and releases it on HUP, INT, QUIT or TERM; then
it ends with 0. Otherwise: 64 usage, 69 no service, 75 not acquired, 76 lost, 77 no key or not allowed,
130 or 143 interrupted while waiting. rlm run NAME -- COMMAND holds a lock while a command runs.`,
  options: OPTIONS,
  run: async (args, session) => {
    if (args.includes('--')) throw new UsageError('rlm run NAME -- COMMAND runs a command; rlm lock only holds the lock')
    const { values, positionals } = readArguments(args, OPTIONS, [1, 1])
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
