import type { Kysely } from 'kysely'
import { NEVER } from '../../../migrations/0013-lock-shares.js'
import type { AcquireCommand, Command } from '../../locks/commands.js'
import type { Grant } from '../../locks/lock.js'
import { attempt, RETRY, type CommandResult, done } from '../batcher.js'
import type { StoredShares } from '../share-ledger.js'
import { hasPassed, nextEndOf, ROW_COLUMNS, type ResourceRow, type ShareRow } from '../share-rows.js'
import { decideConversion, decideRelease, decideRenewal, decideRevocation, SharedResource } from '../shared-resource.js'
import { grantsToText, KEEP_ENDED_MS, KEEP_REQUEST_MS, NOBODY, type Tables } from '../tables.js'
import { INCOMPLETE, sqlStateOf } from './connection.js'
import { nameOf, processOf, ShareHolders, type Refused, type ShareCommand } from './share-holders.js'
import { shareStatements, type FoundResource, writeArgs, type QueueRow, type RowOf } from './shares-sql.js'
import type { Session } from './sql.js'
import type { WaitQueue } from './wait-queue.js'

/** Names that were shared lately, which spares their releases a statement for exclusive grants. */
const MAX_KNOWN = 10_000
/** How often what others change meanwhile is read again. */
const MAX_TRIES = 100
/** Beyond the commands themselves. */
const MARGIN = 2

interface Opened {
  readonly resource: SharedResource
  readonly found: FoundResource
  readonly numbers: number[]
  /** Tickets that were granted in this batch. */
  readonly served: Set<number>
  readonly requests: RowOf<'requests'>[]
  readonly places: RowOf<'places'>[]
}

/** A result once its resource is written, or why the command is refused. */
interface Decision {
  readonly result: CommandResult
  readonly refused?: Refused['why']
}

/**
 * Shares on PostgreSQL. A batch is read with the version of each row, decided here, and written where the rows still have that
 * version: so no row stays locked during a round trip, and an instance that is paused in between stops nobody.
 */
export class Shares {
  readonly #statements: ReturnType<typeof shareStatements>
  readonly #queue: WaitQueue
  readonly #known = new Set<string>()
  readonly holders: ShareHolders

  constructor(db: Kysely<Tables>, keepsHistory: boolean, queue: WaitQueue) {
    this.#statements = shareStatements(db, keepsHistory)
    this.#queue = queue
    this.holders = new ShareHolders(this.#statements, queue)
  }

  /** Whether the command is decided here at once. */
  takes(command: Command): command is ShareCommand {
    if (command.kind === 'acquire') return isForShares(command) && command.resourceNames.length === 1
    if (command.kind === 'convert' || command.kind === 'revoke' || keeps(command)) return true
    return (command.kind === 'release' || command.kind === 'renew') && this.#known.has(command.resourceName)
  }

  /** Decides commands; one whose resource was changed meanwhile has to be retried. */
  async execute(session: Session, commands: readonly ShareCommand[]): Promise<CommandResult[]> {
    const { opened, context } = await this.#open(session, commands)
    const decisions = new Map<ShareCommand, Decision>()
    for (const command of inQueueOrder(commands)) {
      const one = opened.get(nameOf(command))
      decisions.set(command, one === undefined ? { result: RETRY } : attemptDecision(() => this.#decide(one, command, context)))
    }
    const { lost, waiters } = await this.#write(session, this.#statements.write, [...opened.values()], commands)
    const final = commands.map((command): Decision => {
      const decision = lost.has(nameOf(command)) ? undefined : decisions.get(command)
      return decision === undefined ? { result: RETRY } : { ...decision, result: withWaiters(decision.result, waiters.get(nameOf(command)) ?? 0) }
    })
    const refused = commands.flatMap((command, index) => (final[index]?.refused === undefined ? [] : [{ command, why: final[index].refused }]))
    const refusals = refused.length === 0 ? [] : await this.holders.refuse(session, refused)
    let next = 0
    return final.map(({ result, refused: why }) => (why === undefined ? result : (refusals[next++] ?? RETRY)))
  }

  /** As {@link execute}, again and again until no command has lost a race. */
  async executeAll(session: Session, commands: readonly ShareCommand[]): Promise<CommandResult[]> {
    const results = new Map<ShareCommand, CommandResult>()
    for (let tries = 0; results.size < commands.length && tries < MAX_TRIES; tries += 1) {
      const left = commands.filter((command) => !results.has(command))
      const some = await this.execute(session, left)
      for (const [index, command] of left.entries()) {
        const result = some[index] ?? RETRY
        if (result.kind !== 'retry') results.set(command, result)
      }
    }
    return commands.map((command) => results.get(command) ?? RETRY)
  }

  /** A request for several resources, of some of them shares: all or none. */
  async acquireMany(session: Session, command: AcquireCommand): Promise<CommandResult> {
    const { resourceNames, sharing = [] } = command
    const parts = resourceNames.map((name, index): AcquireCommand => Object.assign({}, command, { resourceNames: [name], sharing: [sharing[index] ?? null] }))
    const { opened, context } = await this.#open(session, parts)
    if (command.ticket !== null && context.dequeued.has(command.ticket)) return done({ kind: 'dequeued' })
    const decisions = parts.map((part) => {
      const one = opened.get(nameOf(part))
      return one === undefined ? { result: RETRY } : this.#decide(one, { ...part, idempotencyKey: null }, context, part.idempotencyKey)
    })
    if (decisions.some(({ refused }) => refused !== undefined)) {
      const refusals = await this.holders.refuse(session, parts.flatMap((part, index) => (decisions[index]?.refused === undefined ? [] : [{ command: part, why: decisions[index].refused }])))
      const held = refusals.flatMap((result) => (result.kind === 'done' && result.outcome.kind === 'held' ? [result.outcome] : []))
      const [first] = held
      return first === undefined ? RETRY : done({ kind: 'held', conflicts: held.flatMap(({ conflicts }) => conflicts), at: Math.max(...held.map(({ at }) => at)), waiters: first.waiters })
    }
    const outcomes = decisions.flatMap(({ result }) => (result.kind === 'done' && result.outcome.kind === 'granted' ? [result.outcome] : []))
    const grants = outcomes.flatMap((outcome) => outcome.grants)
    const [first] = opened.values()
    if (first === undefined || grants.length < parts.length) return RETRY
    if (command.idempotencyKey !== null) first.requests.push(savedRequest(command, grants, first.found))
    try {
      // Where none of them was written, no row is left to fail the statement.
      const { lost } = await this.#write(session, this.#statements.writeAll, [...opened.values()], parts)
      if (lost.size > 0) return RETRY
    } catch (error) {
      if (sqlStateOf(error) === INCOMPLETE) return RETRY
      throw error
    }
    return done({ kind: 'granted', grants, replayed: false, stolen: command.steal === true ? outcomes.flatMap(({ stolen = [] }) => stolen) : undefined })
  }

  /** Writes down the expiry of shares, and removes those that ended a while ago. */
  async sweep(session: Session, limit: number): Promise<{ readonly seen: number; readonly expired: number; readonly removed: number }> {
    const due = await session.run(this.#statements.due, { limit })
    if (due.length === 0) return { seen: 0, expired: 0, removed: 0 }
    const passed = due.filter((share) => hasPassed(share, share.at))
    const rest = due.filter((share) => !hasPassed(share, share.at))
    const removable = rest.filter(({ is_active, ended_at, at }) => !is_active && (ended_at ?? 0) + KEEP_ENDED_MS <= at)
    const early = rest.filter((share) => !removable.includes(share))
    const keyOf = (some: typeof due) => ({ names: some.map(({ resource_name }) => resource_name), processes: some.map(({ process_id }) => process_id) })
    const [removed] = await session.together([
      removable.length === 0 ? Promise.resolve([]) : session.run(this.#statements.remove, { ...keyOf(removable), lockIds: removable.map(({ id }) => id) }),
      early.length === 0
        ? Promise.resolve([])
        : session.run(this.#statements.postpone, { ...keyOf(early), sweepAts: early.map((share) => (share.is_active ? nextEndOf(share) : (share.ended_at ?? 0) + KEEP_ENDED_MS)) })
    ])
    return { seen: due.length, expired: passed.length === 0 ? 0 : await this.#expire(session, passed), removed: removed.length }
  }

  async #expire(session: Session, passed: readonly ShareRow[]): Promise<number> {
    const names = [...new Set(passed.map(({ resource_name }) => resource_name))]
    const all = names.map(() => true)
    const found = await session.run(this.#statements.read, { names, draws: names.map(() => 0), ends: all, all, waits: names.map(() => false), most: passed.length + MARGIN })
    const opened = found.map((row) => openedOf(row, []))
    for (const { resource, found: { name, ending } } of opened) {
      // As they are now: one may have been renewed or ended since.
      resource.expire((ending ?? []).filter((share) => hasPassed(share, resource.at)).filter((share) => passed.some(({ id, resource_name }) => resource_name === name && id === share.id)))
    }
    const { lost } = await this.#write(session, this.#statements.write, opened, [])
    return opened.flatMap(({ resource, found: { name } }) => (lost.has(name) ? [] : resource.events)).filter(({ kind }) => kind === 'expired').length
  }

  async #open(session: Session, commands: readonly ShareCommand[]): Promise<{ readonly opened: ReadonlyMap<string, Opened>; readonly context: Context }> {
    const about = new Map<string, ShareCommand[]>()
    for (const command of commands) about.set(nameOf(command), [...(about.get(nameOf(command)) ?? []), command])
    const names = [...about.keys()]
    const ofEach = <T>(value: (some: readonly ShareCommand[]) => T): T[] => [...about.values()].map(value)
    const tickets = commands.flatMap((command) => (command.kind === 'acquire' && command.ticket !== null ? [command.ticket] : []))
    const requestIds = commands.flatMap((command) => (command.kind === 'release' && command.unlessClaimed !== undefined ? [command.unlessClaimed.id] : []))
    const [found, shares, dequeued, claimed] = await session.together([
      session.run(this.#statements.read, {
        names,
        draws: ofEach((some) => some.filter(({ kind }) => kind === 'acquire' || kind === 'convert').length),
        ends: ofEach((some) => some.some((command) => command.kind !== 'acquire' || command.steal === true)),
        all: ofEach((some) => some.some((command) => command.kind === 'revoke' || (command.kind === 'release' && command.processId === null) || (command.kind === 'acquire' && command.steal === true))),
        waits: ofEach((some) => some.some(({ kind }) => kind === 'acquire')),
        most: Math.max(...ofEach((some) => some.length)) + MARGIN
      }),
      session.run(this.#statements.shares, {
        names: commands.map(nameOf),
        processes: commands.map((command) => processOf(command) ?? (command.kind === 'release' ? (command.holder ?? null) : null)),
        lockIds: commands.map((command) => (command.kind === 'acquire' ? null : command.lockId))
      }),
      this.#queue.dequeuedAmong(session, tickets),
      requestIds.length === 0 ? Promise.resolve([]) : session.run(this.#statements.claimed, { requestIds })
    ])
    const byName = new Map<string, ShareRow[]>()
    for (const share of shares) byName.set(share.resource_name, [...(byName.get(share.resource_name) ?? []), share])
    return {
      opened: new Map(found.map((row) => [row.name, openedOf(row, byName.get(row.name) ?? [])])),
      context: { dequeued, claimed: new Set(claimed.map(({ request_id }) => request_id)) }
    }
  }

  #decide(one: Opened, command: ShareCommand, context: Context, idempotencyKey?: AcquireCommand['idempotencyKey']): Decision {
    if (command.kind === 'acquire') return this.#acquire(one, command, context, idempotencyKey)
    const { resource } = one
    if (command.kind === 'convert') {
      const outcome = decideConversion(resource, command, () => one.numbers.shift() ?? 0)
      return outcome === undefined ? { result: RETRY, refused: 'held' } : { result: done(outcome) }
    }
    if (command.kind === 'revoke') return { result: done(decideRevocation(resource, command)) }
    if (resource.row.process_id !== NOBODY && !keeps(command)) {
      // A statement for exclusive grants has to decide.
      this.#known.delete(one.found.name)
      return { result: RETRY }
    }
    if (command.kind === 'renew') return { result: done(decideRenewal(resource, command, 0)) }
    return { result: done(decideRelease(resource, command, command.unlessClaimed !== undefined && context.claimed.has(command.unlessClaimed.id))) }
  }

  #acquire(one: Opened, command: AcquireCommand, { dequeued }: Context, idempotencyKey = command.idempotencyKey): Decision {
    const { resource, found, numbers, served } = one
    const { ticket, processId, sharing = [] } = command
    const [share = null] = sharing
    if (ticket !== null && dequeued.has(ticket)) return { result: done({ kind: 'dequeued' }) }
    const queue = share !== null && share.limit === null ? found.limited_queue : found.queue
    const isOwn = (row: QueueRow): boolean => idempotencyKey !== null && row.lease_until !== null && row.request_id === idempotencyKey.id && row.fingerprint === idempotencyKey.fingerprint
    const head = queue?.find((row) => row.ticket < (ticket ?? Infinity) && !served.has(row.ticket) && !isOwn(row))
    const steals = command.steal === true
    if (!steals && (head !== undefined || !resource.admits(processId, share))) return { result: RETRY, refused: head ?? 'held' }
    const number = numbers.shift() ?? 0
    const { grant, stolen } = steals ? resource.steal(command, number) : { grant: resource.grant(command, share, number) }
    if (ticket !== null) served.add(ticket)
    if (ticket !== null || idempotencyKey !== null) {
      one.places.push({ resource_name: found.name, ticket, request_id: idempotencyKey?.id ?? null, fingerprint: idempotencyKey?.fingerprint ?? null })
    }
    if (command.idempotencyKey !== null) one.requests.push(savedRequest(command, [grant], found))
    return { result: done({ kind: 'granted', grants: [grant], replayed: false, stolen }) }
  }

  /** Returns the names of the resources that were changed meanwhile and not written, and how many wait for the others. */
  async #write(session: Session, statement: ReturnType<typeof shareStatements>['write'], opened: readonly Opened[], commands: readonly ShareCommand[]): Promise<Written> {
    const changed = opened.filter(({ resource }) => resource.changed)
    const [first] = changed
    if (first === undefined) return { lost: new Set(), waiters: new Map() }
    // All of them were read by one statement.
    const args = writeArgs(first.found, {
      rows: changed.map(({ resource, found }) => ({ ...resource.row, version: found.version })),
      shares: changed.flatMap(({ resource }) => [...resource.shares.values()]),
      events: changed.flatMap(({ resource }) => resource.events),
      requests: changed.flatMap(({ requests }) => requests),
      places: changed.flatMap(({ places }) => places),
      unclaimed: commands.flatMap((command) => (command.kind === 'release' && command.unlessClaimed !== undefined ? [{ resource_name: command.resourceName, request_id: command.unlessClaimed.id }] : []))
    })
    const rows = await session.run(statement, args)
    const waiters = new Map(rows.map((row) => [row.resource_name, row.waiters]))
    for (const { found, resource } of changed) if (waiters.has(found.name) && resource.row.process_id === NOBODY) this.#know(found.name)
    const freed = commands.filter((command) => (command.kind === 'acquire' ? command.ticket !== null : command.kind !== 'renew'))
    await this.#queue.wakeHeads(session, freed.map(nameOf).filter((name) => (waiters.get(name) ?? 0) > 0))
    return { lost: new Set(changed.flatMap(({ found }) => (waiters.has(found.name) ? [] : [found.name]))), waiters }
  }

  #know(name: string): void {
    this.#known.add(name)
    if (this.#known.size > MAX_KNOWN) for (const oldest of this.#known) return void this.#known.delete(oldest)
  }

}

interface Written {
  readonly lost: ReadonlySet<string>
  readonly waiters: ReadonlyMap<string, number>
}

interface Context {
  readonly dequeued: ReadonlySet<number>
  readonly claimed: ReadonlySet<string>
}

function openedOf(found: FoundResource, own: readonly ShareRow[]): Opened {
  const stored: StoredShares = {
    of: (process) => own.find(({ process_id }) => process_id === process) ?? found.ending?.find(({ process_id }) => process_id === process),
    numbered: (lockId) => own.find(({ id }) => id === lockId) ?? found.ending?.find(({ id }) => id === lockId),
    endingBy: (until) => (found.ending ?? []).filter(({ expires_at }) => (expires_at ?? NEVER) <= until),
    lastToEnd: () => found.last_to_end ?? [],
    lowestLimits: () => found.lowest_limits ?? [],
    firstEndAfter: () => found.first_end
  }
  const { name, at, version, numbers } = found
  const resource = new SharedResource(name, at, version === null ? undefined : rowOf(found), stored)
  return { resource, found, numbers: [...(numbers ?? [])], served: new Set(), requests: [], places: [] }
}

function rowOf(found: ResourceRow): ResourceRow {
  return Object.fromEntries(ROW_COLUMNS.map((column) => [column, found[column]])) as unknown as ResourceRow
}

function savedRequest({ idempotencyKey, ttlMs }: AcquireCommand, grants: readonly Grant[], { name, at }: FoundResource): RowOf<'requests'> {
  const remembered_until = at + Math.max(ttlMs ?? 0, KEEP_REQUEST_MS)
  return { resource_name: name, request_id: idempotencyKey?.id ?? null, fingerprint: idempotencyKey?.fingerprint ?? null, grants: grantsToText(grants), remembered_until }
}

function ticketOf(command: ShareCommand): number {
  return command.kind === 'acquire' ? (command.ticket ?? Infinity) : 0
}

/** The requests of one batch with the smallest tickets first, those without a ticket last. */
function inQueueOrder(commands: readonly ShareCommand[]): ShareCommand[] {
  return commands.toSorted((a, b) => (ticketOf(a) === ticketOf(b) ? 0 : ticketOf(a) - ticketOf(b)))
}

/** Whether a request is decided by reading and writing: for shares, or with terms about its end. */
export function isForShares({ sharing, terms }: AcquireCommand): boolean {
  return sharing !== undefined || terms !== undefined
}

/** A release that makes the resource closed where it is not. */
function keeps(command: Command): boolean {
  return command.kind === 'release' && command.keepMs !== undefined
}

function withWaiters(result: CommandResult, waiters: number): CommandResult {
  return result.kind === 'done' && result.outcome.kind === 'renewed' ? done({ ...result.outcome, waiters }) : result
}

/** A row that cannot be read fails only the commands for its resource. */
function attemptDecision(decide: () => Decision): Decision {
  let decision: Decision | undefined
  const result = attempt(() => {
    decision = decide()
    return decision.result
  })
  return decision ?? { result }
}
