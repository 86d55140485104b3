import type Database from 'better-sqlite3'
import { sql, type Kysely } from 'kysely'
import { EVENT_BUCKET_BITS } from '../../../migrations/0005-lock-event-buckets.js'
import { bucketOf, firstOf, type EventIndex } from '../history.js'
import { beginsWith, statement } from '../statement.js'
import type { Tables } from '../tables.js'
import { prepare } from './prepared.js'

const COLUMNS = ['resource_name', 'process_id'] as const
const BITS = sql.lit(EVENT_BUCKET_BITS)

const indexOf = (column: (typeof COLUMNS)[number]) => sql.table(`lock_events_by_${column}`)

/**
 * Indexes the history on SQLite. The last event of a bucket files all events of it, in their order, on pages that follow each
 * other: entry by entry they would make a commit write twice as much.
 */
export function eventIndexer(database: Database.Database, db: Kysely<Tables>) {
  // An id comes again where somebody has emptied the history by hand.
  const index = COLUMNS.map((column) =>
    prepare<{ first: number; last: number }>(
      database,
      statement((arg) =>
        sql`
          replace into ${indexOf(column)}
          select id >> ${BITS}, ${sql.ref(column)}, id from lock_events where id between ${arg('first')} and ${arg('last')}
          order by 2, 3`.compile(db)
      )
    )
  )
  const forget = COLUMNS.map((column) =>
    prepare<object>(
      database,
      statement(() => sql`delete from ${indexOf(column)} where bucket < (select min(id) >> ${BITS} from lock_events)`.compile(db))
    )
  )
  return {
    /** To be called for each new event. */
    added(id: number): void {
      if (bucketOf(id + 1) === bucketOf(id)) return
      for (const part of index) part.run({ first: firstOf(bucketOf(id)), last: id })
    },
    /** Forgets buckets of which no event is left. */
    forget(): void {
      for (const part of forget) part.run({})
    }
  }
}

/** How the filed events are found. */
export function indexedEvents(db: Kysely<Tables>): EventIndex {
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
