import { setTimeout as sleep } from 'node:timers/promises'
import type { Kysely } from 'kysely'
import type { Pool, PoolClient } from 'pg'
import type { Command, OutcomeOf } from '../../locks/commands.js'
import { LockError } from '../../locks/errors.js'
import { RETRY, type BatchExecutor, type CommandResult } from '../batcher.js'
import type { Tables } from '../tables.js'
import { acquiring } from './acquire.js'
import { ending } from './release.js'
import { isBug, isOfDatabase, isTransient, toLockError } from './errors.js'
import { releaseAndAcquire } from './release-and-acquire.js'
import { latestReader } from './read-latest.js'
import { renewing } from './renew.js'
import { Session } from './session.js'
import { sweeping } from './sweep.js'
import { waitQueue, type WaitQueue, type Wakeup } from './wait-queue.js'

export interface PostgresExecutorOptions {
  /** Batches under way at once. */
  readonly concurrency: number
  /** 0 keeps no history. */
  readonly keepHistoryMs: number
  /** 0 to 1, for the jitter before a statement that lost a deadlock runs again. */
  readonly random: () => number
  /** The name of this instance among those on the database. */
  readonly instance: string
  /** Tells a waiter, on whichever instance, that its turn may have come. */
  readonly wake: (turn: Wakeup) => void
}

type OfKind<Kind extends Command['kind']> = Extract<Command, { kind: Kind }>

/** The statements of a batch cost as much as ten commands do in it. */
const ENOUGH = 32
const MOST_TRANSIENT_TRIES = 3
const MOST_UNAVAILABLE = 2

/**
 * Carries out a batch on PostgreSQL: one set-based statement for each kind of command in it, releases and requests in one
 * together, all sent at once over one connection. Each statement is a transaction of its own, so that no row stays locked
 * for the length of a round trip.
 */
export class PostgresExecutor implements BatchExecutor {
  readonly sequential = false
  readonly minEarlyBatch = ENOUGH
  readonly #options: PostgresExecutorOptions
  readonly #pool: Pool
  readonly #reads: ReturnType<typeof latestReader>
  readonly #queue: WaitQueue
  readonly #acquire: ReturnType<typeof acquiring>
  readonly #release: ReturnType<typeof ending>
  readonly #renew: ReturnType<typeof renewing>
  readonly #releaseAndAcquire: ReturnType<typeof releaseAndAcquire>
  readonly #sweep: ReturnType<typeof sweeping>

  constructor(pool: Pool, db: Kysely<Tables>, options: PostgresExecutorOptions) {
    const keepsHistory = options.keepHistoryMs > 0
    this.#options = options
    this.#pool = pool
    this.#reads = latestReader(db)
    this.#queue = waitQueue(db, options.instance, options.wake)
    this.#acquire = acquiring(db, keepsHistory, this.#reads.readLatest, this.#queue)
    this.#release = ending(db, keepsHistory, this.#reads.readLatest, this.#queue)
    this.#renew = renewing(db, keepsHistory, this.#reads.readLatest)
    this.#releaseAndAcquire = releaseAndAcquire(db, keepsHistory)
    this.#sweep = sweeping(db, options.keepHistoryMs)
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
    const settlements = new Map<Command, CommandResult>()
    const session = new Session(client)
    const settle = <C extends Command>(some: readonly C[], run: (some: readonly C[]) => Promise<readonly CommandResult[]>): Promise<void> =>
      this.#settle(settlements, some, run)
    const one = <Kind extends Command['kind']>(kind: Kind, run: (command: OfKind<Kind>) => Promise<OutcomeOf<Command>>): Promise<unknown> =>
      Promise.all(ofKind(commands, kind).map((command) => settle([command], async () => done([await run(command)]))))

    const ends = ofKind(commands, 'release')
    const requests = ofKind(commands, 'acquire').filter(isForOne)
    const sent = session.inOneGo(() => {
      const together = this.#releaseAndAcquire(session, ends, requests)
      return [
        settle(ends, (some) => this.#release.release(session, some, together.ended())),
        settle(requests, (some) => this.#acquire.acquire(session, some, together.found())),
        settle(ofKind(commands, 'renew'), (some) => this.#renew.renew(session, some)),
        settle(ofKind(commands, 'inspect'), (some) => this.#reads.inspect(session, some)),
        settle(ofKind(commands, 'dequeue'), async (some) => done(await this.#queue.dequeue(session, some))),
        one('release-many', async ({ releases }) => ({ kind: 'released-many', outcomes: await this.#release.releaseMany(session, releases) })),
        one('renew-many', ({ renewals }) => this.#renew.renewMany(session, renewals)),
        one('renew-all', (command) => this.#renew.renewAll(session, command)),
        one('sweep', (command) => this.#sweep(session, command)),
        one('find-request', (command) => this.#acquire.findRequest(session, command)),
        one('dequeue-all', (command) => this.#queue.dequeueAll(session, command)),
        one('enqueue', (command) => this.#queue.enqueue(session, command)),
        one('purge-tickets', (command) => this.#queue.purgeTickets(session, command)),
        one('heartbeat', () => this.#queue.heartbeat(session)),
        ...ofKind(commands, 'acquire').flatMap((command) =>
          isForOne(command) ? [] : [settle([command], async () => [await this.#acquire.acquireMany(session, command)])]
        )
      ]
    })
    await Promise.all(sent)
    client.release(session.lost)
    return commands.map((command) => settlements.get(command) ?? RETRY)
  }

  /** Runs commands of one kind together; when that fails, each by itself, so that a fault fails only whom it concerns. */
  async #settle<C extends Command>(
    settlements: Map<Command, CommandResult>,
    commands: readonly C[],
    run: (commands: readonly C[]) => Promise<readonly CommandResult[]>,
    tries = 1
  ): Promise<void> {
    if (commands.length === 0) return
    try {
      const settled = await run(commands)
      for (const [index, command] of commands.entries()) settlements.set(command, settled[index] ?? RETRY)
    } catch (error) {
      if (isTransient(error) && tries < MOST_TRANSIENT_TRIES) {
        await sleep(this.#options.random() * 20 * tries)
        return this.#settle(settlements, commands, run, tries + 1)
      }
      // After a bug nobody knows what has been committed: no command runs again.
      const together = commands.length === 1 || isOfDatabase(error) || isBug(error)
      let unavailable = 0
      for (const command of commands) {
        // Each may have waited its full time for a row's lock. When several do, somebody sits on more than a few rows.
        if (together || unavailable >= MOST_UNAVAILABLE) {
          settlements.set(command, { kind: 'failed', error: toLockError(error, command.kind !== 'inspect') })
        } else {
          await this.#settle(settlements, [command], run)
        }
        const settled = settlements.get(command)
        if (settled?.kind === 'failed' && settled.error instanceof LockError) unavailable += 1
      }
    }
  }
}

function done(outcomes: readonly OutcomeOf<Command>[]): CommandResult[] {
  return outcomes.map((outcome) => ({ kind: 'done', outcome }))
}

function ofKind<Kind extends Command['kind']>(commands: readonly Command[], kind: Kind): OfKind<Kind>[] {
  return commands.filter((command): command is OfKind<Kind> => command.kind === kind)
}

function isForOne({ resourceNames }: OfKind<'acquire'>): boolean {
  return resourceNames.length === 1
}
