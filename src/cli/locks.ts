import { setTimeout as sleep } from 'node:timers/promises'
import { type Grant, type LockEvent, type NotHeld, type Status, LockServiceUnavailableError, type HttpLocks } from '../client/index.js'
import { connect, durationMs, lockIdOf, readArguments, required, wholeNumber, type Command, EXIT, NOT_HELD } from './command.js'
import { lengthText, shareText, tableLines, timeText, wireJson, cut, cutMiddle, type Screen } from './output.js'

const STATUS_OPTIONS = { json: { type: 'boolean' } } as const
const RELEASE_OPTIONS = { process: { type: 'string' }, 'lock-id': { type: 'string' }, json: { type: 'boolean' } } as const
const FORCE_RELEASE_OPTIONS = { reason: { type: 'string' }, 'lock-id': { type: 'string' }, json: { type: 'boolean' } } as const
const REVOKE_OPTIONS = { reason: { type: 'string' }, grace: { type: 'string' }, 'lock-id': { type: 'string' }, json: { type: 'boolean' } } as const
const HISTORY_OPTIONS = { process: { type: 'string' }, limit: { type: 'string' }, json: { type: 'boolean' } } as const

const QUEUE_OPTIONS = { limit: { type: 'string' }, json: { type: 'boolean' } } as const
const QUEUE_HEAD = ['PLACE', 'PROCESS', 'SHARE', 'WAITING SINCE', '']

const HISTORY_HEAD = ['AT', 'EVENT', 'RESOURCE', 'HOLDER', 'TOKEN', 'REASON']
const DEFAULT_LIMIT = '100'

export const status: Command = {
  usage: 'status NAME [--json]',
  summary: 'Says who holds a lock, since when and until when, and how many wait for it.',
  help: '  --json  as the HTTP API says it',
  options: STATUS_OPTIONS,
  run: async (args, session) => {
    const { values, positionals } = readArguments(args, STATUS_OPTIONS, [1, 1])
    const found = await connect(session).status(positionals[0] ?? '')
    if (values.json === true) session.out.line(wireJson(found))
    else for (const line of statusLines(found)) session.out.line(line)
    return EXIT.ok
  }
}

export const release: Command = {
  usage: 'release NAME --process ID [--lock-id N] [--json]',
  summary: 'Releases a lock for the process that holds it.',
  help: `  --process ID  who holds it, as rlm status says
  --lock-id N   only exactly this grant, and no later one of the same process
  --json        what came of it, as JSON

Ends with 1 when the process does not hold the lock.`,
  options: RELEASE_OPTIONS,
  run: async (args, session) => {
    const { values, positionals } = readArguments(args, RELEASE_OPTIONS, [1, 1])
    const [resourceName = ''] = positionals
    const processId = required('--process', values.process)
    const outcome = await connect(session).release({ resourceName, processId, lockId: lockIdOf(values['lock-id']) })
    // Released already, by a try whose answer was lost.
    const done = outcome.kind === 'released' || (outcome.repeated && (outcome.releasedAt instanceof Date || (outcome.releasedAt === undefined && outcome.reason === 'released')))
    const why = done ? {} : { reason: outcome.reason }
    if (values.json === true) session.out.line(wireJson({ released: done, resourceName, processId, ...why }))
    else if (done) session.out.line(`Released '${resourceName}'.`)
    else session.err.line(`rlm: '${resourceName}' is not held by '${processId}': ${NOT_HELD[outcome.reason]}`)
    return done ? EXIT.ok : EXIT.refused
  }
}

export const revoke: Command = {
  usage: 'revoke NAME --reason TEXT --grace TIME [--lock-id N] [--json]',
  summary: 'Asks the holder of a lock to end; after the grace the lock ends by itself.',
  help: `  --reason TEXT  why, for the holder and the history
  --grace TIME   for how long it may still be held
  --lock-id N    only exactly this grant, the one that you saw
  --json         what came of it, as JSON

Ends with 1 when nobody holds it, or another grant than the one that was named is valid.`,
  options: REVOKE_OPTIONS,
  run: async (args, session) => {
    const { values, positionals } = readArguments(args, REVOKE_OPTIONS, [1, 1])
    const [resourceName = ''] = positionals
    const reason = required('--reason', values.reason)
    const graceSeconds = durationMs('--grace', required('--grace', values.grace)) / 1000
    const outcome = await connect(session).revoke(resourceName, reason, { graceSeconds, lockId: lockIdOf(values['lock-id']) })
    const done = outcome.kind === 'revoked'
    if (values.json === true) session.out.line(wireJson(done ? { revoked: true, ...concernedJson(outcome), revokeAt: outcome.revokeAt } : { revoked: false, resourceName, reason: whyNot(outcome) }))
    else if (done) session.out.line(`Asked ${holdersText(outcome.all)} to end '${resourceName}' by ${timeText(outcome.revokeAt)}.`)
    else session.err.line(leftAlone(resourceName, outcome))
    return done ? EXIT.ok : EXIT.refused
  }
}

export const forceRelease: Command = {
  usage: 'force-release NAME --reason TEXT [--lock-id N] [--json]',
  summary: 'Takes a lock away from its holder.',
  help: `  --reason TEXT  why, for the history
  --lock-id N    only exactly this grant, the one that you saw
  --json         what came of it, as JSON

Ends with 1 when there was nothing to take away, or another grant than the one that was named.`,
  options: FORCE_RELEASE_OPTIONS,
  run: async (args, session) => {
    const { values, positionals } = readArguments(args, FORCE_RELEASE_OPTIONS, [1, 1])
    const [resourceName = ''] = positionals
    const reason = required('--reason', values.reason)
    const outcome = await connect(session).forceRelease(resourceName, reason, { lockId: lockIdOf(values['lock-id']) })
    const done = outcome.kind === 'released'
    if (values.json === true) session.out.line(wireJson(done ? { released: true, ...concernedJson(outcome), releasedAt: outcome.releasedAt } : { released: false, resourceName, reason: whyNot(outcome) }))
    else if (done) session.out.line(`Took '${resourceName}' away from ${holdersText(outcome.all)}.`)
    else session.err.line(leftAlone(resourceName, outcome))
    return done ? EXIT.ok : EXIT.refused
  }
}

export const history: Command = {
  usage: 'history [NAME] [--process ID] [--limit 100] [--json]',
  summary: 'Says what happened, newest first.',
  help: `  --process ID  only what happened to the locks of this process
  --limit N     the newest so many, 1 to 1000
  --json        as the HTTP API says it`,
  options: HISTORY_OPTIONS,
  run: async (args, session) => {
    const { values, positionals } = readArguments(args, HISTORY_OPTIONS, [0, 1])
    const [resourceName] = positionals
    const { events } = await connect(session).history({
      limit: wholeNumber('--limit', values.limit ?? DEFAULT_LIMIT, 1, 1000),
      ...(resourceName === undefined ? {} : { resourceName }),
      ...(values.process === undefined ? {} : { processId: values.process })
    })
    const { out } = session
    const fitting = out.isTerminal ? { columns: out.columns, names: [2, 3, 5] } : {}
    if (values.json === true) out.line(wireJson({ events }))
    else if (events.length === 0) out.line('Nothing is known.')
    else for (const line of tableLines([HISTORY_HEAD, ...events.map(eventCells)], fitting)) out.line(line.trimEnd())
    return EXIT.ok
  }
}

export const queue: Command = {
  usage: 'queue NAME [--limit 100] [--json]',
  summary: 'Says which processes wait for a lock, in the order in which they will get it.',
  help: `  --limit N  the first so many, 1 to 1000
  --json     as the HTTP API says it`,
  options: QUEUE_OPTIONS,
  run: async (args, session) => {
    const { values, positionals } = readArguments(args, QUEUE_OPTIONS, [1, 1])
    const [resourceName = ''] = positionals
    const limit = wholeNumber('--limit', values.limit ?? DEFAULT_LIMIT, 1, 1000)
    const found = await connect(session).queue(resourceName, { limit })
    const { out } = session
    const rows = found.waiters.map((waiter) => [
      String(waiter.position),
      waiter.processId,
      shareText(waiter),
      waiter.waitingSince === null ? 'unknown' : timeText(waiter.waitingSince),
      waiter.keptUntil === null ? '' : `place kept until ${timeText(waiter.keptUntil)}`
    ])
    const rest = found.totalWaiters - found.waiters.length
    if (values.json === true) out.line(wireJson(found))
    else if (rows.length === 0) out.line(`No process waits for '${resourceName}'.`)
    else for (const line of tableLines([QUEUE_HEAD, ...rows], out.isTerminal ? { columns: out.columns, names: [1] } : {})) out.line(line.trimEnd())
    if (values.json !== true && rest > 0) out.line(`and ${rest} more`)
    return EXIT.ok
  }
}

/** The cells of one event, as `rlm history` heads them. */
function eventCells({ at, event, resourceName, processId, lockId, reason }: LockEvent): string[] {
  return [timeText(at), event.replace('_', '-'), resourceName, processId, String(lockId), reason ?? '']
}

function statusLines(found: Status): string[] {
  const { resourceName, isLocked, lockedBy, lockedAt, expiresAt, lockId, remainingSeconds, metadata, waiters, mode, kept } = found
  if (mode !== undefined) return sharedLines(found)
  if (!isLocked) return [`'${resourceName}' is not locked.`, ...(waiters > 0 ? [`  waiting  ${waiters}`] : [])]
  const end = expiresAt === null ? 'never' : `${timeText(expiresAt)}, in ${lengthText((remainingSeconds ?? 0) * 1000)}${kept === true ? '' : ' unless renewed'}`
  return [
    kept === true ? `'${resourceName}' is kept after the lock of '${lockedBy}'.` : `'${resourceName}' is locked by '${lockedBy}'.`,
    ...tableLines([
      ['  token', String(lockId)],
      ['  since', lockedAt === null ? 'unknown' : timeText(lockedAt)],
      ['  ends', end],
      ['  waiting', String(waiters)],
      ...(metadata === null ? [] : [['  metadata', JSON.stringify(metadata)]])
    ])
  ]
}

function sharedLines({ resourceName, limit = null, used, totalHolders = 0, holders = [], waiters }: Status): string[] {
  const permits = limit === null ? '' : `, ${used} of ${limit} permits`
  const rest = totalHolders - holders.length
  return [
    `'${resourceName}' is shared by ${totalHolders} holder${totalHolders === 1 ? '' : 's'}${permits}.`,
    ...tableLines(
      holders.map((grant) => [`  '${grant.processId}'`, `token ${grant.lockId}`, shareText(grant), grant.expiresAt === null ? 'never ends' : `ends ${timeText(grant.expiresAt)}`])
    ),
    ...(rest > 0 ? [`  and ${rest} more`] : []),
    `  waiting  ${waiters}`
  ]
}

function holdersText(grants: readonly Grant[]): string {
  return grants.map(({ processId, lockId }) => `'${processId}' (lock ${lockId})`).join(', ')
}

/** `all` only where it says more than the grant. */
function concernedJson({ grant, all }: { readonly grant: Grant; readonly all: readonly Grant[] }): object {
  return { ...grant, ...(all.length > 1 ? { all } : {}) }
}

type LeftAlone = NotHeld | { readonly kind: 'changed' }

function whyNot(outcome: LeftAlone): string {
  return outcome.kind === 'changed' ? 'changed' : outcome.reason
}

function leftAlone(resourceName: string, outcome: LeftAlone): string {
  return `rlm: '${resourceName}' was left alone: ${outcome.kind === 'changed' ? 'another grant is valid by now' : NOT_HELD[outcome.reason]}`
}

const LS_HEAD = ['RESOURCE', 'HOLDER', 'TOKEN', 'HELD FOR', 'ENDS IN']
const DRAW_EVERY_MS = 1000
const LS_OPTIONS = { watch: { type: 'boolean' }, json: { type: 'boolean' } } as const

export const ls: Command = {
  usage: 'ls [PREFIX] [--watch] [--json]',
  summary: 'Lists the locks that are held.',
  help: `  PREFIX   only names that begin with it
  --watch  on a terminal, keep the list up to date; otherwise go on with a line for all that happens
  --json   as the HTTP API says it; with --watch, an object in each line: the list, then what happens`,
  options: LS_OPTIONS,
  run: async (args, session) => {
    const { values, positionals } = readArguments(args, LS_OPTIONS, [0, 1])
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
  const [head = '', ...lines] = tableLines([isShared ? LS_HEAD.toSpliced(2, 0, 'SHARE') : LS_HEAD, ...rows], screen.isTerminal ? { columns: screen.columns, names: [0, 1] } : {})
  return [screen.styled('dim', head), ...lines]
}
