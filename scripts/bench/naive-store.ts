import Database from 'better-sqlite3'
import { Kysely, PostgresDialect, SqliteDialect, sql, type Generated, type Transaction } from 'kysely'
import pg from 'pg'
import type { AcquireCommand, AcquireOutcome, ReleaseCommand, ReleaseOutcome } from '../../src/locks/commands.js'
import type { Grant, ProcessId, ResourceName } from '../../src/locks/lock.js'
import { parseDatabaseUrl } from '../../src/storage/index.js'
import type { TakeAndGive } from './plain-store.js'

interface NaiveTables {
  naive_locks: { id: Generated<number>; resource_name: string; process_id: string; locked_at: number; expires_at: number | null }
}

/**
 * What one writes first: a transaction for each request that looks whether the lock is held and inserts or updates its row.
 * As durable as the service, with Kysely and pools as they come, and without a history, numbers or a queue.
 */
export async function openNaive(databaseUrl: string): Promise<TakeAndGive> {
  const location = parseDatabaseUrl(databaseUrl)
  const isPostgres = location.kind === 'postgres'
  const db = new Kysely<NaiveTables>({ dialect: isPostgres ? postgres(location.url) : sqlite(location.file) })
  await db.schema
    .createTable('naive_locks')
    .ifNotExists()
    .addColumn('id', isPostgres ? 'serial' : 'integer', (column) => column.primaryKey())
    .addColumn('resource_name', 'text', (column) => column.notNull().unique())
    .addColumn('process_id', 'text', (column) => column.notNull())
    .addColumn('locked_at', 'bigint', (column) => column.notNull())
    .addColumn('expires_at', 'bigint')
    .execute()

  const find = (trx: Transaction<NaiveTables>, name: string) =>
    trx
      .selectFrom('naive_locks')
      .selectAll()
      .where('resource_name', '=', name)
      .$if(isPostgres, (query) => query.forUpdate())
      .executeTakeFirst()

  async function acquire({ resourceNames: [name], processId, ttlMs, metadata }: AcquireCommand): Promise<AcquireOutcome> {
    if (name === undefined) throw new Error('no name')
    const now = Date.now()
    const values = { process_id: processId, locked_at: now, expires_at: ttlMs === null ? null : now + ttlMs }
    return db.transaction().execute(async (trx): Promise<AcquireOutcome> => {
      const row = await find(trx, name)
      if (row !== undefined && (row.expires_at === null || row.expires_at > now)) return held(name, row.process_id, row.id, now, row.expires_at)
      const granted =
        row === undefined
          ? await trx.insertInto('naive_locks').values({ resource_name: name, ...values }).onConflict((c) => c.doNothing()).returning('id').executeTakeFirst()
          : await trx.updateTable('naive_locks').set(values).where('id', '=', row.id).returning('id').executeTakeFirst()
      if (granted === undefined) return held(name, 'unknown', 0, now, null)
      const grant: Grant = { lockId: granted.id, resourceName: name, processId, lockedAt: now, expiresAt: values.expires_at, metadata }
      return { kind: 'granted', grants: [grant], replayed: false }
    })
  }

  async function release({ resourceName, processId }: ReleaseCommand): Promise<ReleaseOutcome> {
    const now = Date.now()
    return db.transaction().execute(async (trx): Promise<ReleaseOutcome> => {
      const row = await find(trx, resourceName)
      if (row === undefined || row.process_id !== processId) return { kind: 'not-held', reason: 'not_locked' }
      await trx.updateTable('naive_locks').set({ expires_at: 0 }).where('id', '=', row.id).execute()
      const grant: Grant = {
        lockId: row.id,
        resourceName,
        processId: row.process_id as ProcessId,
        lockedAt: row.locked_at,
        expiresAt: row.expires_at,
        metadata: null
      }
      return { kind: 'released', grant, releasedAt: now }
    })
  }

  await sql`select 1`.execute(db)
  return { acquire, release, [Symbol.asyncDispose]: () => db.destroy() }
}

function held(name: ResourceName, process: string, lockId: number, at: number, expiresAt: number | null): AcquireOutcome {
  return { kind: 'held', conflicts: [{ resourceName: name, processId: process as ProcessId, lockId, lockedAt: at, expiresAt }], at, waiters: 0 }
}

function postgres(url: string): PostgresDialect {
  const types = new pg.TypeOverrides()
  types.setTypeParser(pg.types.builtins.INT8, Number)
  return new PostgresDialect({ pool: new pg.Pool({ connectionString: url, types }) })
}

function sqlite(file: string): SqliteDialect {
  const database = new Database(file)
  database.pragma('journal_mode = wal')
  database.pragma('synchronous = full')
  return new SqliteDialect({ database })
}
