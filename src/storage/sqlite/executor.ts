import type Database from 'better-sqlite3'
import type { Kysely } from 'kysely'
import type {
  AcquireCommand,
  AcquireOutcome,
  Command,
  InspectCommand,
  InspectOutcome,
  OutcomeOf,
  ReleaseCommand,
  ReleaseOutcome,
  SweepCommand,
  SweepOutcome
} from '../../locks/commands.js'
import { isValid, whyNotHeld, type LatestGrant } from '../../locks/ended-grant.js'
import { LockError } from '../../locks/errors.js'
import type { EpochMs } from '../../locks/lock.js'
import type { BatchExecutor, Settlement } from '../batcher.js'
import { grantFromRow, KEEP_ENDED_MS, latestFromRow, leaseEnd, metadataToText, type GrantRow, type LatestRow } from '../rows.js'
import type { Statement } from '../statement.js'
import type { ResourceLocksTable, Tables } from '../tables.js'
import { toLockError } from './errors.js'
import type { Reserve } from './reserve.js'
import { sqliteStatements } from './statements.js'

type Statements = ReturnType<typeof sqliteStatements>
type Prepared = { [Name in keyof Statements]: PreparedStatement<Statements[Name]> }
type DueRow = Pick<ResourceLocksTable, 'resource_name' | 'id' | 'is_active' | 'expires_at' | 'ended_at'>

/**
 * Carries out a batch on SQLite: one IMMEDIATE transaction, one command after another, one flush.
 *
 * SQLite has one writer, and this process is the only one (see owner.ts), so the largest number so far is kept in memory
 * and written down once per batch.
 */
export class SqliteExecutor implements BatchExecutor {
  readonly lanes = 1
  readonly sequential = true
  readonly #run: Prepared
  readonly #begin: Database.Statement
  readonly #commit: Database.Statement
  readonly #database: Database.Database
  readonly #clock: () => EpochMs
  readonly #reserve: Reserve | undefined
  #lastNumber: number

  constructor(database: Database.Database, db: Kysely<Tables>, clock: () => EpochMs, reserve: Reserve | undefined) {
    this.#database = database
    this.#clock = clock
    this.#reserve = reserve
    const entries = Object.entries(sqliteStatements(db)).map(
      ([name, compiled]) => [name, new PreparedStatement(database, compiled as Statement<object>)] as const
    )
    this.#run = Object.fromEntries(entries) as Prepared
    this.#begin = database.prepare('begin immediate')
    this.#commit = database.prepare('commit')
    this.#lastNumber = (this.#run.lastNumber.get({}) as { last_value: number }).last_value
  }

  execute(commands: readonly Command[]): Settlement[] {
    return this.#execute(commands, [() => this.#reuseLog(), () => this.#useReserve()])
  }

  #execute(commands: readonly Command[], waysToMakeRoom: readonly (() => void)[]): Settlement[] {
    try {
      this.#begin.run()
    } catch (error) {
      // Another program has the file, or the disk is broken: no single command is to blame.
      return commands.map(() => ({ kind: 'failed', error: toLockError(error) }))
    }
    const numberBefore = this.#lastNumber
    try {
      return this.#commitTogether(commands)
    } catch (error) {
      if (this.#database.inTransaction) this.#database.exec('rollback')
      this.#lastNumber = numberBefore
      // One command's fault must fail that command alone.
      if (commands.length > 1) return commands.flatMap((command) => this.execute([command]))
      const fault = toLockError(error)
      if (fault instanceof LockError && fault.code === 'STORAGE_FULL') {
        this.#reserve?.foundFull()
        const [makeRoom, ...others] = waysToMakeRoom
        const frees = commands[0]?.kind === 'release' || commands[0]?.kind === 'sweep'
        if (frees && makeRoom !== undefined) {
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
    this.#reserve?.giveUp()
    this.#reuseLog()
  }

  #commitTogether(commands: readonly Command[]): Settlement[] {
    const now = this.#clock()
    const numberBefore = this.#lastNumber
    const settlements = commands.map((command): Settlement => ({ kind: 'done', outcome: this.#carryOut(command, now) }))
    if (this.#lastNumber !== numberBefore) this.#run.saveNumber.run({ number: this.#lastNumber })
    this.#commit.run()
    return settlements
  }

  #carryOut(command: Command, now: EpochMs): OutcomeOf<Command> {
    switch (command.kind) {
      case 'acquire':
        return this.#acquire(command, now)
      case 'release':
        return this.#release(command, now)
      case 'inspect':
        return this.#inspect(command, now)
      case 'sweep':
        return this.#sweep(command, now)
    }
  }

  #acquire(command: AcquireCommand, now: EpochMs): AcquireOutcome {
    const { resourceName, processId, ttlMs, metadata } = command
    const expiresAt = leaseEnd(now, ttlMs)
    const row = this.#run.acquire.get({
      name: resourceName,
      number: this.#lastNumber + 1,
      process: processId,
      now,
      expiresAt,
      ttlMs,
      metadata: metadataToText(metadata)
    }) as { id: number } | undefined
    if (row === undefined) return { kind: 'held', by: this.#look(resourceName) as LatestGrant, at: now }
    this.#lastNumber = row.id
    return { kind: 'granted', grant: { lockId: row.id, resourceName, processId, lockedAt: now, expiresAt, metadata } }
  }

  #release({ resourceName, processId, lockId }: ReleaseCommand, now: EpochMs): ReleaseOutcome {
    const row = this.#run.release.get({ name: resourceName, process: processId, lockId, now, sweepAt: now + KEEP_ENDED_MS })
    if (row !== undefined) return { kind: 'released', grant: grantFromRow(row as GrantRow), releasedAt: now }
    return { kind: 'not-held', reason: whyNotHeld(this.#look(resourceName), processId, now) }
  }

  #inspect({ resourceName }: InspectCommand, now: EpochMs): InspectOutcome {
    const latest = this.#look(resourceName)
    return { kind: 'inspected', at: now, grant: latest !== undefined && isValid(latest, now) ? latest : null }
  }

  #look(name: string): LatestGrant | undefined {
    return latestFromRow(this.#run.look.get({ name }) as LatestRow | undefined)
  }

  #sweep({ bite }: SweepCommand, now: EpochMs): SweepOutcome {
    const rows = this.#run.due.all({ now, bite }) as DueRow[]
    let expired = 0
    let removed = 0
    for (const { resource_name: name, id, is_active, expires_at, ended_at } of rows) {
      if (is_active && expires_at !== null && expires_at <= now) {
        this.#run.expire.run({ name, sweepAt: now + KEEP_ENDED_MS })
        expired += 1
      } else if (is_active) {
        this.#run.postpone.run({ name, sweepAt: expires_at })
      } else if ((ended_at ?? 0) + KEEP_ENDED_MS > now) {
        this.#run.postpone.run({ name, sweepAt: (ended_at ?? 0) + KEEP_ENDED_MS })
      } else {
        this.#run.remove.run({ name })
        // A restored row may bear a number that this database has not reached yet; it goes, and is counted from.
        this.#lastNumber = Math.max(this.#lastNumber, id)
        removed += 1
      }
    }
    return { kind: 'swept', expired, removed, more: rows.length === bite }
  }
}

/** A statement that SQLite has parsed once, with its named arguments. */
class PreparedStatement<Compiled extends Statement<never>> {
  readonly #prepared: Database.Statement
  readonly #bind: (args: Parameters<Compiled['bind']>[0]) => unknown[]

  constructor(database: Database.Database, compiled: Statement<object>) {
    this.#prepared = database.prepare(compiled.sql)
    this.#bind = (args) => compiled.bind(args)
  }

  get(args: Parameters<Compiled['bind']>[0]): unknown {
    return this.#prepared.get(...this.#bind(args))
  }

  all(args: Parameters<Compiled['bind']>[0]): unknown[] {
    return this.#prepared.all(...this.#bind(args))
  }

  run(args: Parameters<Compiled['bind']>[0]): void {
    this.#prepared.run(...this.#bind(args))
  }
}
