import { sql, type Migration } from 'kysely'
import { EVENT_BUCKET_BITS } from './0005-lock-event-buckets.js'
import type { DialectName } from './dialect.js'

/**
 * SQLite only: indexes the history a whole bucket at a time, in tables of its own.
 *
 * Even the few dozen pages that the indexes of the present bucket had were more than half of what a commit wrote. Now the
 * last event of a bucket brings the entries of all of them, in their order; those of the present bucket are few enough to
 * look through.
 */
export function sqliteFiledEvents(dialect: DialectName): Migration {
  return {
    async up(db) {
      if (dialect !== 'sqlite') return
      for (const column of ['resource_name', 'process_id']) {
        const table = `lock_events_by_${column}`
        await db.schema.dropIndex(`lock_events_${column}`).execute()
        await db.schema
          .createTable(table)
          .addColumn('bucket', 'integer', (bucket) => bucket.notNull())
          .addColumn(column, 'text', (name) => name.notNull())
          .addColumn('event_id', 'integer', (id) => id.notNull())
          .addPrimaryKeyConstraint(`${table}_pkey`, ['bucket', column, 'event_id'])
          .modifyEnd(sql`without rowid`)
          .execute()
        const bucket = sql`(id >> ${sql.lit(EVENT_BUCKET_BITS)})`
        await sql`
          insert into ${sql.table(table)}
          select ${bucket}, ${sql.ref(column)}, id from lock_events
          where id < ((select max(id) + 1 from lock_events) >> ${sql.lit(EVENT_BUCKET_BITS)}) << ${sql.lit(EVENT_BUCKET_BITS)}
          order by 1, 2, 3`.execute(db)
      }
    }
  }
}
