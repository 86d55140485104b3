import type { ForceReleaseOutcome } from '../../client/index.js'
import { lockIdOf, readArguments, required } from '../arguments.js'
import { EXIT } from '../exit-codes.js'
import { wireJson } from '../json.js'
import { NOT_HELD } from '../not-held.js'
import { connect, type Command } from '../session.js'

export const forceRelease: Command = {
  usage: 'force-release NAME --reason TEXT [--lock-id N] [--json]',
  summary: 'Takes a lock away from whoever holds it.',
  help: `  --reason TEXT  why, for the history
  --lock-id N    only exactly this grant, the one that you saw
  --json         what came of it, as JSON

Ends with 1 when there was nothing to take away, or another grant than the one that was named.`,
  run: async (args, session) => {
    const options = { reason: { type: 'string' }, 'lock-id': { type: 'string' }, json: { type: 'boolean' } } as const
    const { values, positionals } = readArguments(args, options, [1, 1])
    const [resourceName = ''] = positionals
    const reason = required('--reason', values.reason)
    const outcome = await connect(session).forceRelease(resourceName, reason, { lockId: lockIdOf(values['lock-id']) })
    const done = outcome.kind === 'released'
    if (values.json === true) session.out.line(wireJson(jsonOf(resourceName, outcome)))
    else if (done) session.out.line(`Took '${resourceName}' away from '${outcome.grant.processId}' (lock ${outcome.grant.lockId}).`)
    else session.err.line(`rlm: '${resourceName}' was left alone: ${outcome.kind === 'changed' ? 'another grant is valid by now' : NOT_HELD[outcome.reason]}`)
    return done ? EXIT.ok : EXIT.refused
  }
}

function jsonOf(resourceName: string, outcome: ForceReleaseOutcome): object {
  switch (outcome.kind) {
    case 'released':
      return { released: true, ...outcome.grant, releasedAt: outcome.releasedAt }
    case 'changed':
      return { released: false, resourceName, reason: 'changed' }
    case 'not-held':
      return { released: false, resourceName, reason: outcome.reason }
  }
}
