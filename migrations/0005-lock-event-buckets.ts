import { sql, type Migration } from 'kysely'

/** An index of the history is cut into buckets of 2^10 events each. */
export const EVENT_BUCKET_BITS = 10

/**
 * Cuts the indexes of the history into buckets of events that were written one after another.
 *
 * An index in the order of the names spreads the events of one commit over as many pages, each of which is then written
 * whole. The present bucket has a few dozen pages, which the events of a commit share.
 */
export function lockEventBuckets(): Migration {
  const bucket = sql`(id >> ${sql.lit(EVENT_BUCKET_BITS)})`
  return {
    async up(db) {
      await db.schema.dropIndex('lock_events_resource_name').execute()
      await db.schema.dropIndex('lock_events_process_id').execute()
      await sql`create index lock_events_resource_name on lock_events (${bucket}, resource_name)`.execute(db)
      await sql`create index lock_events_process_id on lock_events (${bucket}, process_id)`.execute(db)
    }
  }
}
