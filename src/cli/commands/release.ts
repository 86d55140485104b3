import { lockIdOf, readArguments, required } from '../arguments.js'
import { EXIT } from '../exit-codes.js'
import { wireJson } from '../json.js'
import { NOT_HELD } from '../not-held.js'
import { connect, type Command } from '../session.js'

export const release: Command = {
  usage: 'release NAME --process ID [--lock-id N] [--json]',
  summary: 'Releases a lock for the process that holds it.',
  help: `  --process ID  who holds it, as rlm status says
  --lock-id N   only exactly this grant, and no later one of the same process
  --json        what came of it, as JSON

Ends with 1 when the process does not hold the lock.`,
  run: async (args, session) => {
    const options = { process: { type: 'string' }, 'lock-id': { type: 'string' }, json: { type: 'boolean' } } as const
    const { values, positionals } = readArguments(args, options, [1, 1])
    const [resourceName = ''] = positionals
    const processId = required('--process', values.process)
    const outcome = await connect(session).release({ resourceName, processId, lockId: lockIdOf(values['lock-id']) })
    // Released already, by a try whose answer was lost.
    const done = outcome.kind === 'released' || (outcome.repeated && outcome.reason === 'released')
    const why = done ? {} : { reason: outcome.reason }
    if (values.json === true) session.out.line(wireJson({ released: done, resourceName, processId, ...why }))
    else if (done) session.out.line(`Released '${resourceName}'.`)
    else session.err.line(`rlm: '${resourceName}' is not held by '${processId}': ${NOT_HELD[outcome.reason]}`)
    return done ? EXIT.ok : EXIT.refused
  }
}
