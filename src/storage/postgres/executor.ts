import { setTimeout as sleep } from 'node:timers/promises'
import type { Kysely } from 'kysely'
import type { Pool, PoolClient } from 'pg'
import type { AcquireCommand, Command, InspectCommand, ReleaseCommand, SweepCommand } from '../../locks/commands.js'
import { isValid, whyNotHeld, type LatestGrant } from '../../locks/ended-grant.js'
import type { EpochMs } from '../../locks/lock.js'
import { AGAIN, type BatchExecutor, type Settlement } from '../batcher.js'
import { grantFromRow, latestFromRow, metadataToText, type GrantRow, type LatestRow } from '../rows.js'
import type { Statement } from '../statement.js'
import type { Tables } from '../tables.js'
import { isConnectionLost, isTransient, toLockError } from './errors.js'
import { postgresStatements } from './statements.js'

type Statements = ReturnType<typeof postgresStatements>
type ArgsOf<S> = S extends Statement<infer Args> ? Args : never
type Rows = readonly object[]

interface Glance {
  readonly at: EpochMs
  readonly latest: LatestGrant | undefined
}

const MOST_TRANSIENT_TRIES = 3

/**
 * Carries out a batch on PostgreSQL: one set-based statement for each kind of command in it, all sent at once over one
 * connection, each kind committed by itself so that no transaction takes rows in two passes.
 */
export class PostgresExecutor implements BatchExecutor {
  readonly lanes: number
  readonly sequential = false
  readonly #pool: Pool
  readonly #statements: Statements
  readonly #random: () => number

  /** @param random 0 to 1, for the jitter before a statement that lost a deadlock runs again. */
  constructor(pool: Pool, db: Kysely<Tables>, lanes: number, random: () => number) {
    this.#pool = pool
    this.#statements = postgresStatements(db)
    this.lanes = lanes
    this.#random = random
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
    const session = new Session(client, this.#statements)
    await Promise.all([
      this.#settle(settlements, ofKind(commands, 'release'), (some) => this.#release(session, some)),
      this.#settle(settlements, ofKind(commands, 'acquire'), (some) => this.#acquire(session, some)),
      this.#settle(settlements, ofKind(commands, 'inspect'), (some) => this.#inspect(session, some)),
      ...ofKind(commands, 'sweep').map((command) => this.#settle(settlements, [command], ([one]) => this.#sweep(session, one)))
    ])
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
        await sleep(this.#random() * 20 * tries)
        return this.#settle(settlements, commands, run, tries + 1)
      }
      if (commands.length > 1 && !isConnectionLost(error)) {
        for (const command of commands) await this.#settle(settlements, [command], run, tries)
        return
      }
      for (const command of commands) {
        settlements.set(command, { kind: 'failed', error: toLockError(error, command.kind !== 'inspect') })
      }
    }
  }

  async #acquire(session: Session, commands: readonly AcquireCommand[]): Promise<Settlement[]> {
    const firsts = [...new Map(commands.toReversed().map((command) => [command.resourceName, command])).values()]
    const names = firsts.map(({ resourceName }) => resourceName)
    const [, , rows] = await Promise.all([
      session.run('begin', {}),
      session.run('place', { names }),
      session.run('acquire', {
        names,
        processes: firsts.map(({ processId }) => processId),
        ttls: firsts.map(({ ttlMs }) => ttlMs),
        metadata: firsts.map(({ metadata }) => metadataToText(metadata))
      }),
      session.run('commit', {})
    ])
    const found = new Map((rows as (GrantRow & { at: EpochMs | null })[]).map((row) => [row.resource_name, row]))
    const first = new Set(firsts)
    return commands.map((command) => {
      const row = found.get(command.resourceName)
      if (row === undefined) return AGAIN
      const grant = grantFromRow(row)
      if (row.at === null && first.has(command)) return { kind: 'done', outcome: { kind: 'granted', grant } }
      // Whoever asked for the same name in the same batch came just after the one that was granted.
      return { kind: 'done', outcome: { kind: 'held', by: grant, at: row.at ?? grant.lockedAt } }
    })
  }

  async #release(session: Session, commands: readonly ReleaseCommand[]): Promise<Settlement[]> {
    const rows = await session.run('release', {
      names: commands.map(({ resourceName }) => resourceName),
      processes: commands.map(({ processId }) => processId),
      lockIds: commands.map(({ lockId }) => lockId)
    })
    const rowOf = new Map((rows as (GrantRow & { ended_at: EpochMs })[]).map((row) => [row.resource_name, row]))
    const released = new Map<ReleaseCommand, GrantRow & { ended_at: EpochMs }>()
    const tooEarly = new Set<ReleaseCommand>()
    for (const command of commands) {
      const row = rowOf.get(command.resourceName)
      if (row === undefined) continue
      if (couldEnd(command, row)) {
        // Of several alike, the one that came first ended the grant, and the others found it released.
        released.set(command, row)
        rowOf.delete(command.resourceName)
      } else {
        // It came before the one that ended the grant, and must not be told of an end that was still to come.
        tooEarly.add(command)
      }
    }
    const refused = commands.filter((command) => !released.has(command) && !tooEarly.has(command))
    const glances = refused.length === 0 ? undefined : await this.#look(session, refused)
    return commands.map((command) => {
      const { resourceName, processId } = command
      const row = released.get(command)
      if (row !== undefined) {
        return { kind: 'done', outcome: { kind: 'released', grant: grantFromRow(row), releasedAt: row.ended_at } }
      }
      if (tooEarly.has(command)) return { kind: 'done', outcome: { kind: 'not-held', reason: 'held_by_other' } }
      const glance = glances?.get(resourceName)
      if (glance === undefined) return AGAIN
      return { kind: 'done', outcome: { kind: 'not-held', reason: whyNotHeld(glance.latest, processId, glance.at) } }
    })
  }

  async #inspect(session: Session, commands: readonly InspectCommand[]): Promise<Settlement[]> {
    const glances = await this.#look(session, commands)
    return commands.map(({ resourceName }) => {
      const glance = glances.get(resourceName)
      if (glance === undefined) return AGAIN
      const { at, latest } = glance
      return { kind: 'done', outcome: { kind: 'inspected', at, grant: latest !== undefined && isValid(latest, at) ? latest : null } }
    })
  }

  async #look(session: Session, commands: readonly { resourceName: string }[]): Promise<Map<string, Glance>> {
    const names = [...new Set(commands.map(({ resourceName }) => resourceName))]
    const rows = (await session.run('look', { names })) as ({ name: string; at: EpochMs } & LatestRow)[]
    return new Map(
      // A name without a row comes with nulls, `id` among them.
      rows.map((row) => [row.name, { at: row.at, latest: row.id === null ? undefined : latestFromRow(row) }])
    )
  }

  async #sweep(session: Session, command: SweepCommand | undefined): Promise<Settlement[]> {
    if (command === undefined) return []
    const [row] = (await session.run('sweep', { bite: command.bite })) as { seen: number; expired: number; removed: number }[]
    const { seen = 0, expired = 0, removed = 0 } = row ?? {}
    return [{ kind: 'done', outcome: { kind: 'swept', expired, removed, more: seen >= command.bite } }]
  }
}

/** One connection for the length of one batch; remembers whether it broke. */
class Session {
  readonly #client: PoolClient
  readonly #statements: Statements
  #lost: Error | undefined

  constructor(client: PoolClient, statements: Statements) {
    this.#client = client
    this.#statements = statements
  }

  get lost(): Error | undefined {
    return this.#lost
  }

  /** Sends at once, without waiting for earlier answers. The name lets PostgreSQL parse and plan each text once per connection. */
  async run<Name extends keyof Statements>(name: Name, args: ArgsOf<Statements[Name]>): Promise<Rows> {
    const { sql: text, bind } = this.#statements[name] as Statement<object>
    try {
      const { rows } = await this.#client.query<object>({ name, text, values: bind(args) })
      return rows
    } catch (error) {
      if (isConnectionLost(error)) this.#lost = error instanceof Error ? error : new Error(String(error))
      throw error
    }
  }
}

function couldEnd({ processId, lockId }: ReleaseCommand, row: GrantRow): boolean {
  return processId === row.process_id && (lockId ?? row.id) === row.id
}

function ofKind<Kind extends Command['kind']>(commands: readonly Command[], kind: Kind): Extract<Command, { kind: Kind }>[] {
  return commands.filter((command): command is Extract<Command, { kind: Kind }> => command.kind === kind)
}
