import { setTimeout as sleep } from 'node:timers/promises'
import type { Kysely } from 'kysely'
import type { Pool, PoolClient } from 'pg'
import type { Command, OutcomeOf } from '../../locks/commands.js'
import { LockError } from '../../locks/errors.js'
import { AGAIN, type BatchExecutor, type Settlement } from '../batcher.js'
import type { Tables } from '../tables.js'
import { acquiring } from './acquiring.js'
import { ending } from './ending.js'
import { isOfDatabase, isTransient, toLockError } from './errors.js'
import { exchanging } from './exchange.js'
import { looking } from './looking.js'
import { renewing } from './renewing.js'
import { Session } from './session.js'
import { sweeping } from './sweeping.js'
import { waiting, type Line, type Turn } from './waiting.js'

export interface PostgresExecutorOptions {
  /** Batches under way at once. */
  readonly lanes: number
  /** 0 keeps no history. */
  readonly keepHistoryMs: number
  /** 0 to 1, for the jitter before a statement that lost a deadlock runs again. */
  readonly random: () => number
  /** The name of this instance among those on the database. */
  readonly instance: string
  /** Tells a waiter, on whichever instance, that its turn may have come. */
  readonly call: (turn: Turn) => void
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
  readonly enough = ENOUGH
  readonly #options: PostgresExecutorOptions
  readonly #pool: Pool
  readonly #looking: ReturnType<typeof looking>
  readonly #line: Line
  readonly #acquiring: ReturnType<typeof acquiring>
  readonly #release: ReturnType<typeof ending>
  readonly #renewing: ReturnType<typeof renewing>
  readonly #exchange: ReturnType<typeof exchanging>
  readonly #sweep: ReturnType<typeof sweeping>

  constructor(pool: Pool, db: Kysely<Tables>, options: PostgresExecutorOptions) {
    const keepsHistory = options.keepHistoryMs > 0
    this.#options = options
    this.#pool = pool
    this.#looking = looking(db)
    this.#line = waiting(db, options.instance, options.call)
    this.#acquiring = acquiring(db, keepsHistory, this.#looking.look, this.#line)
    this.#release = ending(db, keepsHistory, this.#looking.look, this.#line)
    this.#renewing = renewing(db, keepsHistory, this.#looking.look)
    this.#exchange = exchanging(db, keepsHistory)
    this.#sweep = sweeping(db, options.keepHistoryMs)
  }

  get lanes(): number {
    return this.#options.lanes
  }

  async execute(commands: readonly Command[]): Promise<Settlement[]> {
    let client: PoolClient
    try {
      client = await this.#pool.connect()
    } catch (error) {
      const failed = toLockError(error, false)
      return commands.map(() => ({ kind: 'failed', error: failed }))
    }
    const settlements = new Map<Command, Settlement>()
    const session = new Session(client)
    const settle = <C extends Command>(some: readonly C[], run: (some: readonly C[]) => Promise<readonly Settlement[]>): Promise<void> =>
      this.#settle(settlements, some, run)
    const one = <Kind extends Command['kind']>(kind: Kind, run: (command: OfKind<Kind>) => Promise<OutcomeOf<Command>>): Promise<unknown> =>
      Promise.all(ofKind(commands, kind).map((command) => settle([command], async () => done([await run(command)]))))

    const ends = ofKind(commands, 'release')
    const requests = ofKind(commands, 'acquire').filter(isForOne)
    const sent = session.inOneGo(() => {
      const together = this.#exchange(session, ends, requests)
      return [
        settle(ends, async (some) => done(await this.#release(session, some, together.ended()))),
        settle(requests, (some) => this.#acquiring.acquire(session, some, together.found())),
        settle(ofKind(commands, 'renew'), (some) => this.#renewing.renew(session, some)),
        settle(ofKind(commands, 'inspect'), (some) => this.#looking.inspect(session, some)),
        settle(ofKind(commands, 'leave'), async (some) => done(await this.#line.leave(session, some))),
        one('release-many', async ({ releases }) => ({ kind: 'released-many', outcomes: await this.#release(session, releases) })),
        one('renew-many', ({ renewals }) => this.#renewing.renewMany(session, renewals)),
        one('renew-all', (command) => this.#renewing.renewAll(session, command)),
        one('sweep', (command) => this.#sweep(session, command)),
        one('find-request', (command) => this.#acquiring.findRequest(session, command)),
        one('dequeue-all', (command) => this.#line.dequeueAll(session, command)),
        one('enqueue', (command) => this.#line.enqueue(session, command)),
        one('tidy', (command) => this.#line.tidy(session, command)),
        one('beat', () => this.#line.beat(session)),
        ...ofKind(commands, 'acquire').flatMap((command) =>
          isForOne(command) ? [] : [settle([command], async () => [await this.#acquiring.acquireMany(session, command)])]
        )
      ]
    })
    await Promise.all(sent)
    client.release(session.lost)
    return commands.map((command) => settlements.get(command) ?? AGAIN)
  }

  /** Runs commands of one kind together; when that fails, each by itself, so that a fault fails only whom it concerns. */
  async #settle<C extends Command>(
    settlements: Map<Command, Settlement>,
    commands: readonly C[],
    run: (commands: readonly C[]) => Promise<readonly Settlement[]>,
    tries = 1
  ): Promise<void> {
    if (commands.length === 0) return
    try {
      const settled = await run(commands)
      for (const [index, command] of commands.entries()) settlements.set(command, settled[index] ?? AGAIN)
    } catch (error) {
      if (isTransient(error) && tries < MOST_TRANSIENT_TRIES) {
        await sleep(this.#options.random() * 20 * tries)
        return this.#settle(settlements, commands, run, tries + 1)
      }
      const together = commands.length === 1 || isOfDatabase(error)
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

function done(outcomes: readonly OutcomeOf<Command>[]): Settlement[] {
  return outcomes.map((outcome) => ({ kind: 'done', outcome }))
}

function ofKind<Kind extends Command['kind']>(commands: readonly Command[], kind: Kind): OfKind<Kind>[] {
  return commands.filter((command): command is OfKind<Kind> => command.kind === kind)
}

function isForOne({ resourceNames }: OfKind<'acquire'>): boolean {
  return resourceNames.length === 1
}
