import type { Status } from '../../client/index.js'
import { readArguments } from '../arguments.js'
import { EXIT } from '../exit-codes.js'
import { wireJson } from '../json.js'
import { connect, type Command } from '../session.js'
import { lengthText, tableLines, timeText } from '../text.js'

export const status: Command = {
  usage: 'status NAME [--json]',
  summary: 'Says who holds a lock, since when and until when, and how many wait for it.',
  help: '  --json  as the HTTP API says it',
  run: async (args, session) => {
    const { values, positionals } = readArguments(args, { json: { type: 'boolean' } }, [1, 1])
    const found = await connect(session).status(positionals[0] ?? '')
    if (values.json === true) session.out.line(wireJson(found))
    else for (const line of linesOf(found)) session.out.line(line)
    return EXIT.ok
  }
}

function linesOf({ resourceName, isLocked, lockedBy, lockedAt, expiresAt, lockId, remainingSeconds, metadata, waiters }: Status): string[] {
  if (!isLocked) return [`'${resourceName}' is not locked.`, ...(waiters > 0 ? [`  waiting  ${waiters}`] : [])]
  const end = expiresAt === null ? 'never' : `${timeText(expiresAt)}, in ${lengthText((remainingSeconds ?? 0) * 1000)} unless renewed`
  return [
    `'${resourceName}' is locked by '${lockedBy}'.`,
    ...tableLines([
      ['  token', String(lockId)],
      ['  since', lockedAt === null ? 'unknown' : timeText(lockedAt)],
      ['  ends', end],
      ['  waiting', String(waiters)],
      ...(metadata === null ? [] : [['  metadata', JSON.stringify(metadata)]])
    ])
  ]
}
