import { setTimeout as sleep } from 'node:timers/promises'
import { takingUp } from '../client/election.js'
import { LockServiceUnavailableError, type HeldLock, type LeaderState } from '../client/index.js'
import { connect, durationMs, readArguments, urlOf, type Command, type Session, EXIT, failureOf } from './command.js'
import { acquire } from './hold.js'
import { lengthText, wireJson } from './output.js'
import { Signals } from './process-group.js'
import { readRunTask, Run, runArguments, type RunTask, LEASE_OPTIONS } from './run.js'

/** How long to pause before the next campaign: as long as this after work that went on for a while, and longer each time after work that ended at once. */
const SHORTEST_PAUSE_MS = 1000
const LONGEST_PAUSE_MS = 30_000

/** How soon another machine takes over from one that was lost. */
const DEFAULT_TTL = '10s'

const ELECT_OPTIONS = { ...LEASE_OPTIONS, value: { type: 'string' } } as const
const OBSERVE_OPTIONS = { watch: { type: 'boolean' }, json: { type: 'boolean' } } as const

export const elect: Command = {
  usage: 'elect NAME [--value TEXT] [--ttl 10s] [--on-lost kill|warn] [--kill-after 5s] -- COMMAND …',
  summary: 'Runs a command while this process leads, and campaigns again when it ends.',
  help: `  --value TEXT         what rlm leader shows beside the leader, such as its address
  --ttl TIME           the lease: how soon another process leads after a crash of this one (10s)
  --on-lost kill|warn  what to do when the lead is lost: stop the command, or only say so (kill)
  --kill-after TIME    as rlm run has it
  --on-revoke SIGNAL   as rlm run has it

Only one process leads at a time; the others wait in line. After each end of the command, and after each loss,
this process goes to the end of the line, after a pause of 1 to 30 s, which grows while the command ends at
once. The command sees RLM_RESOURCE, RLM_LOCK_ID and RLM_FENCING_TOKEN, which is larger for each new leader.

Goes on until a signal ends it: with the code of the command, or 130 or 143 while it waits. Otherwise: 64 usage,
77 no key or not allowed, 126 cannot be run, 127 not found. A service that is away is waited for.`,
  options: ELECT_OPTIONS,
  run: async (args, session) => {
    const [task, value] = readElection(args)
    const say = (text: string): void => session.err.line(`rlm: ${text}`)
    using signals = new Signals({
      ignored: session.ignored,
      onRefused: (name) => say(`${name} cannot be passed on: the command runs as another user`)
    })
    for (let pauseMs = SHORTEST_PAUSE_MS; ; ) {
      const lock = await campaign(task, value, session, signals.interrupted)
      const since = performance.now()
      const code = await new Run(lock, task, signals, session).run()
      if (signals.passedOn || code === EXIT.notFound || code === EXIT.notExecutable) return code
      pauseMs = performance.now() - since > LONGEST_PAUSE_MS ? SHORTEST_PAUSE_MS : pauseMs
      say(`${lock.loss === undefined && code !== EXIT.lost ? `the command ended with ${code}` : 'the lead was lost'}; campaigning again in ${lengthText(pauseMs)}`)
      await pause(pauseMs, signals.interrupted)
      pauseMs = Math.min(LONGEST_PAUSE_MS, pauseMs * 2)
    }
  }
}

export const leader: Command = {
  usage: 'leader NAME [--watch] [--json]',
  summary: 'Says which process leads.',
  help: `  --watch  go on with a line for each new leader, each new value, and when there is none
  --json   an object in each line, or null where no process leads

Ends with 1 when no process leads.`,
  options: OBSERVE_OPTIONS,
  run: async (args, session) => {
    const { values, positionals } = readArguments(args, OBSERVE_OPTIONS, [1, 1])
    const [name = ''] = positionals
    let state: LeaderState | undefined
    // The first answer is waited for no longer than that of any other command.
    await connect(session).status(name)
    for await (state of connect(session).observe(name, { signal: session.out.closed })) {
      session.out.line(values.json === true ? leaderJson(state) : leaderText(name, state))
      if (values.watch !== true) break
    }
    return state === undefined && values.watch !== true ? EXIT.refused : EXIT.ok
  }
}

/** @throws UsageError with the sentence that says what cannot be understood. */
function readElection(args: readonly string[]): [RunTask, string | undefined] {
  const end = args.indexOf('--')
  const { values, positionals } = readArguments(end < 0 ? args : args.slice(0, end), ELECT_OPTIONS, [1, Infinity])
  const ttl = values.ttl ?? DEFAULT_TTL
  durationMs('--ttl', ttl)
  return [readRunTask([...positionals, ...runArguments({ ...values, ttl }), ...(end < 0 ? [] : args.slice(end))]), values.value]
}

async function campaign(task: RunTask, value: string | undefined, session: Session, interrupted: AbortSignal): Promise<HeldLock> {
  const metadata = value === undefined ? undefined : { value }
  const request = takingUp((unheard) => acquire({ ...task, metadata, ...unheard }, session, interrupted))
  for (let told = false; ; ) {
    try {
      const lock = await request()
      if (lock !== undefined) return lock
    } catch (error) {
      if (!(error instanceof LockServiceUnavailableError)) throw error
      if (!told) session.err.line(`rlm: ${failureOf(error, urlOf(session.env)).sentence}; trying again until it is back`)
      told = true
      await pause(SHORTEST_PAUSE_MS, interrupted)
    }
  }
}

async function pause(ms: number, interrupted: AbortSignal): Promise<void> {
  await sleep(ms, undefined, { signal: interrupted }).catch(() => interrupted.throwIfAborted())
}

function leaderText(name: string, state: LeaderState | undefined): string {
  if (state === undefined) return `No process leads '${name}'.`
  const { leader: processId, fencingToken, value } = state
  const shown = value === undefined ? '' : `: ${typeof value === 'string' ? value : JSON.stringify(value)}`
  return `'${processId}' leads '${name}' (token ${fencingToken})${shown}`
}

function leaderJson(state: LeaderState | undefined): string {
  return state === undefined ? 'null' : wireJson(state)
}
