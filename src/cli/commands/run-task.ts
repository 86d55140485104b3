import { durationMs, readArguments, wholeNumber } from '../arguments.js'
import { UsageError } from '../errors.js'
import { EXIT } from '../exit-codes.js'

const DEFAULT_TTL = '30s'
const DEFAULT_GRACE_MS = 5000
/** A lease is renewed when a third of it is over; a grace of more than another third would leave renewals no time. */
const LARGEST_GRACE = 1 / 3

export const RUN_HELP = `  --ttl TIME           the lease, which is renewed; after a crash the lock is free so much later (30s)
  --wait TIME          how long to wait in line; as long as it takes if left out
  --no-wait            do not wait
  --on-lost kill|warn  what to do when the lock is lost: stop the command, or only say so (kill)
  --kill-after TIME    how long before the end of the lease the command is asked to stop (TERM); it is
                       killed in the end (5s; at most a third of the lease). As long has what it started
                       after a signal has ended it
  -E, --conflict-exit-code CODE
                       what to end with when somebody else has the lock (75)

Times are 500ms, 30s, 2m, 1h, or seconds. The command sees RLM_RESOURCE, RLM_LOCK_ID and RLM_FENCING_TOKEN.

Ends as the command does, with 128+n when signal n ended it. Otherwise: 64 usage, 69 no service, 75 not
acquired, 76 lost, 77 no key or not allowed, 126 cannot be run, 127 not found, 130 or 143 interrupted
while waiting.`

export interface RunTask {
  readonly resourceName: string
  readonly command: readonly string[]
  readonly ttlMs: number
  /** Undefined waits as long as it takes. */
  readonly waitSeconds: number | undefined
  readonly onLost: 'kill' | 'warn'
  readonly graceMs: number
  /** Whether a longer grace was asked for. */
  readonly graceIsCut: boolean
  readonly conflictCode: number
}

/** @throws UsageError with the sentence that says what cannot be understood. */
export function readRunTask(args: readonly string[]): RunTask {
  const end = args.indexOf('--')
  const command = end < 0 ? [] : args.slice(end + 1)
  const { values, positionals } = readArguments(
    end < 0 ? args : args.slice(0, end),
    {
      ttl: { type: 'string' },
      wait: { type: 'string' },
      'no-wait': { type: 'boolean' },
      'on-lost': { type: 'string' },
      'kill-after': { type: 'string' },
      'conflict-exit-code': { type: 'string', short: 'E' }
    },
    // What is too much is a command that lacks its dashes.
    [1, Infinity]
  )
  const [resourceName = '', ...more] = positionals
  if (end < 0 || more.length > 0) throw new UsageError('The command to run stands after --')
  if (command.length === 0 || command[0] === '') throw new UsageError('There is no command after --')
  if (values.wait !== undefined && values['no-wait'] === true) throw new UsageError('--wait and --no-wait exclude each other')
  const ttlMs = durationMs('--ttl', values.ttl ?? DEFAULT_TTL)
  if (ttlMs === 0) throw new UsageError('--ttl must be greater than 0')
  const askedMs = values['kill-after'] === undefined ? undefined : durationMs('--kill-after', values['kill-after'])
  const graceMs = Math.min(askedMs ?? DEFAULT_GRACE_MS, ttlMs * LARGEST_GRACE)
  return {
    resourceName,
    command,
    ttlMs,
    waitSeconds: values['no-wait'] === true ? 0 : values.wait === undefined ? undefined : durationMs('--wait', values.wait) / 1000,
    onLost: onLostIn(values['on-lost']),
    graceMs,
    graceIsCut: askedMs !== undefined && graceMs < askedMs,
    conflictCode: values['conflict-exit-code'] === undefined ? EXIT.notAcquired : wholeNumber('-E', values['conflict-exit-code'], 0, 255)
  }
}

function onLostIn(text = 'kill'): RunTask['onLost'] {
  if (text !== 'kill' && text !== 'warn') throw new UsageError(`--on-lost is '${text}'; expected kill or warn`)
  return text
}
