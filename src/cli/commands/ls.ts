import { setTimeout as sleep } from 'node:timers/promises'
import { LockServiceUnavailableError, type Grant, type HttpLocks } from '../../client/index.js'
import { readArguments } from '../arguments.js'
import { EXIT } from '../exit-codes.js'
import { wireJson } from '../json.js'
import type { Screen } from '../screen.js'
import { connect, type Command } from '../session.js'
import { cut, lengthText, tableLines } from '../text.js'
import { eventCells } from './history.js'

const HEAD = ['RESOURCE', 'HOLDER', 'TOKEN', 'HELD FOR', 'ENDS IN']
const DRAW_EVERY_MS = 1000

export const ls: Command = {
  usage: 'ls [PREFIX] [--watch] [--json]',
  summary: 'Lists the locks that are held.',
  help: `  PREFIX   only names that begin with it
  --watch  on a terminal, keep the list up to date; otherwise go on with a line for all that happens
  --json   as the HTTP API says it; with --watch, an object in each line: the list, then what happens`,
  run: async (args, session) => {
    const { values, positionals } = readArguments(args, { watch: { type: 'boolean' }, json: { type: 'boolean' } }, [0, 1])
    const [prefix = ''] = positionals
    const locks = connect(session)
    if (values.watch !== true) print(session.out, await listAll(locks, prefix), values.json === true)
    else if (session.out.isTerminal && values.json !== true) await draw(locks, prefix, session.out)
    else await follow(locks, prefix, session.out, values.json === true)
    return EXIT.ok
  }
}

async function listAll(locks: HttpLocks, prefix: string): Promise<Grant[]> {
  const all: Grant[] = []
  for (let cursor: string | null | undefined; cursor !== null; ) {
    const page = await locks.list({ prefix, ...(cursor === undefined ? {} : { cursor }) })
    all.push(...page.locks)
    cursor = page.nextCursor
  }
  return all
}

function print(screen: Screen, grants: readonly Grant[], json: boolean): void {
  if (json) return screen.line(wireJson({ totalLocks: grants.length, locks: grants }))
  if (grants.length === 0) return screen.line('Nothing is locked.')
  for (const line of linesOf(screen, grants)) screen.line(line)
}

/** What is held now, and a line for whatever happens from then on. */
async function follow(locks: HttpLocks, prefix: string, screen: Screen, json: boolean): Promise<void> {
  // Asked before the list, so that nothing happens between the two.
  const { events } = await locks.history({ limit: 1 })
  print(screen, await listAll(locks, prefix), json)
  for await (const event of locks.watch({ prefix, after: events[0]?.eventId })) {
    screen.line(json ? wireJson(event) : eventCells(event).join('  ').trimEnd())
  }
}

/** The list on the whole screen, for as long as somebody looks at it. */
async function draw(locks: HttpLocks, prefix: string, screen: Screen): Promise<never> {
  let lines: readonly string[] = []
  for (let answered = false; ; await sleep(DRAW_EVERY_MS)) {
    try {
      // Two lines above the list, one that says how many there are beside it, and the one that the cursor is on.
      const { locks: grants, totalLocks } = await locks.list({ prefix, limit: Math.max(1, screen.rows - 4) })
      lines = screenful(screen, prefix, grants, totalLocks)
      answered = true
      screen.redraw(lines)
    } catch (error) {
      if (!answered || !(error instanceof LockServiceUnavailableError)) throw error
      screen.redraw([screen.styled('red', cut(`${error.message}; this is what was seen last`, screen.columns)), ...lines.slice(1)])
    }
  }
}

function screenful(screen: Screen, prefix: string, grants: readonly Grant[], total: number): string[] {
  const rest = total - grants.length
  return [
    screen.styled('bold', cut(`${total} held${prefix === '' ? '' : `, beginning with '${prefix}'`}`, screen.columns)),
    ...(grants.length === 0 ? [] : linesOf(screen, grants)),
    ...(rest > 0 ? [screen.styled('dim', `and ${rest} more`)] : [])
  ]
}

/** Times are by this machine's clock. A terminal's lines are not broken. */
function linesOf(screen: Screen, grants: readonly Grant[]): string[] {
  const now = Date.now()
  const [head = '', ...lines] = tableLines([
    HEAD,
    ...grants.map(({ resourceName, processId, lockId, lockedAt, expiresAt }) => [
      resourceName,
      processId,
      String(lockId),
      lengthText(now - lockedAt.getTime()),
      expiresAt === null ? 'never' : lengthText(expiresAt.getTime() - now)
    ])
  ]).map((line) => (screen.isTerminal ? cut(line, screen.columns) : line))
  return [screen.styled('dim', head), ...lines]
}
