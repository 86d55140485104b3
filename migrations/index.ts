import type { Migration } from 'kysely'
import { resourceLocks } from './0001-resource-locks.js'
import { lockEvents } from './0002-lock-events.js'
import { lockRequests } from './0003-lock-requests.js'
import { lockWaiters } from './0004-lock-waiters.js'
import { lockEventBuckets } from './0005-lock-event-buckets.js'
import { sqliteRowOrder } from './0006-sqlite-row-order.js'
import { apiKeys } from './0007-api-keys.js'
import { renewals } from './0008-renewals.js'
import { claimedRequests } from './0009-claimed-requests.js'
import { sqliteFiledEvents } from './0010-sqlite-filed-events.js'
import { postgresSerialCounts } from './0011-postgres-serial-counts.js'
import { waitersKey } from './0012-waiters-key.js'
import { lockShares } from './0013-lock-shares.js'
import { lockTerms } from './0014-lock-terms.js'
import { postgresRemovals } from './0015-postgres-removals.js'
import { postgresManyProcesses } from './0016-postgres-many-processes.js'
import type { DialectName } from './dialect.js'

/** All migrations in the order in which they run. A migration that was released is never edited; a new one follows it. */
export function migrationsFor(dialect: DialectName): Record<string, Migration> {
  return {
    '0001-resource-locks': resourceLocks(dialect),
    '0002-lock-events': lockEvents(dialect),
    '0003-lock-requests': lockRequests(dialect),
    '0004-lock-waiters': lockWaiters(dialect),
    '0005-lock-event-buckets': lockEventBuckets(),
    '0006-sqlite-row-order': sqliteRowOrder(dialect),
    '0007-api-keys': apiKeys(dialect),
    '0008-renewals': renewals(),
    '0009-claimed-requests': claimedRequests(),
    '0010-sqlite-filed-events': sqliteFiledEvents(dialect),
    '0011-postgres-serial-counts': postgresSerialCounts(dialect),
    '0012-waiters-key': waitersKey(dialect),
    '0013-lock-shares': lockShares(dialect),
    '0014-lock-terms': lockTerms(),
    '0015-postgres-removals': postgresRemovals(dialect),
    '0016-postgres-many-processes': postgresManyProcesses(dialect)
  }
}
