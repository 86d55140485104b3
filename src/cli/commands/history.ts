import type { LockEvent } from '../../client/index.js'
import { readArguments, wholeNumber } from '../arguments.js'
import { EXIT } from '../exit-codes.js'
import { wireJson } from '../json.js'
import { connect, type Command } from '../session.js'
import { tableLines, timeText } from '../text.js'

const HEAD = ['AT', 'EVENT', 'RESOURCE', 'HOLDER', 'TOKEN', 'REASON']

export const history: Command = {
  usage: 'history [NAME] [--process ID] [--limit 100] [--json]',
  summary: 'Says what happened, newest first.',
  help: `  --process ID  only what happened to the locks of this process
  --limit N     the newest so many, 1 to 1000
  --json        as the HTTP API says it`,
  run: async (args, session) => {
    const options = { process: { type: 'string' }, limit: { type: 'string', default: '100' }, json: { type: 'boolean' } } as const
    const { values, positionals } = readArguments(args, options, [0, 1])
    const [resourceName] = positionals
    const { events } = await connect(session).history({
      limit: wholeNumber('--limit', values.limit, 1, 1000),
      ...(resourceName === undefined ? {} : { resourceName }),
      ...(values.process === undefined ? {} : { processId: values.process })
    })
    if (values.json === true) session.out.line(wireJson({ events }))
    else if (events.length === 0) session.out.line('Nothing is known.')
    else for (const line of tableLines([HEAD, ...events.map(eventCells)])) session.out.line(line.trimEnd())
    return EXIT.ok
  }
}

/** The cells of one event, as {@link HEAD} names them. */
export function eventCells({ at, event, resourceName, processId, lockId, reason }: LockEvent): string[] {
  return [timeText(at), event.replace('_', '-'), resourceName, processId, String(lockId), reason ?? '']
}
