import { keepSecondsOf } from '../client/work.js'
import { durationMs, readArguments, required, type Command } from './args.js'
import { EXIT, UsageError } from './errors.js'
import { acquire } from './hold.js'
import { Signals } from './process-group.js'
import { readRunTask, Run, RUN_OPTIONS, runArguments } from './run.js'

const { ttl, 'on-lost': onLost, 'kill-after': killAfter, 'on-revoke': onRevoke } = RUN_OPTIONS
const ONCE_OPTIONS = { ttl, 'on-lost': onLost, 'kill-after': killAfter, 'on-revoke': onRevoke, every: { type: 'string' }, 'retry-failed': { type: 'boolean' } } as const

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
