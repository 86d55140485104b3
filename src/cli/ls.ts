import { setTimeout as sleep } from 'node:timers/promises'
import { LockServiceUnavailableError, type Grant, type HttpLocks } from '../client/index.js'
import { connect, readArguments, type Command } from './args.js'
import { EXIT } from './errors.js'
import { eventCells } from './locks.js'
import { cut, cutMiddle, lengthText, shareText, tableLines, wireJson, type Screen } from './output.js'

const HEAD = ['RESOURCE', 'HOLDER', 'TOKEN', 'HELD FOR', 'ENDS IN']
const DRAW_EVERY_MS = 1000
const OPTIONS = { watch: { type: 'boolean' }, json: { type: 'boolean' } } as const

export const ls: Command = {
  usage: 'ls [PREFIX] [--watch] [--json]',
  summary: 'Lists the locks that are held.',
  help: `  PREFIX   only names that begin with it
  --watch  on a terminal, keep the list up to date; otherwise go on with a line for all that happens
  --json   as the HTTP API says it; with --watch, an object in each line: the list, then what happens`,
  options: OPTIONS,
  run: async (args, session) => {
    const { values, positionals } = readArguments(args, OPTIONS, [0, 1])
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

/** What is held now, and a line for whatever happens from then on, until nobody reads any more. */
async function follow(locks: HttpLocks, prefix: string, screen: Screen, json: boolean): Promise<void> {
  // Asked before the list, so that nothing happens between the two.
  const { events } = await locks.history({ limit: 1 })
  print(screen, await listAll(locks, prefix), json)
  for await (const event of locks.watch({ prefix, after: events[0]?.eventId, signal: screen.closed })) {
    screen.line(json ? wireJson(event) : tableLines([eventCells(event)])[0]?.trimEnd() ?? '')
  }
}

/** The list on the whole screen, for as long as there is one. */
async function draw(locks: HttpLocks, prefix: string, screen: Screen): Promise<void> {
  let lines: readonly string[] = []
  for (let answered = false; !screen.closed.aborted; await sleep(DRAW_EVERY_MS)) {
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
  const beginning = prefix === '' ? '' : `, beginning with '${cutMiddle(prefix, Math.max(8, screen.columns - 40))}'`
  return [
    screen.styled('bold', cut(`${total} held${beginning}`, screen.columns)),
    ...(grants.length === 0 ? [] : linesOf(screen, grants)),
    ...(rest > 0 ? [screen.styled('dim', `and ${rest} more`)] : [])
  ]
}

/** Times are by this machine's clock. A terminal's lines are not broken. */
function linesOf(screen: Screen, grants: readonly Grant[]): string[] {
  const now = Date.now()
  const isShared = grants.some(({ mode }) => mode !== undefined)
  const rows = grants.map(({ resourceName, processId, lockId, lockedAt, expiresAt, ...share }) => [
    resourceName,
    processId,
    ...(isShared ? [shareText(share)] : []),
    String(lockId),
    lengthText(now - lockedAt.getTime()),
    expiresAt === null ? 'never' : lengthText(expiresAt.getTime() - now)
  ])
  const [head = '', ...lines] = tableLines([isShared ? HEAD.toSpliced(2, 0, 'SHARE') : HEAD, ...rows], screen.isTerminal ? { columns: screen.columns, names: [0, 1] } : {})
  return [screen.styled('dim', head), ...lines]
}
