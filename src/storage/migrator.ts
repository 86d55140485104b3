import { Migrator, sql, type Kysely } from 'kysely'
import type { DialectName } from '../../migrations/dialect.js'
import { migrationsFor } from '../../migrations/index.js'
import { StartupError } from '../locks/errors.js'
import type { Tables } from './tables.js'

/** Names of our own: another application's migrations may stand in the same schema. */
const MIGRATION_TABLE = 'rlm_migrations'
const MIGRATION_LOCK_TABLE = 'rlm_migration_lock'

/** Kysely's names, which earlier versions of the service used, with a migration that only the service can have made. */
const EARLIER = { table: 'kysely_migration', lockTable: 'kysely_migration_lock', migration: '0001-resource-locks' }

/** Tables that an empty database must not have yet. */
const OWN_TABLES = ['resource_locks', 'lock_events', 'lock_requests', 'lock_waiters', 'api_keys', 'lock_numbers', 'lock_shares'] as const

/** The key of the advisory lock under which the tables are renamed; any number will do. */
const RENAMING = 6_012_907_744

/**
 * Brings the database to the newest version this code knows. Several instances may do so at once: Kysely's lock lets one
 * work while the others wait, and they then find nothing left to do. On PostgreSQL only the current schema counts. On SQLite
 * the caller has begun a transaction.
 *
 * @returns the names of the migrations that were run now.
 * @throws StartupError when the database was made by a newer version, has tables of another application where the service's
 * belong, or no schema to work in.
 */
export async function migrateToLatest(db: Kysely<Tables>, dialect: DialectName): Promise<readonly string[]> {
  const schema = dialect === 'postgres' ? await currentSchema(db) : undefined
  if (schema === undefined) await takeOverEarlier(db, schema)
  else await db.transaction().execute((transaction) => takeOverEarlier(transaction, schema))
  await refuseForeignTables(db, schema)
  const known = migrationsFor(dialect)
  const newer = (await namesIn(MIGRATION_TABLE, db, schema)).filter((name) => !(name in known))
  if (newer.length > 0) {
    throw new StartupError(
      `The database is newer than this version of the service (it knows ${newer.join(', ')}, which this version does not); ` +
        'start the newer version.'
    )
  }
  const migrator = new Migrator({
    db,
    provider: { getMigrations: () => Promise.resolve(known) },
    migrationTableName: MIGRATION_TABLE,
    migrationLockTableName: MIGRATION_LOCK_TABLE,
    ...(schema === undefined ? {} : { migrationTableSchema: schema })
  })
  const { error, results = [] } = await migrator.migrateToLatest()
  if (error !== undefined) throw error
  return results.filter(({ status }) => status === 'Success').map(({ migrationName }) => migrationName)
}

/** Where unqualified names are looked up first, and new tables are made. */
async function currentSchema(db: Kysely<Tables>): Promise<string> {
  const { rows } = await sql<{ schema: string | null }>`select current_schema() as schema`.execute(db)
  const schema = rows[0]?.schema ?? null
  if (schema !== null) return schema
  throw new StartupError("The search_path of the PostgreSQL user names no schema that exists and that it may use; create one, or set the user's search_path.")
}

/** Renames the tables of an earlier version, once; another application's tables of these names are left alone. */
async function takeOverEarlier(db: Kysely<Tables>, schema: string | undefined): Promise<void> {
  const isNeeded = async (): Promise<boolean> =>
    (await tablesAmong([MIGRATION_TABLE, EARLIER.table, OWN_TABLES[0]], db, schema)).toSorted().join() === [EARLIER.table, OWN_TABLES[0]].join()
  if (!(await isNeeded())) return
  // Of several instances that start at once, the first one renames.
  if (schema !== undefined) await sql`select pg_advisory_xact_lock(${sql.lit(RENAMING)})`.execute(db)
  if (!(await isNeeded()) || !(await namesIn(EARLIER.table, db, schema)).includes(EARLIER.migration)) return
  const { schema: builder } = schema === undefined ? db : db.withSchema(schema)
  await builder.alterTable(EARLIER.table).renameTo(MIGRATION_TABLE).execute()
  if ((await tablesAmong([EARLIER.lockTable], db, schema)).length > 0) await builder.alterTable(EARLIER.lockTable).renameTo(MIGRATION_LOCK_TABLE).execute()
}

async function refuseForeignTables(db: Kysely<Tables>, schema: string | undefined): Promise<void> {
  const found = await tablesAmong(OWN_TABLES, db, schema)
  // Asked afterwards: an instance that starts at the same time makes the table of the migrations first.
  if (found.length === 0 || (await tablesAmong([MIGRATION_TABLE], db, schema)).length > 0) return
  throw new StartupError(
    `The database already has ${found.join(', ')}, which this service did not make; give it a database${schema === undefined ? '' : ' or schema'} of its own.`
  )
}

async function namesIn(table: string, db: Kysely<Tables>, schema: string | undefined): Promise<string[]> {
  if ((await tablesAmong([table], db, schema)).length === 0) return []
  const { rows } = await sql<{ name: unknown }>`select * from ${schema === undefined ? sql.id(table) : sql.id(schema, table)}`.execute(db)
  return rows.map(({ name }) => String(name))
}

/** Those of the tables that exist. */
async function tablesAmong(names: readonly string[], db: Kysely<Tables>, schema: string | undefined): Promise<string[]> {
  const { rows } = await (schema === undefined
    ? sql<{ name: string }>`select name from sqlite_master where type = 'table' and name in (${sql.join(names)})`
    : sql<{ name: string }>`select tablename as name from pg_catalog.pg_tables where schemaname = ${schema} and tablename in (${sql.join(names)})`
  ).execute(db)
  return rows.map(({ name }) => name)
}

/** Far more than any database grants within a second. */
const NUMBERS_PER_SECOND = 1_000_000
/** Clocks are not that exact. */
const MARGIN_SECONDS = 60

/** The largest number of a grant before and after. */
export interface AdvancedTokens {
  readonly from: number
  readonly to: number
}

/**
 * What the numbers of a restored database have to be raised to, so that they exceed every one that was given after the
 * backup was made: nobody knows how many those were, but for how long they were given out, which is since the last thing
 * that the backup contains, and how many can be given within a second.
 *
 * @param last the largest number that the database knows.
 * @param now the database's clock.
 * @param above the largest number that is known to have been given, which then decides; undefined reckons.
 * @throws StartupError when no number would be left.
 */
export async function target(db: Kysely<Tables>, last: number, now: number, above: number | undefined): Promise<number> {
  const seconds = Math.max(0, now - (await knownUntil(db))) / 1000 + MARGIN_SECONDS
  const to = Math.max(last, above ?? last + Math.ceil(seconds * NUMBERS_PER_SECOND))
  if (Number.isSafeInteger(to * 2)) return to
  throw new StartupError(`The numbers would be raised to ${to}, which leaves too few; say with --above up to which they were given.`)
}

/** The time of the last change that the database contains, in milliseconds since 1970. */
async function knownUntil(db: Kysely<Tables>): Promise<number> {
  const { rows } = await sql<{ locked: number | null; recorded: number | null; migrated: string | null }>`
    select
      (select max(locked_at) from resource_locks) as locked,
      (select at from lock_events order by id desc limit 1) as recorded,
      (select max(timestamp) from ${sql.table(MIGRATION_TABLE)}) as migrated`.execute(db)
  const { locked, recorded, migrated } = rows[0] ?? {}
  return Math.max(locked ?? 0, recorded ?? 0, Date.parse(migrated ?? '1970-01-01T00:00:00Z'))
}
