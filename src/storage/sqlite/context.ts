import type Database from 'better-sqlite3'
import { sql, type Expression, type Kysely, type SqlBool } from 'kysely'
import { EVENT_BUCKET_BITS } from '../../../migrations/0005-lock-event-buckets.js'
import type { EpochMs, LockSnapshot } from '../../locks/lock.js'
import type { EventIndex } from '../history.js'
import { LATEST_COLUMNS, latestFromRow, type EventRow, type LatestRow, type Tables, beginsWith, statement, toRow, type Statement } from '../tables.js'

/** More events than one millisecond can have: those of the newest one are read when the file is opened, since it may go on after a restart. */
const MAX_EVENTS_AT_ONCE = 1000

/** What the operations share on SQLite: prepared statements, the latest grant of a resource, tokens and the history. */
export class SqliteContext {
  readonly database: Database.Database
  readonly db: Kysely<Tables>
  readonly tokens: TokenSource
  readonly #keepsHistory: boolean
  readonly #latestByName: PreparedStatement<{ name: string }, LatestRow>
  readonly #insertEvent: PreparedStatement<EventRow>
  readonly #indexer: EventIndexer
  /** The time of the newest event, and the resources of all events of that millisecond. In memory: they are in no index. */
  #newestAt: number
  readonly #newestNames: Set<string>

  constructor(database: Database.Database, db: Kysely<Tables>, keepsHistory: boolean) {
    this.database = database
    this.db = db
    this.tokens = new TokenSource(this)
    this.#keepsHistory = keepsHistory
    this.#latestByName = this.prepare((arg) => db.selectFrom('resource_locks').select(LATEST_COLUMNS).where('resource_name', '=', arg('name')))
    this.#insertEvent = this.prepare((arg) =>
      db.insertInto('lock_events').values({
        at: arg('at'),
        kind: arg('kind'),
        resource_name: arg('resource_name'),
        lock_id: arg('lock_id'),
        process_id: arg('process_id'),
        reason: arg('reason')
      })
    )
    this.#indexer = new EventIndexer(this)
    const newest = this.prepare<object, Pick<EventRow, 'at' | 'resource_name'>>(() =>
      db.selectFrom('lock_events').select(['at', 'resource_name']).where('kind', '<>', 'expired').orderBy('id', 'desc').limit(sql.lit(MAX_EVENTS_AT_ONCE))
    ).all({})
    this.#newestAt = newest[0]?.at ?? 0
    this.#newestNames = new Set(newest.filter(({ at }) => at === this.#newestAt).map(({ resource_name }) => resource_name))
  }

  prepare<Args extends object, Row = never>(build: Parameters<typeof statement<Args>>[0]): PreparedStatement<Args, Row> {
    return new PreparedStatement(this.database, statement<Args>(build))
  }

  readLatest(name: string, now: EpochMs): LockSnapshot {
    return { at: now, latest: latestFromRow(this.#latestByName.get({ name })) }
  }

  /** Writes one event of the history, if one is kept. */
  appendEvent(event: EventRow): void {
    if (!this.#keepsHistory) return
    this.#indexer.added(this.#insertEvent.insert(event))
    // An expiry is written later than its time.
    if (event.kind === 'expired') return
    if (event.at !== this.#newestAt) {
      this.#newestAt = event.at
      this.#newestNames.clear()
    }
    this.#newestNames.add(event.resource_name)
  }

  /** Whether the history has an event of that resource in this very millisecond. */
  hasEventAt(name: string, now: EpochMs): boolean {
    return this.#newestAt === now && this.#newestNames.has(name)
  }

  /** Call it after events were removed. */
  forgetEvents(): void {
    this.#indexer.forget()
  }

  /** Call it after a rollback: tokens and events of the transaction never existed. */
  rollBack(): void {
    this.tokens.rollBack()
    this.#newestNames.clear()
  }
}

/** A statement that SQLite has parsed once, with its named arguments. */
export class PreparedStatement<Args extends object, Row = never> {
  readonly #statement: Database.Statement
  readonly #bind: (args: Args) => unknown[]
  readonly #columns: readonly string[]

  constructor(database: Database.Database, compiled: Statement<Args>) {
    this.#statement = database.prepare(compiled.sql)
    this.#bind = compiled.bind
    this.#columns = this.#statement.reader ? this.#statement.raw().columns().map(({ name }) => name) : []
  }

  get(args: Args): Row | undefined {
    const values = this.#statement.get(...this.#bind(args))
    return values === undefined ? undefined : this.#toRow(values)
  }

  all(args: Args): Row[] {
    return this.#statement.all(...this.#bind(args)).map((values) => this.#toRow(values))
  }

  /** Returns the number of rows that changed. */
  run(args: Args): number {
    return this.#statement.run(...this.#bind(args)).changes
  }

  /** Returns the id of the inserted row. */
  insert(args: Args): number {
    return Number(this.#statement.run(...this.#bind(args)).lastInsertRowid)
  }

  /** The driver returns arrays: the objects that it would make are slow dictionaries. */
  #toRow(values: unknown): Row {
    return toRow(this.#columns, values as readonly unknown[]) as Row
  }
}

/**
 * The largest token that was ever granted. This process is the only one that writes to the file, so that the token is kept
 * in memory and saved once per batch.
 */
class TokenSource {
  last: number
  #committed: number
  readonly #update: PreparedStatement<{ token: number }>

  constructor(context: SqliteContext) {
    const { db } = context
    const read = context.prepare<object, { last_value: number }>(() => db.selectFrom('lock_numbers').select('last_value'))
    this.#update = context.prepare((arg) => db.updateTable('lock_numbers').set({ last_value: arg('token') }))
    this.last = this.#committed = read.get({})?.last_value ?? 0
  }

  /** Call it inside the transaction that granted. */
  save(): void {
    if (this.last !== this.#committed) this.#update.run({ token: this.last })
  }

  /** Call it after the commit of that transaction. */
  commit(): void {
    this.#committed = this.last
  }

  rollBack(): void {
    this.last = this.#committed
  }
}

const INDEXED_COLUMNS = ['resource_name', 'process_id'] as const
const BITS = sql.lit(EVENT_BUCKET_BITS)
const EVENTS_IN_BUCKET = 2 ** EVENT_BUCKET_BITS

const indexOf = (column: (typeof INDEXED_COLUMNS)[number]) => sql.table(`lock_events_by_${column}`)

/**
 * Indexes the history. The last event of a bucket indexes all events of it, in their order, on neighbouring pages: an index
 * entry with each event would make a commit write twice as much.
 */
class EventIndexer {
  readonly #index: readonly PreparedStatement<{ first: number; last: number }>[]
  readonly #forget: readonly PreparedStatement<object>[]

  constructor(context: SqliteContext) {
    const { db } = context
    // `replace`: ids start again when someone has emptied the history by hand.
    this.#index = INDEXED_COLUMNS.map((column) =>
      context.prepare((arg) =>
        sql`
          replace into ${indexOf(column)}
          select id >> ${BITS}, ${sql.ref(column)}, id from lock_events where id between ${arg('first')} and ${arg('last')}
          order by 2, 3`.compile(db)
      )
    )
    this.#forget = INDEXED_COLUMNS.map((column) =>
      context.prepare(() => sql`delete from ${indexOf(column)} where bucket < (select min(id) >> ${BITS} from lock_events)`.compile(db))
    )
  }

  /** Call it for each new event. Bucket n has the ids from n * EVENTS_IN_BUCKET on. */
  added(id: number): void {
    if ((id + 1) % EVENTS_IN_BUCKET !== 0) return
    for (const index of this.#index) index.run({ first: id + 1 - EVENTS_IN_BUCKET, last: id })
  }

  /** Removes the buckets whose events are all gone. */
  forget(): void {
    for (const forget of this.#forget) forget.run({})
  }
}

/** How reads find the indexed events. */
export function eventIndex(db: Kysely<Tables>): EventIndex {
  return {
    async newestBucket() {
      const { rows } = await sql<{ newest: number | null }>`select max(bucket) as newest from ${indexOf('resource_name')}`.execute(db)
      return rows[0]?.newest ?? -1
    },
    among({ prefix, resourceName, processId }, buckets) {
      const column = resourceName === null && processId !== null ? 'process_id' : 'resource_name'
      const value = column === 'process_id' ? processId : resourceName
      const wanted = value === null ? beginsWith(column, prefix) : sql`${sql.ref(column)} = ${value}`
      return sql`id in (select event_id from ${indexOf(column)} where bucket in (${sql.join(buckets)}) and ${wanted})`
    }
  }
}

/** The key may act on the row's grant: the grant belongs to it or to no key. Null may act on all. `resource_locks` must be in scope. */
export function isOpenTo(key: Expression<string | null>): Expression<SqlBool> {
  return sql<SqlBool>`(${key} is null or resource_locks.api_key is null or resource_locks.api_key = ${key})`
}

/** The row's grant is valid at that time. `resource_locks` must be in scope. */
export function isValidAt(now: Expression<number>): Expression<SqlBool> {
  return sql<SqlBool>`(resource_locks.is_active and (resource_locks.expires_at is null or resource_locks.expires_at > ${now}))`
}
