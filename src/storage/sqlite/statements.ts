import { sql, type Expression, type Kysely, type SqlBool } from 'kysely'
import { GRANT_COLUMNS, LATEST_COLUMNS } from '../rows.js'
import { statement } from '../statement.js'
import type { Tables } from '../tables.js'

/** The statements of the hot path on SQLite: each serves one command and runs inside the batch's transaction. */
export function sqliteStatements(db: Kysely<Tables>) {
  return {
    /** Returns no row when somebody holds the resource. The number is at least `number` and larger than the row's own. */
    acquire: statement<{
      name: string
      number: number
      process: string
      now: number
      expiresAt: number | null
      ttlMs: number | null
      metadata: string | null
    }>((arg) =>
      db
        .insertInto('resource_locks')
        .values({
          resource_name: arg('name'),
          id: arg('number'),
          process_id: arg('process'),
          locked_at: arg('now'),
          expires_at: arg('expiresAt'),
          is_active: sql.lit(1),
          ttl_ms: arg('ttlMs'),
          metadata: arg('metadata'),
          ended_at: null,
          end_reason: null,
          sweep_at: arg('expiresAt')
        })
        .onConflict((conflict) =>
          conflict
            .column('resource_name')
            .doUpdateSet((eb) => ({
              // A restored row may bear a number that this database has not reached yet.
              id: sql`max(${eb.ref('excluded.id')}, ${eb.ref('resource_locks.id')} + 1)`,
              process_id: eb.ref('excluded.process_id'),
              locked_at: eb.ref('excluded.locked_at'),
              expires_at: eb.ref('excluded.expires_at'),
              is_active: sql.lit(1),
              ttl_ms: eb.ref('excluded.ttl_ms'),
              metadata: eb.ref('excluded.metadata'),
              ended_at: null,
              end_reason: null,
              sweep_at: eb.ref('excluded.expires_at')
            }))
            .where((eb) => eb.not(isValidAt(arg('now'))))
        )
        .returning('id')
    ),

    release: statement<{ name: string; process: string; lockId: number | null; now: number; sweepAt: number }>((arg) =>
      db
        .updateTable('resource_locks')
        .set({
          is_active: sql.lit(0),
          ended_at: arg('now'),
          end_reason: 'released',
          // Left alone where the sweeper will come by soon anyway: an index entry less to move.
          sweep_at: sql`min(coalesce(sweep_at, ${arg('sweepAt')}), ${arg('sweepAt')})`
        })
        .where('resource_name', '=', arg('name'))
        .where('process_id', '=', arg('process'))
        .where((eb) => eb('id', '=', sql<number>`coalesce(${arg('lockId')}, ${eb.ref('id')})`))
        .where(isValidAt(arg('now')))
        .returning(GRANT_COLUMNS)
    ),

    look: statement<{ name: string }>((arg) =>
      db.selectFrom('resource_locks').select(LATEST_COLUMNS).where('resource_name', '=', arg('name'))
    ),

    due: statement<{ now: number; bite: number }>((arg) =>
      db
        .selectFrom('resource_locks')
        .select(['resource_name', 'id', 'is_active', 'expires_at', 'ended_at'])
        .where('sweep_at', '<=', arg('now'))
        .orderBy('sweep_at')
        .limit(arg('bite'))
    ),

    expire: statement<{ name: string; sweepAt: number }>((arg) =>
      db
        .updateTable('resource_locks')
        .set((eb) => ({
          is_active: sql.lit(0),
          ended_at: eb.ref('expires_at'),
          end_reason: 'expired',
          sweep_at: arg('sweepAt')
        }))
        .where('resource_name', '=', arg('name'))
    ),

    postpone: statement<{ name: string; sweepAt: number | null }>((arg) =>
      db.updateTable('resource_locks').set({ sweep_at: arg('sweepAt') }).where('resource_name', '=', arg('name'))
    ),

    remove: statement<{ name: string }>((arg) =>
      db.deleteFrom('resource_locks').where('resource_name', '=', arg('name'))
    ),

    lastNumber: statement<object>(() => db.selectFrom('lock_numbers').select('last_value')),

    saveNumber: statement<{ number: number }>((arg) =>
      db.updateTable('lock_numbers').set({ last_value: arg('number') })
    )
  }
}

/** The row's grant is valid at that instant; `resource_locks` must be in scope. */
function isValidAt(now: Expression<number>): Expression<SqlBool> {
  return sql<SqlBool>`(resource_locks.is_active and (resource_locks.expires_at is null or resource_locks.expires_at > ${now}))`
}
