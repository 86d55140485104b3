import { sql, type SqlBool } from 'kysely'
import { LockError } from '../../locks/errors.js'
import { KEEP_HISTORY_MS, type SqlBackend, type StoreOptions } from '../backend.js'
import { countWaiters } from '../list.js'
import { migrateToLatest } from '../migrator.js'
import { toLockError } from './errors.js'
import { SqliteExecutor } from './executor.js'
import { asStartupError, openSqlite, type OpenSqlite } from './open-sqlite.js'

/** Rows that one statement may count: a millisecond or two of this process's own time. */
const COUNT_AT_ONCE = 2000

export async function sqliteBackend(file: string, { clock = Date.now, keepHistoryMs = KEEP_HISTORY_MS }: StoreOptions): Promise<SqlBackend> {
  const opened = openSqlite(file, clock)
  const { database, db, reserve } = opened
  const turns = { listener: (_ticket: number) => {} }
  try {
    await migrate(opened, file)
    const alive = database.prepare('select 1 from lock_numbers')
    return {
      db,
      turns,
      now: () => sql.val(clock()),
      live: () => sql<SqlBool>`(w.lease_until is null or w.lease_until > ${clock()})`,
      countAtOnce: COUNT_AT_ONCE,
      warnings: [],
      keepsHistory: keepHistoryMs > 0,
      executor: new SqliteExecutor(database, db, {
        clock,
        keepHistoryMs,
        reserve,
        onTurn: (ticket) => turns.listener(ticket)
      }),
      countWaiters: () => countWaiters(db, sql`lease_until is null or lease_until > ${clock()}`),
      toLockError,
      ping: () =>
        new Promise((resolve, reject) => {
          try {
            alive.get()
            if (reserve === undefined || reserve.lay()) resolve()
            else reject(new LockError('STORAGE_FULL'))
          } catch (error) {
            reject(toLockError(error))
          }
        }),
      [Symbol.asyncDispose]: () => Promise.resolve(opened[Symbol.dispose]())
    }
  } catch (error) {
    opened[Symbol.dispose]()
    throw error
  }
}

/** Brings a file to the newest version and closes it again; resolves to the names of the migrations that were run. */
export async function migrateSqlite(file: string): Promise<readonly string[]> {
  using opened = openSqlite(file, Date.now)
  return await migrate(opened, file)
}

async function migrate({ db }: OpenSqlite, file: string): Promise<readonly string[]> {
  try {
    return await migrateToLatest(db, 'sqlite')
  } catch (error) {
    throw asStartupError(error, file)
  }
}
