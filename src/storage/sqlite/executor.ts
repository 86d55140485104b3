import type Database from 'better-sqlite3'
import type { Kysely } from 'kysely'
import type { Command, OutcomeOf } from '../../locks/commands.js'
import { isValid, type EpochMs } from '../../locks/lock.js'
import { LockError } from '../../locks/errors.js'
import type { CommandResult } from '../batcher.js'
import type { Tables } from '../tables.js'
import { acquire } from './acquire.js'
import { sqliteContext, type SqliteContext } from './context.js'
import { release } from './release.js'
import { toLockError } from './errors.js'
import { TokenSource } from './token-source.js'
import { renew } from './renew.js'
import type { DiskReserve } from './disk-reserve.js'
import { sweep } from './sweep.js'
import { waitQueue, type WaitQueue } from './wait-queue.js'

/** A command, and the service's clock when it was handed over. */
export interface TimedCommand {
  readonly command: Command
  readonly now: EpochMs
}

export interface SqliteExecutorOptions {
  /** 0 keeps no history. */
  readonly keepHistoryMs: number
  /** The space kept back for a full disk, where there is a disk. */
  readonly reserve: DiskReserve | undefined
  /** Called with the ticket of a waiter whose turn may have come. */
  readonly onWakeup: (ticket: number) => void
}

/** Carries out commands on SQLite: one IMMEDIATE transaction, one command after another, one flush. */
export class SqliteExecutor {
  readonly #options: SqliteExecutorOptions
  readonly #database: Database.Database
  readonly #begin: Database.Statement
  readonly #commit: Database.Statement
  readonly #tokens: TokenSource
  readonly #context: SqliteContext
  readonly #queue: WaitQueue
  readonly #acquiring: ReturnType<typeof acquire>
  readonly #release: ReturnType<typeof release>
  readonly #renew: ReturnType<typeof renew>
  readonly #sweep: ReturnType<typeof sweep>

  constructor(database: Database.Database, db: Kysely<Tables>, options: SqliteExecutorOptions) {
    this.#options = options
    this.#database = database
    this.#begin = database.prepare('begin immediate')
    this.#commit = database.prepare('commit')
    this.#context = sqliteContext(database, db, options.keepHistoryMs > 0)
    this.#tokens = new TokenSource(this.#context)
    this.#queue = waitQueue(this.#context, options.onWakeup)
    this.#acquiring = acquire(this.#context, this.#tokens, this.#queue)
    this.#release = release(this.#context, this.#queue)
    this.#renew = renew(this.#context)
    this.#sweep = sweep(this.#context, this.#tokens, options.keepHistoryMs)
  }

  /** Settles each command, in their order, after the commit. Never throws. */
  execute(commands: readonly TimedCommand[]): CommandResult[] {
    return this.#execute(commands, [() => this.#reuseLog(), () => this.#useReserve()])
  }

  #execute(commands: readonly TimedCommand[], waysToMakeRoom: readonly (() => void)[]): CommandResult[] {
    try {
      this.#begin.run()
    } catch (error) {
      // Another program has the file, or the disk is broken: no single command is to blame.
      return commands.map(() => ({ kind: 'failed', error: toLockError(error) }))
    }
    try {
      return this.#commitTogether(commands)
    } catch (error) {
      if (this.#database.inTransaction) this.#database.exec('rollback')
      this.#tokens.rollBack()
      this.#context.rollBack()
      this.#queue.distrust()
      // One command's fault must fail that command alone.
      if (commands.length > 1) return commands.flatMap((command) => this.execute([command]))
      const fault = toLockError(error)
      if (fault instanceof LockError && fault.code === 'STORAGE_FULL') {
        this.#options.reserve?.foundFull()
        const [makeRoom, ...others] = waysToMakeRoom
        if (commands.some(makesRoom) && makeRoom !== undefined) {
          makeRoom()
          return this.#execute(commands, others)
        }
      }
      return [{ kind: 'failed', error: fault }]
    }
  }

  /** Moves what the log holds into the database, so that the next commits overwrite it instead of making it longer. */
  #reuseLog(): void {
    try {
      this.#database.pragma('wal_checkpoint(restart)')
    } catch {
      // The database itself has to grow, or another program reads it: then this way is closed.
    }
  }

  #useReserve(): void {
    this.#options.reserve?.free()
    this.#reuseLog()
  }

  #commitTogether(commands: readonly TimedCommand[]): CommandResult[] {
    const settlements = commands.map(({ command, now }): CommandResult => ({ kind: 'done', outcome: this.#carryOut(command, now) }))
    this.#tokens.save()
    this.#commit.run()
    this.#tokens.commit()
    return settlements
  }

  #carryOut(command: Command, now: EpochMs): OutcomeOf<Command> {
    switch (command.kind) {
      case 'acquire':
        return this.#acquiring.acquire(command, now)
      case 'find-request':
        return { kind: 'request-found', before: this.#acquiring.findRequest(command.idempotencyKey, now) ?? null }
      case 'release':
        return this.#release(command, now)
      case 'release-many':
        return { kind: 'released-many', outcomes: command.releases.map((release) => this.#release(release, now)) }
      case 'renew':
        return this.#renew.renew(command, now)
      case 'renew-many':
        return { kind: 'renewed-many', outcomes: command.renewals.map((renewal) => this.#renew.renew(renewal, now)) }
      case 'renew-all':
        return this.#renew.renewAll(command, now)
      case 'inspect': {
        const { at, latest } = this.#context.readLatest(command.resourceName, now)
        return { kind: 'inspected', at, grant: isValid(latest, at) ? latest : null, waiters: this.#queue.count(command.resourceName, now) }
      }
      case 'sweep':
        this.#queue.sweep(now)
        return this.#sweep(command, now)
      case 'enqueue':
        return this.#queue.enqueue(command, now)
      case 'dequeue':
        return this.#queue.dequeue(command, now)
      case 'dequeue-all':
        return this.#queue.dequeueAll(command, now)
      case 'purge-tickets':
        return this.#queue.purgeTickets(command, now)
      case 'heartbeat':
        return this.#queue.heartbeat()
    }
  }
}

function makesRoom({ command: { kind } }: TimedCommand): boolean {
  return kind === 'release' || kind === 'release-many' || kind === 'dequeue-all' || kind === 'sweep'
}
