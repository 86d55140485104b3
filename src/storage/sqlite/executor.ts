import type Database from 'better-sqlite3'
import type { Kysely } from 'kysely'
import type { Command, OutcomeOf } from '../../locks/commands.js'
import { isValid } from '../../locks/ended-grant.js'
import { LockError } from '../../locks/errors.js'
import type { EpochMs } from '../../locks/lock.js'
import type { Settlement } from '../batcher.js'
import type { Tables } from '../tables.js'
import { acquiring } from './acquiring.js'
import { sqliteContext, type SqliteContext } from './context.js'
import { ending } from './ending.js'
import { toLockError } from './errors.js'
import { NumberSource } from './numbers.js'
import { renewing } from './renewing.js'
import type { Reserve } from './reserve.js'
import { sweeping } from './sweeping.js'
import { waiting, type Line } from './waiting.js'

/** A command, and the service's clock when it was handed over. */
export interface Timed {
  readonly command: Command
  readonly now: EpochMs
}

export interface SqliteExecutorOptions {
  /** 0 keeps no history. */
  readonly keepHistoryMs: number
  /** The space kept back for a full disk, where there is a disk. */
  readonly reserve: Reserve | undefined
  /** Called with the ticket of a waiter whose turn may have come. */
  readonly onTurn: (ticket: number) => void
}

/** Carries out commands on SQLite: one IMMEDIATE transaction, one command after another, one flush. */
export class SqliteExecutor {
  readonly #options: SqliteExecutorOptions
  readonly #database: Database.Database
  readonly #begin: Database.Statement
  readonly #commit: Database.Statement
  readonly #numbers: NumberSource
  readonly #context: SqliteContext
  readonly #line: Line
  readonly #acquiring: ReturnType<typeof acquiring>
  readonly #release: ReturnType<typeof ending>
  readonly #renewing: ReturnType<typeof renewing>
  readonly #sweep: ReturnType<typeof sweeping>

  constructor(database: Database.Database, db: Kysely<Tables>, options: SqliteExecutorOptions) {
    this.#options = options
    this.#database = database
    this.#begin = database.prepare('begin immediate')
    this.#commit = database.prepare('commit')
    this.#context = sqliteContext(database, db, options.keepHistoryMs > 0)
    this.#numbers = new NumberSource(this.#context)
    this.#line = waiting(this.#context, options.onTurn)
    this.#acquiring = acquiring(this.#context, this.#numbers, this.#line)
    this.#release = ending(this.#context, this.#line)
    this.#renewing = renewing(this.#context)
    this.#sweep = sweeping(this.#context, this.#numbers, options.keepHistoryMs)
  }

  /** Settles each command, in their order, after the commit. Never throws. */
  execute(commands: readonly Timed[]): Settlement[] {
    return this.#execute(commands, [() => this.#reuseLog(), () => this.#useReserve()])
  }

  #execute(commands: readonly Timed[], waysToMakeRoom: readonly (() => void)[]): Settlement[] {
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
      this.#numbers.rollBack()
      this.#context.rollBack()
      this.#line.distrust()
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
    this.#options.reserve?.giveUp()
    this.#reuseLog()
  }

  #commitTogether(commands: readonly Timed[]): Settlement[] {
    const settlements = commands.map(({ command, now }): Settlement => ({ kind: 'done', outcome: this.#carryOut(command, now) }))
    this.#numbers.save()
    this.#commit.run()
    this.#numbers.commit()
    return settlements
  }

  #carryOut(command: Command, now: EpochMs): OutcomeOf<Command> {
    switch (command.kind) {
      case 'acquire':
        return this.#acquiring.acquire(command, now)
      case 'find-request':
        return { kind: 'request-found', before: this.#acquiring.findRequest(command.mark, now) ?? null }
      case 'release':
        return this.#release(command, now)
      case 'release-many':
        return { kind: 'released-many', outcomes: command.releases.map((release) => this.#release(release, now)) }
      case 'renew':
        return this.#renewing.renew(command, now)
      case 'renew-many':
        return { kind: 'renewed-many', outcomes: command.renewals.map((renewal) => this.#renewing.renew(renewal, now)) }
      case 'renew-all':
        return this.#renewing.renewAll(command, now)
      case 'inspect': {
        const { at, latest } = this.#context.look(command.resourceName, now)
        return { kind: 'inspected', at, grant: isValid(latest, at) ? latest : null, waiters: this.#line.count(command.resourceName, now) }
      }
      case 'sweep':
        this.#line.sweep(now)
        return this.#sweep(command, now)
      case 'enqueue':
        return this.#line.enqueue(command, now)
      case 'leave':
        return this.#line.leave(command, now)
      case 'dequeue-all':
        return this.#line.dequeueAll(command, now)
      case 'tidy':
        return this.#line.tidy(command, now)
      case 'beat':
        return this.#line.beat()
    }
  }
}

function makesRoom({ command: { kind } }: Timed): boolean {
  return kind === 'release' || kind === 'release-many' || kind === 'dequeue-all' || kind === 'sweep'
}
