import type Database from 'better-sqlite3'
import type { Kysely } from 'kysely'
import type { Command, OutcomeOf } from '../../locks/commands.js'
import { isValid, type EpochMs } from '../../locks/lock.js'
import { LockError } from '../../locks/errors.js'
import type { CommandResult } from '../batcher.js'
import { NOBODY, type Tables } from '../tables.js'
import { Acquire } from './acquire.js'
import { toLockError } from './connection.js'
import { SqliteContext } from './context.js'
import type { DiskReserve } from './files.js'
import { Release } from './release.js'
import { Renew } from './renew.js'
import { Shares } from './shares.js'
import { Sweep } from './sweep.js'
import { WaitQueue } from './wait-queue.js'

/** A command, and the service's clock when it was handed over. */
export interface TimedCommand {
  readonly command: Command
  readonly now: EpochMs
}

export interface SqliteExecutorOptions {
  /** 0 keeps no history. */
  readonly keepHistoryMs: number
  /** Undefined for a database in memory. */
  readonly reserve: DiskReserve | undefined
  /** Called with the ticket of a waiter whose turn may have come. */
  readonly onWakeup: (ticket: number) => void
}

/** Executes commands on SQLite: one IMMEDIATE transaction, one command after another, one flush. */
export class SqliteExecutor {
  readonly #options: SqliteExecutorOptions
  readonly #database: Database.Database
  readonly #begin: Database.Statement
  readonly #commit: Database.Statement
  readonly #context: SqliteContext
  readonly #queue: WaitQueue
  readonly #acquire: Acquire
  readonly #shares: Shares
  readonly #release: Release
  readonly #renew: Renew
  readonly #sweep: Sweep

  constructor(database: Database.Database, db: Kysely<Tables>, options: SqliteExecutorOptions) {
    this.#options = options
    this.#database = database
    this.#begin = database.prepare('begin immediate')
    this.#commit = database.prepare('commit')
    this.#context = new SqliteContext(database, db, options.keepHistoryMs > 0)
    this.#queue = new WaitQueue(this.#context, options.onWakeup)
    this.#shares = new Shares(this.#context, this.#queue)
    this.#acquire = new Acquire(this.#context, this.#queue, this.#shares)
    this.#release = new Release(this.#context, this.#queue, this.#shares)
    this.#renew = new Renew(this.#context, this.#queue, this.#shares)
    this.#sweep = new Sweep(this.#context, this.#queue, this.#shares, options.keepHistoryMs)
  }

  /** Returns the result of each command, in their order, after the commit. Never throws. */
  execute(commands: readonly TimedCommand[]): CommandResult[] {
    return this.#execute(commands, [() => this.#reuseLog(), () => this.#useReserve()])
  }

  #execute(commands: readonly TimedCommand[], waysToFreeSpace: readonly (() => void)[]): CommandResult[] {
    try {
      this.#begin.run()
    } catch (error) {
      // Another program has locked the file, or the disk is broken: this fails every command.
      return commands.map(() => ({ kind: 'failed', error: toLockError(error) }))
    }
    try {
      return this.#runAndCommit(commands)
    } catch (error) {
      if (this.#database.inTransaction) this.#database.exec('rollback')
      this.#context.rollBack()
      this.#queue.distrust()
      // A fault in one command must not fail the others.
      if (commands.length > 1) return commands.flatMap((command) => this.execute([command]))
      const fault = toLockError(error)
      if (fault instanceof LockError && fault.code === 'STORAGE_FULL') {
        this.#options.reserve?.foundFull()
        const [freeSpace, ...others] = waysToFreeSpace
        if (commands.some(freesSpace) && freeSpace !== undefined) {
          freeSpace()
          return this.#execute(commands, others)
        }
      }
      return [{ kind: 'failed', error: fault }]
    }
  }

  /** Moves the log into the database, so that the next commits overwrite the log instead of extending it. */
  #reuseLog(): void {
    try {
      this.#database.pragma('wal_checkpoint(restart)')
    } catch {
      // The database itself has to grow, or another program reads it: the log cannot be reused.
    }
  }

  #useReserve(): void {
    this.#options.reserve?.free()
    this.#reuseLog()
  }

  #runAndCommit(commands: readonly TimedCommand[]): CommandResult[] {
    const results = commands.map(({ command, now }): CommandResult => ({ kind: 'done', outcome: this.#run(command, now) }))
    this.#context.tokens.save()
    this.#commit.run()
    this.#context.tokens.commit()
    return results
  }

  #run(command: Command, now: EpochMs): OutcomeOf<Command> {
    switch (command.kind) {
      case 'acquire':
        return this.#acquire.acquire(command, now)
      case 'find-request':
        return { kind: 'request-found', before: this.#acquire.findRequest(command.idempotencyKey, now) ?? null }
      case 'release':
        return this.#release.release(command, now)
      case 'release-many':
        return { kind: 'released-many', outcomes: command.releases.map((release) => this.#release.release(release, now)) }
      case 'renew':
        return this.#renew.renew(command, now)
      case 'renew-many':
        return { kind: 'renewed-many', outcomes: command.renewals.map((renewal) => this.#renew.renew(renewal, now)) }
      case 'renew-all':
        return this.#renew.renewAll(command, now)
      case 'inspect': {
        const { at, latest } = this.#context.readLatest(command.resourceName, now)
        const grant = isValid(latest, at) ? latest : null
        const shown = grant?.processId === NOBODY ? this.#shares.inspect(command.resourceName, now) : { grant }
        return { kind: 'inspected', at, ...shown, waiters: this.#queue.count(command.resourceName, now) }
      }
      case 'revoke':
        return this.#shares.revoke(command, now)
      case 'convert':
        return this.#shares.convert(command, now)
      case 'sweep':
        return this.#sweep.sweep(command, now)
      case 'enqueue':
        return this.#queue.enqueue(command, now)
      case 'dequeue':
        return this.#queue.dequeue(command, now)
      case 'dequeue-all':
        return this.#queue.dequeueAll(command, now)
      case 'purge-tickets':
        return this.#queue.purgeTickets(command, now)
      case 'heartbeat':
        // One process serves the file: its waiters live as long as it does.
        // No wake-up is lost inside one process.
        return { kind: 'heartbeat-sent', dequeued: [] }
    }
  }
}

function freesSpace({ command: { kind } }: TimedCommand): boolean {
  return kind === 'release' || kind === 'release-many' || kind === 'dequeue-all' || kind === 'sweep'
}
