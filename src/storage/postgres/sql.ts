import type { Duplex } from 'node:stream'
import { sql, type Kysely, type RawBuilder, type SqlBool } from 'kysely'
import type { PoolClient } from 'pg'
import { NEVER } from '../../../migrations/0013-lock-shares.js'
import type { InspectCommand } from '../../locks/commands.js'
import { type EpochMs, isValid, type LockSnapshot } from '../../locks/lock.js'
import { KEEP_PLACE_MS } from '../../locks/queue-commands.js'
import { attempt, RETRY, type CommandResult } from '../batcher.js'
import { KEEP_ENDED_MS, LATEST_COLUMNS, latestFromRow, type LatestRow, type Tables, statement, toRow, type Statement } from '../tables.js'
import { isConnectionLost } from './connection.js'

/**
 * `clock_timestamp()`, not `now()`: the latter does not advance while a statement waits for a row. `extract` computes exact
 * numerics and costs three times as much as `date_part`, whose result may be slightly too small: hence the added microsecond.
 */
export const CLOCK = sql<number>`floor(date_part('epoch', clock_timestamp()) * 1000 + 0.001)::bigint`

/** The clock, read once per statement, so that an index can be searched with it. */
export const CLOCK_ONCE = sql<number>`(select ${CLOCK})`

/** The grant in the row `l` is valid now. */
export const VALID = sql`(l.is_active and (l.expires_at is null or l.expires_at > ${CLOCK}))`

/**
 * When a grant that was found valid was looked at. PostgreSQL may be paused between two readings of its clock in one statement: what is
 * said or written then is of the time when the grant was valid.
 */
export function whileValid(expiresAt: RawBuilder<unknown>): RawBuilder<number> {
  return sql<number>`least(${CLOCK}, ${expiresAt} - 1)`
}

/** When the share in the row `s` ends. Ordered by it, few shares of many are found by the index that it stands in. */
export const SHARE_END = sql`coalesce(s.expires_at, ${sql.lit(NEVER)})`

/** The grant in the row `l` belongs to that key or to none; the key null may touch every grant. */
export function openTo(key: RawBuilder<unknown>): RawBuilder<unknown> {
  return sql`(${key} is null or l.api_key is null or l.api_key = ${key})`
}

export const KEEP = sql.lit(KEEP_ENDED_MS)

/** How long the waiters of an instance keep their places after its last heartbeat, in milliseconds. */
export const INSTANCE_LEASE_MS = 3000

/** True until then, but for at most `longestMs`: a later end was written before the clock was set back. */
function lasts(until: RawBuilder<unknown>, longestMs: number): RawBuilder<SqlBool> {
  return sql`(${until} > ${CLOCK} and ${until} <= ${CLOCK} + ${sql.lit(longestMs)})`
}

/** The waiter in the row `w` still waits: its instance is alive, or its place is kept. Live instances are read once per statement. */
export const LIVE = sql<SqlBool>`
  (case
    when w.lease_until is null then w.instance in (select i.instance from lock_instances i where ${lasts(sql`i.lease_until`, INSTANCE_LEASE_MS)})
    else ${lasts(sql`w.lease_until`, KEEP_PLACE_MS)}
  end)`

/** Some request waits for some resource; read once per statement, since mostly none does. */
export const SOMEBODY_WAITS = sql<SqlBool>`(select exists (select from lock_waiters))`

/** The number of waiters for the resource of that name. */
export function waitersFor(name: RawBuilder<unknown>): RawBuilder<number> {
  return sql<number>`(select count(*) from lock_waiters w where w.resource_name = ${name} and ${LIVE})`
}

/** Orders arguments as the table orders names, so that every statement locks rows in the same order. */
export function bytewise(name: RawBuilder<unknown>): RawBuilder<unknown> {
  return sql`${name} collate "C"`
}

/** Columns of the row `l`. */
export function columns(names: readonly string[]): RawBuilder<unknown> {
  return sql.join(names.map((name) => sql.ref(`l.${name}`)))
}

/** The values of a column, or none if all are null: `unnest` fills a shorter array up with nulls. */
export function sparse<T>(values: (T | null)[]): (T | null)[] {
  return values.some((value) => value !== null) ? values : []
}

export type Arg<Args> = <Name extends keyof Args & string>(name: Name) => RawBuilder<Args[Name]>

/** A statement in two parts, so that two statements can become one: what follows `with`, and the query for its rows. */
export interface Parts {
  readonly parts: RawBuilder<unknown>
  readonly rows: RawBuilder<unknown>
}

export function whole({ parts, rows }: Parts): RawBuilder<unknown> {
  return sql`with ${parts} ${rows}`
}

/** Compiles a statement once. */
export function compiled<Args extends object, Row = never>(
  db: Kysely<Tables>,
  build: (arg: Arg<Args>) => RawBuilder<unknown>
): PostgresStatement<Args, Row> {
  statements += 1
  return { name: `rlm_${statements}`, ...statement<Args>((arg) => build(arg).compile(db)) }
}

let statements = 0

/** PostgreSQL parses and plans a named statement once per connection. */
export interface PostgresStatement<Args, Row> extends Statement<Args> {
  readonly name: string
  /** Carries the type of its rows; has no value. */
  readonly row?: Row
}

/** What the driver's types leave out. */
interface Connected {
  readonly connection: { readonly stream: Duplex }
}

/** One connection for the length of one batch; remembers whether it broke. */
export class Session {
  readonly #client: PoolClient
  #lost: Error | undefined

  constructor(client: PoolClient) {
    this.#client = client
  }

  get lost(): Error | undefined {
    return this.#lost
  }

  /**
   * Sends a statement at once, without waiting for the results of those that were sent before.
   *
   * Rows are fetched as arrays and become objects here: the driver would copy a pattern for each row.
   */
  async run<Args extends object, Row>(compiled: PostgresStatement<Args, Row>, args: Args): Promise<Row[]> {
    const { name, sql: text, bind } = compiled
    try {
      const { rows, fields } = await this.#client.query({ name, text, values: bind(args), rowMode: 'array' })
      const columns = fields.map(({ name: column }) => column)
      return rows.map((values) => toRow(columns, values as readonly unknown[]) as Row)
    } catch (error) {
      if (isConnectionLost(error)) this.#lost = error instanceof Error ? error : new Error(String(error))
      throw error
    }
  }

  /** Sends everything that `send` runs in one packet, so that PostgreSQL wakes up once for all of it. */
  inOneGo<T>(send: () => T): T {
    const { stream } = (this.#client as PoolClient & Connected).connection
    stream.cork()
    try {
      return send()
    } finally {
      stream.uncork()
    }
  }

  /** Settles when every statement has its result, so that none of a command that failed still runs when the command is retried. */
  async together<Results extends readonly unknown[]>(sent: readonly [...{ [I in keyof Results]: Promise<Results[I]> }]): Promise<Results> {
    const settled = await Promise.allSettled<unknown>(sent as readonly Promise<unknown>[])
    return settled.map((result) => {
      if (result.status === 'rejected') throw result.reason
      return result.value
    }) as never
  }
}

interface SnapshotRow extends LatestRow {
  readonly name: string
  readonly at: EpochMs
  readonly waiters: number
}

/** Reads locks within a batch, without locking any row. */
export class SnapshotReader {
  readonly #byNames: PostgresStatement<{ names: string[] }, SnapshotRow>

  constructor(db: Kysely<Tables>) {
    // One row per name, whether or not there is a lock.
    this.#byNames = compiled(
      db,
      (arg) => sql`
      select asked.name, ${CLOCK} as at, ${waitersFor(sql`asked.name`)} as waiters, ${columns(LATEST_COLUMNS)}
      from unnest(${arg('names')}::text[]) as asked(name) left join resource_locks l on l.resource_name = asked.name`
    )
  }

  async readLatest(session: Session, names: readonly string[]): Promise<Map<string, LockSnapshot & { readonly waiters: number }>> {
    const rows = await session.run(this.#byNames, { names: [...new Set(names)] })
    return new Map(
      rows.map((row) => [
        row.name,
        {
          at: row.at,
          waiters: row.waiters,
          // Parsed on access: a row that cannot be read fails only the commands for its resource.
          get latest() {
            // For a name without a row every column is null, `id` too.
            return row.id === null ? undefined : latestFromRow(row)
          }
        }
      ])
    )
  }

  async inspect(session: Session, commands: readonly InspectCommand[]): Promise<CommandResult[]> {
    const names = commands.map(({ resourceName }) => resourceName)
    const snapshots = await this.readLatest(session, names)
    return names.map((name) =>
      attempt(() => {
        const snapshot = snapshots.get(name)
        if (snapshot === undefined) return RETRY
        const { at, latest, waiters } = snapshot
        return { kind: 'done', outcome: { kind: 'inspected', at, grant: isValid(latest, at) ? latest : null, waiters } }
      })
    )
  }
}
