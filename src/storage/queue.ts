import type { ProcessId } from '../locks/lock.js'
import type { QueuePage, QueueQuery } from '../locks/store.js'
import { readClock, type ListContext } from './list.js'

/** Who waits for one resource, the next to be served first. */
export async function readQueue(context: ListContext, { resourceName, limit }: QueueQuery): Promise<QueuePage> {
  const rows = await context.db
    .selectFrom('lock_waiters as w')
    .select(({ fn }) => ['w.process_id', 'w.queued_at', 'w.lease_until', fn.countAll<number>().over().as('total')])
    .where('w.resource_name', '=', resourceName)
    .where(context.live())
    .orderBy('w.ticket')
    .limit(limit)
    .execute()
  return {
    at: await readClock(context),
    // What waits passed the parsers on its way in.
    waiters: rows.map((row) => ({ processId: row.process_id as ProcessId, queuedAt: row.queued_at, keptUntil: row.lease_until })),
    total: rows[0]?.total ?? 0
  }
}
