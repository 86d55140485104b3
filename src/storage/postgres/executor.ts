import { setTimeout as sleep } from 'node:timers/promises'
import { sql, type Kysely } from 'kysely'
import type { Pool, PoolClient } from 'pg'
import type { AcquireCommand, Command, InspectCommand, OutcomeOf, ReleaseCommand } from '../../locks/commands.js'
import { LockError } from '../../locks/errors.js'
import { RETRY, type BatchExecutor, type CommandResult } from '../batcher.js'
import { NOBODY, type Tables } from '../tables.js'
import { acquireParts, plainRequests, type AcquireArgs, type FoundRow } from './acquire-sql.js'
import { Acquire, acquireArgs, firstPerResource, isKeyed } from './acquire.js'
import { isBug, isOfDatabase, isTransient, toLockError } from './connection.js'
import { isConditional, isForced, plainReleases, Release, releaseArgs, releaseParts, type EndedRow, type ReleaseArgs } from './release.js'
import { Renew } from './renew.js'
import { Shares } from './shares.js'
import { compiled, Session, SnapshotReader, type PostgresStatement } from './sql.js'
import { Sweep } from './sweep.js'
import { WaitQueue, type Wakeup } from './wait-queue.js'

export interface PostgresExecutorOptions {
  /** Batches in flight at once. */
  readonly concurrency: number
  /** 0 keeps no history. */
  readonly keepHistoryMs: number
  /** 0 to 1, for the jitter before a statement that lost a race runs again. */
  readonly random: () => number
  /** The name of this instance among those on the database. */
  readonly instance: string
  /** Wakes up a waiter on any instance. */
  readonly wake: (wakeup: Wakeup) => void
}

type OfKind<Kind extends Command['kind']> = Extract<Command, { kind: Kind }>

/** The statements of a batch cost as much as executing ten commands in it. */
const MIN_EARLY_BATCH = 32
const MAX_TRIES = 3
const MAX_UNAVAILABLE = 2

type OneStatementRow = EndedRow | (FoundRow & { readonly ordinal: null })

/**
 * Executes a batch on PostgreSQL: one set-based statement for each kind of command, and one for its releases and requests
 * together, all sent at once over one connection. Each statement is a transaction of its own, so that no row stays locked
 * during a round trip.
 */
export class PostgresExecutor implements BatchExecutor {
  readonly sequential = false
  readonly minEarlyBatch = MIN_EARLY_BATCH
  readonly #options: PostgresExecutorOptions
  readonly #pool: Pool
  readonly #reader: SnapshotReader
  readonly #queue: WaitQueue
  readonly #shares: Shares
  readonly #acquire: Acquire
  readonly #release: Release
  readonly #renew: Renew
  readonly #sweep: Sweep
  readonly #releaseAndAcquire: PostgresStatement<AcquireArgs & ReleaseArgs, OneStatementRow>

  constructor(pool: Pool, db: Kysely<Tables>, options: PostgresExecutorOptions) {
    const keepsHistory = options.keepHistoryMs > 0
    this.#options = options
    this.#pool = pool
    this.#reader = new SnapshotReader(db)
    this.#queue = new WaitQueue(db, options.instance, options.wake)
    this.#shares = new Shares(db, keepsHistory, this.#queue)
    this.#acquire = new Acquire(db, keepsHistory, this.#reader, this.#queue, this.#shares)
    this.#release = new Release(db, keepsHistory, this.#reader, this.#queue, this.#shares)
    this.#renew = new Renew(db, keepsHistory, this.#reader, this.#shares)
    this.#sweep = new Sweep(db, options.keepHistoryMs, this.#shares)
    this.#releaseAndAcquire = compiled(db, (arg) => {
      const ended = releaseParts(plainReleases(arg), keepsHistory)
      const found = acquireParts(plainRequests(arg), keepsHistory)
      return sql`
      with ${ended.parts}, ${found.parts}
      ${ended.rows}
      union all
      select found.*, null::bigint from (${found.rows}) as found`
    })
  }

  get concurrency(): number {
    return this.#options.concurrency
  }

  async execute(commands: readonly Command[]): Promise<CommandResult[]> {
    let client: PoolClient
    try {
      client = await this.#pool.connect()
    } catch (error) {
      const failed = toLockError(error, false)
      return commands.map(() => ({ kind: 'failed', error: failed }))
    }
    const results = new Map<Command, CommandResult>()
    const session = new Session(client)
    await Promise.all(session.inOneGo(() => this.#send(session, commands, results)))
    client.release(session.lost)
    return commands.map((command) => results.get(command) ?? RETRY)
  }

  #send(session: Session, commands: readonly Command[], results: Map<Command, CommandResult>): Promise<unknown>[] {
    const together = <C extends Command>(some: readonly C[], run: (some: readonly C[]) => Promise<readonly CommandResult[]>): Promise<void> =>
      this.#run(results, some, run)
    const each = <Kind extends Command['kind']>(kind: Kind, run: (command: OfKind<Kind>) => Promise<OutcomeOf<Command>>): Promise<unknown> =>
      Promise.all(ofKind(commands, kind).map((command) => together([command], async () => done([await run(command)]))))

    const shared = commands.filter((command) => this.#shares.takes(command))
    const exclusive = shared.length === 0 ? commands : commands.filter((command) => !shared.some((other) => other === command))
    const releases = ofKind(exclusive, 'release')
    const requests = ofKind(exclusive, 'acquire')
    const single = requests.filter(isForOne)
    const sent = this.#sendReleasesAndRequests(session, releases, single)
    return [
      together(releases, (some) => this.#release.release(session, some, sent.ended())),
      together(single, (some) => this.#acquire.acquire(session, some, sent.found())),
      together(ofKind(exclusive, 'renew'), (some) => this.#renew.renew(session, some)),
      together(shared, (some) => this.#acquire.executeShared(session, some)),
      together(ofKind(commands, 'inspect'), (some) => this.#inspect(session, some)),
      together(ofKind(commands, 'dequeue'), async (some) => done(await this.#queue.dequeue(session, some))),
      each('release-many', async (command) => ({ kind: 'released-many', outcomes: await this.#release.releaseMany(session, command.releases) })),
      each('renew-many', ({ renewals }) => this.#renew.renewMany(session, renewals)),
      each('renew-all', (command) => this.#renew.renewAll(session, command)),
      each('sweep', (command) => this.#sweep.sweep(session, command)),
      each('find-request', (command) => this.#acquire.findRequest(session, command)),
      each('dequeue-all', (command) => this.#queue.dequeueAll(session, command)),
      each('enqueue', (command) => this.#queue.enqueue(session, command)),
      each('purge-tickets', (command) => this.#queue.purgeTickets(session, command)),
      each('heartbeat', () => this.#queue.heartbeat(session)),
      ...requests.flatMap((command) => (isForOne(command) ? [] : [together([command], async () => [await this.#acquire.acquireMany(session, command)])]))
    ]
  }

  /**
   * Sends releases and requests in one statement where that is possible: a statement and its flush are half of what a small
   * batch costs. The rows are for the first try; what fails is tried again each kind by itself.
   *
   * The statement locks rows in two passes, those of the releases first. Two such statements cannot wait for each other: what
   * one releases, the other still finds held and leaves alone, and within each pass both lock the rows in name order.
   */
  #sendReleasesAndRequests(session: Session, releases: readonly ReleaseCommand[], requests: readonly AcquireCommand[]): SentTogether {
    if (releases.length === 0 || requests.length === 0 || releases.some(isConditional) || releases.some(isForced)) return NOT_SENT
    const args = acquireArgs(firstPerResource(requests))
    if (isKeyed(args)) return NOT_SENT
    const rows = session.run(this.#releaseAndAcquire, { ...args, ...releaseArgs(releases) })
    return {
      ended: once(rows.then((all) => all.filter((row): row is EndedRow => row.ordinal !== null))),
      found: once(rows.then((all) => all.filter((row): row is FoundRow & { ordinal: null } => row.ordinal === null)))
    }
  }

  async #inspect(session: Session, commands: readonly InspectCommand[]): Promise<CommandResult[]> {
    const results = await this.#reader.inspect(session, commands)
    const shared = commands.filter((_, index) => isOfClosedRow(results[index]))
    const found = shared.length === 0 ? undefined : await this.#shares.holders.inspect(session, shared.map(({ resourceName }) => resourceName))
    return results.map((result, index) => {
      if (!isOfClosedRow(result) || result.kind !== 'done' || result.outcome.kind !== 'inspected') return result
      const shown = found?.get(commands[index]?.resourceName ?? '')
      return shown === undefined ? RETRY : { kind: 'done', outcome: { ...result.outcome, ...shown } }
    })
  }

  /** Runs commands of one kind together; if that fails, each by itself, so that an error fails only the command that caused it. */
  async #run<C extends Command>(
    results: Map<Command, CommandResult>,
    commands: readonly C[],
    run: (commands: readonly C[]) => Promise<readonly CommandResult[]>,
    tries = 1
  ): Promise<void> {
    if (commands.length === 0) return
    try {
      const outcomes = await run(commands)
      for (const [index, command] of commands.entries()) results.set(command, outcomes[index] ?? RETRY)
    } catch (error) {
      if (isTransient(error) && tries < MAX_TRIES) {
        await sleep(this.#options.random() * 20 * tries)
        return this.#run(results, commands, run, tries + 1)
      }
      // After a bug it is unknown what was committed: no command runs again.
      const failsAll = commands.length === 1 || isOfDatabase(error) || isBug(error)
      let unavailable = 0
      for (const command of commands) {
        // Each may have waited the whole lock timeout. If several did, another session holds more than a few rows.
        if (failsAll || unavailable >= MAX_UNAVAILABLE) {
          results.set(command, { kind: 'failed', error: toLockError(error, command.kind !== 'inspect') })
        } else {
          await this.#run(results, [command], run)
        }
        const result = results.get(command)
        if (result?.kind === 'failed' && result.error instanceof LockError) unavailable += 1
      }
    }
  }
}

/** The rows of the statement for releases and requests, where it was sent; each part is given out once. */
interface SentTogether {
  readonly ended: () => Promise<EndedRow[]> | undefined
  readonly found: () => Promise<FoundRow[]> | undefined
}

const NOT_SENT: SentTogether = { ended: () => undefined, found: () => undefined }

function once<T>(value: T): () => T | undefined {
  let left: T | undefined = value
  return () => {
    const taken = left
    left = undefined
    return taken
  }
}

function done(outcomes: readonly OutcomeOf<Command>[]): CommandResult[] {
  return outcomes.map((outcome) => ({ kind: 'done', outcome }))
}

function ofKind<Kind extends Command['kind']>(commands: readonly Command[], kind: Kind): OfKind<Kind>[] {
  return commands.filter((command): command is OfKind<Kind> => command.kind === kind)
}

function isOfClosedRow(result: CommandResult | undefined): boolean {
  return result?.kind === 'done' && result.outcome.kind === 'inspected' && result.outcome.grant?.processId === NOBODY
}

function isForOne({ resourceNames }: OfKind<'acquire'>): boolean {
  return resourceNames.length === 1
}
