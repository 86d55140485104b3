import type { SeededBug } from './bugs.js'

const ROWS = 'storage/share-rows.js'
const LEDGER = 'storage/share-ledger.js'
const RESOURCE = 'storage/shared-resource.js'
const SQL = 'storage/postgres/shares-sql.js'
const CONTRACT = { test: 'storage/shares.test.js' }
const RACES = { test: 'storage/share-races.test.js' }
const QUEUE = { test: 'locks/shared-queue.test.js' }

/** Ways in which readers and writers, semaphores and slots have been wrong. */
export const SHARE_BUGS: readonly SeededBug[] = [
  {
    title: 'a share is granted without the lock of the row: what was read may have changed',
    patches: [{ file: SQL, find: 'l.xmin::text::bigint = excluded.passed_id and ', replace: '' }],
    caughtBy: RACES,
    says: /not ok .*of two first requests ever for one permit/
  },
  {
    title: 'a share is granted by a number of before its resource came and went',
    patches: [{ file: SQL, find: ' or ${cameAndWent(arg)}', replace: '' }],
    caughtBy: RACES,
    says: /not ok .*a new resource/
  },
  {
    title: 'several resources of which none could be written are said to be granted',
    patches: [{ file: 'storage/postgres/shares.js', find: 'if (lost.size > 0)', replace: 'if (false)' }],
    caughtBy: RACES,
    says: /not ok .*several resources that were all changed meanwhile are not granted/
  },
  {
    title: 'a repetition is told that its own share is in the way',
    patches: [{ file: 'storage/postgres/acquire.js', find: 'refused.length === 0 ? [] : await this.#findRequests(session, refused)', replace: '[]' }],
    caughtBy: RACES,
    says: /not ok .*a repetition whose request is granted while it is looked at/
  },
  {
    title: 'a lease of a share begins when the row was read, however long ago',
    patches: [{ file: SQL, find: 'FRESH_MS = 500', replace: 'FRESH_MS = 500_000' }],
    caughtBy: RACES,
    says: /not ok .*an instance that stops between reading and writing/
  },
  {
    title: 'the limits of the holders do not bind a request',
    patches: [{ file: ROWS, find: 'Math.min(sharing.limit ?? Infinity, limit ?? Infinity)', replace: '(sharing.limit ?? Infinity)' }],
    caughtBy: CONTRACT,
    says: /not ok .*a lowered limit binds from its first grant/
  },
  {
    title: 'permits are not counted: a heavy grant takes one',
    patches: [{ file: LEDGER, find: 'row.share_permits = (row.share_permits ?? 0) + permits', replace: 'row.share_permits = (row.share_permits ?? 0) + 1' }],
    caughtBy: CONTRACT,
    says: /not ok .*a semaphore grants as many permits as its smallest limit says/,
    also: { caughtBy: { torture: 'sqlite' }, says: /no order explains the answers|permits of \d+ are taken/ }
  },
  {
    title: 'a slot is given twice',
    patches: [{ file: ROWS, find: '(byte & (1 << bit)) !== 0', replace: 'false' }],
    caughtBy: CONTRACT,
    says: /not ok .*requests that arrive together are granted as far as the limit goes/,
    also: { caughtBy: { torture: 'sqlite' }, says: /no order explains the answers/ }
  },
  {
    title: 'a slot is not free again when its share expires',
    patches: [{ file: ROWS, find: '?? 0) & ~(1 << ((slot - 1) & 7))', replace: '?? 0)' }],
    caughtBy: { test: 'model/shares.test.js' },
    says: /not ok .*shares, one step after the other, are what the rule says/
  },
  {
    title: 'a share outlives an exclusive period',
    patches: [
      { file: ROWS, find: 'share.id >= (shared_from ?? 0) && (share.expires_at === null', replace: '(share.expires_at === null' },
      { file: LEDGER, find: 'if (row.id === 0 || (row.share_count ?? 0) > 0) {', replace: 'if (false) {' }
    ],
    caughtBy: CONTRACT,
    says: /not ok .*a share of an earlier period stays dead after an exclusive grant/
  },
  {
    title: 'a reader passes a waiting writer',
    patches: [{ file: 'storage/sqlite/wait-queue.js', find: ".where('allows', 'is not', null)", replace: ".where('allows', '>', sql.lit(1))" }],
    caughtBy: QUEUE,
    says: /not ok .*a waiting writer is not passed by readers that come later/
  },
  {
    title: 'a writer starves: readers that do not wait come before it',
    patches: [{ file: 'storage/postgres/shares.js', find: 'row.ticket < (ticket ?? Infinity)', replace: 'row.ticket < (ticket ?? 0)' }],
    caughtBy: QUEUE,
    says: /not ok .*a waiting writer is not passed by readers that come later/
  },
  {
    title: 'an upgrade does not look at the other readers',
    patches: [{ file: RESOURCE, find: 'if (!fits(sharing, others))', replace: 'if (sharing !== null && !fits(sharing, others))' }],
    caughtBy: CONTRACT,
    says: /not ok .*a share becomes exclusive at once for the only holder/
  },
  {
    title: 'an upgrade keeps its number, which later shares have exceeded',
    patches: [{ file: RESOURCE, find: 'return this.grantAnew(share, sharing, number)', replace: 'return this.place(share, sharing, share.id, this.at)' }],
    caughtBy: CONTRACT,
    says: /not ok .*a share becomes exclusive at once for the only holder/
  },
  {
    title: 'the number of an exclusive grant is not above those of the shares before it',
    patches: [{ file: LEDGER, find: 'id, process_id: NOBODY, locked_at: at,', replace: 'id: row.id, process_id: NOBODY, locked_at: at,' }],
    caughtBy: { test: 'model/shares.test.js' },
    says: /not ok .*shares, one step after the other, are what the rule says/
  },
  {
    title: 'a downgrade lets a writer in',
    patches: [{ file: LEDGER, find: 'row.expires_at = isFirst ? expires_at : later', replace: 'row.expires_at = isFirst ? at : later' }],
    caughtBy: CONTRACT,
    says: /not ok .*an exclusive grant becomes a share and keeps its number/
  },
  {
    title: 'permits of expired shares stay taken',
    patches: [{ file: LEDGER, find: 'if (row.share_check_at === null || row.share_check_at > at)', replace: 'if (true)' }],
    caughtBy: CONTRACT,
    says: /not ok .*a semaphore grants as many permits as its smallest limit says/
  },
  {
    title: 'the resource stays taken until the end of a share that was released before',
    patches: [{ file: LEDGER, find: 'from === row.expires_at ? this.#latestEnd() : row.expires_at', replace: 'row.expires_at' }],
    caughtBy: CONTRACT,
    says: /not ok .*shares are released and renewed one by one/
  },
  {
    title: 'a share is given back although a repetition was answered with it',
    patches: [{ file: SQL, find: ' and claims.claimed)', replace: ' and false)' }],
    caughtBy: RACES,
    says: /not ok .*a share that was answered to a repetition meanwhile/
  },
  {
    title: 'a waiter is granted a share after its process left all queues',
    patches: [{ file: SQL, find: 'h.lease_until = ${sql.lit(DEQUEUED)}', replace: 'false' }],
    caughtBy: RACES,
    says: /not ok .*a waiter whose process leaves all queues meanwhile/
  },
  {
    title: 'a request id stands for any limit and any permits',
    patches: [{ file: 'locks/requests.js', find: ', ...shares, ', replace: ', ' }],
    caughtBy: { test: 'http/shares.test.js' },
    says: /not ok .*a share says so in every answer/
  }
]
