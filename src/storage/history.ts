import type { Kysely } from 'kysely'
import type { HistoryPage, HistoryQuery } from '../locks/lock-store.js'
import type { Tables } from './tables.js'

/** One page of the history, newest first. */
export async function readHistory(db: Kysely<Tables>, { resourceName, processId, before, limit }: HistoryQuery): Promise<HistoryPage> {
  const rows = await db
    .selectFrom('lock_events')
    .selectAll()
    .$if(resourceName !== null, (query) => query.where('resource_name', '=', resourceName ?? ''))
    .$if(processId !== null, (query) => query.where('process_id', '=', processId ?? ''))
    .$if(before !== null, (query) => query.where('id', '<', before ?? 0))
    .orderBy('id', 'desc')
    .limit(limit + 1)
    .execute()
  const events = rows.slice(0, limit).map(({ id, at, kind, resource_name, lock_id, process_id, reason }) => ({
    eventId: id,
    kind,
    at,
    resourceName: resource_name,
    lockId: lock_id,
    processId: process_id,
    reason
  }))
  return { events, more: rows.length > limit }
}
